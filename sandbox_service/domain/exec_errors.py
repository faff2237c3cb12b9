"""Expected failures of execs; see `domain.errors`."""

from __future__ import annotations

from sandbox_service.domain.errors import SandboxError


class ExecIdReusedError(SandboxError):
    """An exec of that id ran or runs in that sandbox. It is never run twice."""

    reason = "EXEC_ID_REUSED"


class InputClosedError(SandboxError):
    """The exec's program takes no input: it never did, or its end was sent, or it has ended."""

    reason = "INPUT_CLOSED"


class ExecLostError(SandboxError):
    """What became of the exec is not known any more, neither here nor to the backend."""

    reason = "EXEC_LOST"


class ExecNotFoundError(SandboxError):
    """The sandbox has had no exec of that id."""

    reason = "EXEC_NOT_FOUND"


class ExecNotRunningError(SandboxError):
    """The exec has ended, so it takes no input and has no terminal."""

    reason = "EXEC_NOT_RUNNING"


class ExecOnOtherInstanceError(SandboxError):
    """Another instance of the service holds the exec's output. Attach there."""

    reason = "EXEC_ON_OTHER_INSTANCE"


class NotATerminalError(SandboxError):
    """The exec has no terminal to resize."""

    reason = "NOT_A_TERMINAL"


class PositionOutOfRangeError(SandboxError):
    """A position lies in the future. Take one that an answer has named."""

    reason = "POSITION_OUT_OF_RANGE"


class TooManyExecsError(SandboxError):
    """As many execs run as may run at once."""

    reason = "TOO_MANY_EXECS"
