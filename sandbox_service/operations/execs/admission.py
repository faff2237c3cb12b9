"""What is refused of a program before anything is started for it."""

from __future__ import annotations

from dataclasses import replace

from sandbox_service.domain import paths
from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.policy import UNCHECKED, Verdict
from sandbox_service.domain.ports import Catalogue
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.registry import ExecRegistry, require_same
from sandbox_service.operations.languages import language_of
from sandbox_service.operations.policy.code_policy import CodePolicy


class ExecAdmission:
    """Says of a program whether it may start, and asks no sandbox.

    Args:
        registry: What runs and ran here.
        catalogue: How source code of a language is run.
        policy: Asked about every program. None: nobody is.
    """

    def __init__(
        self, registry: ExecRegistry, catalogue: Catalogue, policy: CodePolicy | None
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._policy = policy

    async def checked(self, tenant: str, spec: ExecSpec, what: str = "the program") -> ExecSpec:
        """Return `spec` with what the code policy says of its program.

        Args:
            what: What to call the program in the error.

        Raises:
            PolicyDeniedError: It must not run.
        """
        if self._policy is None:
            return replace(spec, verdict=UNCHECKED)
        return await self._policy.checked(tenant, spec, what)

    async def verdict(self, tenant: str, spec: ExecSpec) -> Verdict:
        """Return what the code policy says of a program. A dry run: nothing is refused."""
        return UNCHECKED if self._policy is None else await self._policy.verdict_on(tenant, spec)

    def check(self, record: SandboxRecord, spec: ExecSpec) -> None:
        """Refuse what `Execs.start` would refuse of a program without asking the sandbox.

        Raises:
            LanguageNotSupportedError: The template does not run it.
            ExecIdReusedError: That id was used in this sandbox.
            TooManyExecsError: As many run as may run at once.
        """
        language_of(spec.program, record.template, self._catalogue)
        self._registry.require_unused(record.sandbox_id, spec.exec_id)
        self._registry.require_room(record.sandbox_id)

    async def admitted(self, record: SandboxRecord, spec: ExecSpec) -> ExecSpec:
        """Refuse what `Execs.run` would refuse, before a sandbox is resumed for it.

        Returns:
            `spec` with what the code policy says of its program, if it is new.

        Raises:
            ExecIdReusedError: Another request used that id in this sandbox.
            LanguageNotSupportedError: The template does not run it.
            InvalidPathError: Its folder cannot be one.
            TooManyExecsError: As many run as may run at once.
            PolicyDeniedError: It must not run.
        """
        sandbox_id, exec_id = record.sandbox_id, spec.exec_id
        if exec_id and self._registry.used.has(sandbox_id, exec_id):
            first = self._registry.used.digests(sandbox_id, exec_id)
            require_same(sandbox_id, exec_id, first, spec.request_digests)
            return spec
        self.check(record, spec)
        if spec.cwd:
            paths.absolute(spec.cwd, "cwd")
        return await self.checked(record.tenant, spec)
