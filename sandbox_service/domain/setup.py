"""How the setup of a sandbox can go wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupFailure:
    """How a setup step failed.

    Attributes:
        step_index: Which step, counted from 0.
        step_name: The name that the caller gave it. May be empty.
        exec_id: The exec that ran it.
        exit_code: Its exit code. None when it ended otherwise.
        signal: The signal that ended it, without SIG. Empty when none did.
        output_truncated: It wrote more than `output_tail` holds.
        cause: The name of the exec's cause.
        fault: The name of the exec's fault.
        output_tail: The last 2 KiB of what it wrote, both streams.
    """

    step_index: int
    step_name: str
    exec_id: str
    exit_code: int | None
    signal: str
    cause: str
    fault: str
    output_tail: bytes
    output_truncated: bool
