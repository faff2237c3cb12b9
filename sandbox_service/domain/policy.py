"""What the code policy says about programs. It is advice: isolation is the boundary."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox_service.domain.limits import KIB

FINDINGS_MAX: Final = 100
"""How many findings a verdict tells."""


class Action(enum.IntEnum):
    """What the policy does about a finding, mildest first."""

    ALLOW = 1
    WARN = 2
    DENY = 3


class Mode(enum.StrEnum):
    """How far the policy goes for a tenant: the strictest action that it may take.

    OFF looks at nothing. ALLOW tells what it found and objects to nothing.
    """

    OFF = "off"
    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"

    @property
    def ceiling(self) -> Action:
        """The strictest action."""
        return Action[self.name] if self is not Mode.OFF else Action.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where a rule matched.

    Attributes:
        rule_id: Which rule.
        action: What is done about it.
        message: The rule's sentence for people.
        line, column: Where the match begins, in characters, from 1.
    """

    rule_id: str
    action: Action
    message: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the policy says about one program.

    Attributes:
        findings: In the order of the code, at most `FINDINGS_MAX`.
        enforced: Whether the service looked, and keeps to it. False where the
            policy is off.
    """

    findings: tuple[Finding, ...] = ()
    enforced: bool = True

    @property
    def action(self) -> Action:
        """The strictest action of all findings."""
        return max((it.action for it in self.findings), default=Action.ALLOW)

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """Each rule that matched, once, the strictest first."""
        strictest = sorted(self.findings, key=lambda it: -it.action)
        return tuple(dict.fromkeys(it.rule_id for it in strictest))


UNCHECKED: Final = Verdict(enforced=False)
"""Of a program that no policy covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTerms:
    """What an operator decides about the policy.

    Attributes:
        mode: For tenants that are not named in `tenants`.
        unchecked: What is done about code that cannot be checked.
        bytes_max: The size of code that is checked, in bytes.
    """

    mode: Mode = Mode.DENY
    tenants: Mapping[str, Mode] = field(default_factory=dict)
    unchecked: Action = Action.WARN
    bytes_max: int = 256 * KIB

    def mode_of(self, tenant: str) -> Mode:
        """Return how far the policy goes for a tenant."""
        return self.tenants.get(tenant, self.mode)
