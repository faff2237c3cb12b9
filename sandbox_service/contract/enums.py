"""The contract's enums and the domain's, name by name.

Both sides use the same names, so a conversion is a look-up by name; a unit
test finds a name that one side lacks.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from sandbox_service.domain.sandboxes import (
    EndCause,
    Health,
    PreviewAccess,
    PreviewState,
    SandboxState,
)

_E = TypeVar("_E", bound=enum.Enum)


def cause(value: str) -> str:
    """Return the name of the contract's `Cause` for the value of the domain's."""
    return f"CAUSE_{value.upper()}"


def fault(value: str) -> str:
    """Return the name of the contract's `Fault`; nobody's is UNSPECIFIED."""
    return "FAULT_UNSPECIFIED" if value == "none" else f"FAULT_{value.upper()}"


def sandbox_state(value: SandboxState) -> str:
    """Return the name of the contract's `SandboxState`."""
    return f"SANDBOX_STATE_{value.name}"


def end_cause(value: EndCause) -> str:
    """Return the name of the contract's `EndCause`."""
    return f"END_CAUSE_{value.name}"


def end_fault(value: EndCause) -> str:
    """Return who is responsible for a sandbox's end; nobody where it went as wished."""
    return {
        EndCause.SETUP_FAILED: "FAULT_USER",
        EndCause.CREATE_CANCELLED: "FAULT_CALLER",
        EndCause.CREATE_FAILED: "FAULT_INFRA",
        EndCause.LOST: "FAULT_INFRA",
    }.get(value, "FAULT_UNSPECIFIED")


def health(value: Health) -> str:
    """Return the name of the contract's `Health`; what does not run has none."""
    return {
        Health.HEALTHY: "HEALTH_HEALTHY",
        Health.UNRESPONSIVE: "HEALTH_UNREACHABLE",
        Health.NOT_RUNNING: "HEALTH_UNSPECIFIED",
    }[value]


def preview_access(value: PreviewAccess) -> str:
    """Return the name of the contract's `PreviewAccess`."""
    return f"PREVIEW_ACCESS_{value.name}"


def preview_state(value: PreviewState) -> str:
    """Return the name of the contract's `PreviewState`."""
    return {
        PreviewState.LISTENING: "PREVIEW_STATE_LISTENING",
        PreviewState.NOT_LISTENING: "PREVIEW_STATE_NOT_LISTENING",
        PreviewState.UNKNOWN: "PREVIEW_STATE_UNREACHABLE",
    }[value]


def known(number: int, wrapper: Any, prefix: str, kind: type[_E]) -> _E | None:  # noqa: ANN401 - generated enum wrappers share no type.
    """Return the domain's value for a number of the contract's enum.

    Args:
        number: As the message has it.
        wrapper: The generated enum.
        prefix: Of its values' names.
        kind: The domain's enum.

    Returns:
        None for UNSPECIFIED, and for a value that this version does not know.
    """
    if number == 0:
        return None
    return kind.__members__.get(wrapper.Name(number).removeprefix(prefix))
