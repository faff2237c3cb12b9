"""Asks the rules about every program before it starts, and keeps to what a tenant's mode says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from sandbox_service.domain.errors import PolicyDeniedError
from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.limits import KIB
from sandbox_service.domain.policy import UNCHECKED, Action, Finding, Mode, PolicyTerms, Verdict
from sandbox_service.operations.policy.engine import Code, Engine, code_of
from sandbox_service.operations.policy.rules import RuleSet
from sandbox_service.telemetry.metrics import Metrics

_GLANCED_AT_CHARS_MAX: Final = 64 * KIB
"""Longer code is not even searched for words here: that alone would take milliseconds."""

TOO_LARGE: Final = "too-large-to-check"
NOT_CHECKED: Final = "not-checked"

_log = structlog.get_logger(__name__)


class UncheckedError(Exception):
    """Code could not be checked. The message says why, as half a sentence."""


class Checker(Protocol):
    """Applies the rules somewhere else than in this process's only thread."""

    async def findings(self, code: Code) -> Sequence[Finding]:
        """Return what the rules say.

        Raises:
            UncheckedError: They could not be applied.
        """
        ...


class CodePolicy:
    """The code policy of this deployment.

    It is advice to whoever wrote the code, human or model: a program that means
    to get round it does. Isolation is the boundary.

    Args:
        rules: What it looks for.
        checker: Applies them.
        terms: What the operator decided.
    """

    def __init__(
        self, rules: RuleSet, checker: Checker, terms: PolicyTerms, metrics: Metrics
    ) -> None:
        # Only to see what needs no look: nothing is ever parsed in this process.
        self._engine = Engine(rules)
        self._checker = checker
        self._terms = terms
        self._metrics = metrics

    async def checked(self, tenant: str, spec: ExecSpec, what: str = "the program") -> ExecSpec:
        """Return `spec` with the verdict on its program in it.

        Args:
            tenant: Whose program it is.
            spec: What is to be run.
            what: What to call it in the error.

        Raises:
            PolicyDeniedError: The program must not run.
        """
        verdict = await self.verdict_on(tenant, spec)
        if verdict.findings:
            _log.log(
                30 if verdict.action is Action.DENY else 20,
                "policy.findings",
                tenant=tenant,
                exec_id=spec.exec_id,
                action=verdict.action.name,
                rules=list(verdict.rule_ids),
                count=len(verdict.findings),
            )
        if verdict.action is Action.DENY:
            raise PolicyDeniedError.of(verdict, what)
        return replace(spec, verdict=verdict)

    async def verdict_on(self, tenant: str, spec: ExecSpec) -> Verdict:
        """Return what the policy says of a program and its input. Nothing is refused."""
        stdin = None if spec.stdin is None else spec.stdin[: self._terms.bytes_max]
        return await self.verdict(tenant, code_of(spec.program, stdin))

    async def verdict(self, tenant: str, code: Code | None) -> Verdict:
        """Return what the policy says of code for a tenant. A dry run: nothing is refused.

        Args:
            tenant: Whose code it is.
            code: It. None: of a language that no rule is about.
        """
        mode = self._terms.mode_of(tenant)
        if mode is Mode.OFF:
            return UNCHECKED
        began = time.monotonic()
        try:
            found = await self._findings(code)
        except UncheckedError as error:
            found = [
                self._unchecked(NOT_CHECKED, f"The code policy could not check this: {error}.")
            ]
        verdict = Verdict(
            findings=tuple(replace(it, action=min(it.action, mode.ceiling)) for it in found)
        )
        self._metrics.policy_seconds.observe(time.monotonic() - began)
        self._metrics.policy_verdicts.labels(verdict.action.name.lower()).inc()
        for finding in verdict.findings:
            action = finding.action.name.lower()
            self._metrics.policy_findings.labels(finding.rule_id, action).inc()
        return verdict

    async def _findings(self, code: Code | None) -> Sequence[Finding]:
        if code is None:
            return ()
        size = len(code.text.encode(errors="replace"))
        if size > self._terms.bytes_max:
            limit = self._terms.bytes_max
            message = f"This has {size} bytes; the code policy checks no more than {limit}."
            return [self._unchecked(TOO_LARGE, message)]
        if size <= _GLANCED_AT_CHARS_MAX and not self._engine.worth_parsing(code):
            return ()
        return await self._checker.findings(code)

    def _unchecked(self, rule_id: str, message: str) -> Finding:
        return Finding(
            rule_id=rule_id, action=self._terms.unchecked, message=message, line=1, column=1
        )
