"""What this deployment can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox_service.domain.limits import Limits
from sandbox_service.domain.policy import Mode
from sandbox_service.domain.ports import BackendInfo, Catalogue, SandboxProvider
from sandbox_service.domain.sandboxes import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What GetCapabilities answers with.

    Attributes:
        instance: Which process of the deployment answers.
        policy: How far the code policy goes, unless a tenant has a mode of its own.
    """

    version: str
    deployment: str
    instance: str
    policy: Mode
    backend: BackendInfo
    limits: Limits
    templates: Sequence[Template]
    languages: Sequence[str]


class Capabilities:
    """Tells what this deployment can do."""

    def __init__(
        self,
        provider: SandboxProvider,
        catalogue: Catalogue,
        limits: Limits,
        *,
        version: str,
        deployment: str,
        instance: str,
        policy: Mode = Mode.OFF,
    ) -> None:
        self._provider = provider
        self._catalogue = catalogue
        self._limits = limits
        self._version = version
        self._deployment = deployment
        self._instance = instance
        self._policy = policy

    async def get(self) -> Told:
        """Return what this deployment can do."""
        return Told(
            version=self._version,
            deployment=self._deployment,
            instance=self._instance,
            policy=self._policy,
            backend=await self._provider.info(),
            limits=self._limits,
            templates=self._catalogue.templates,
            languages=sorted(self._catalogue.languages),
        )
