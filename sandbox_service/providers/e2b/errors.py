"""What the SDK raises, translated: the one table of this border.

Order matters. `AuthenticationException` and `ServiceBusyException` are no
`SandboxException`; "not running" and "unreachable" are `TimeoutException`s.
Nothing of the backend's own text reaches the caller; it is logged by whoever
logs the error's cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import httpx

from sandbox_service.domain.errors import (
    BackendError,
    BackendQuotaExceededError,
    BackendRateLimitedError,
    BackendRejectedCredentialsError,
    BackendUnavailableError,
    DirectoryNotFoundError,
    DiskFullError,
    FileNotFoundInSandboxError,
    InvalidRequestError,
    LifetimeTooLongError,
    OutcomeUnknownError,
    SandboxEndedError,
    SandboxError,
    TemplateNotFoundError,
    UserNotFoundError,
)
from sandbox_service.domain.exec_errors import TooManyExecsError
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.providers.e2b.sdk import Code, ConnectError, sdk_errors

_SOON: Final = timedelta(seconds=1)


def _credentials(_: Exception) -> SandboxError:
    return BackendRejectedCredentialsError(
        "The sandbox backend does not accept this service's credentials. "
        "The operator has to correct E2B_API_KEY."
    )


def _rate_limited(error: Exception) -> SandboxError:
    if "concurrent" in str(error).lower():
        return BackendQuotaExceededError(
            "The backend's account runs as many sandboxes as it may. Destroy one first.",
            metadata={"quota": "concurrent_sandboxes", "owner": "backend"},
        )
    return BackendRateLimitedError(
        "The sandbox backend is asked too often. Nothing was done; repeat the call.",
        retry_after=_SOON,
    )


def _unavailable(_: Exception) -> SandboxError:
    return BackendUnavailableError(
        "The sandbox backend does not answer. Nothing was done; repeat the call.",
        retry_after=_SOON,
    )


def _ended(_: Exception) -> SandboxError:
    return SandboxEndedError("The sandbox has ended. Status tells how; create another.")


def _unknown(_: Exception) -> SandboxError:
    return OutcomeUnknownError(
        "Contact with the sandbox backend was lost while the call was under way. "
        "Look at the sandbox's status before repeating it."
    )


def _disk_full(_: Exception) -> SandboxError:
    return DiskFullError("The sandbox's disk is full.")


def _no_file(_: Exception) -> SandboxError:
    return FileNotFoundInSandboxError("The sandbox has no such file.")


def _invalid(_: Exception) -> SandboxError:
    return InvalidRequestError("The sandbox refused the request as invalid.")


def _by_status(error: Exception) -> SandboxError:
    status = getattr(error, "status_code", None)
    text = str(error).lower()
    if status == 404 or "template" in text and "not found" in text:  # noqa: RUF021
        return TemplateNotFoundError(
            "The backend has no such template. GetCapabilities lists what there is."
        )
    if status == 400 and "timeout cannot be greater" in text:
        return LifetimeTooLongError(
            "The backend gives no lifetime as long as that. Ask for a shorter one."
        )
    if status == 400:
        return _invalid(error)
    if status in (502, 504):
        return _unavailable(error)
    return BackendError("The sandbox backend failed. The operator finds the cause in the log.")


_TABLE: Final[Sequence[tuple[type[Exception], Callable[[Exception], SandboxError]]]] = (
    (sdk_errors.AuthenticationException, _credentials),
    (sdk_errors.RateLimitException, _rate_limited),
    (sdk_errors.ServiceBusyException, _unavailable),
    (sdk_errors.SandboxNotRunningException, _ended),
    (sdk_errors.SandboxNotFoundException, _ended),
    (sdk_errors.SandboxUnreachableException, _unavailable),
    (sdk_errors.TimeoutException, _unknown),
    (sdk_errors.NotEnoughSpaceException, _disk_full),
    (sdk_errors.FileNotFoundException, _no_file),
    (sdk_errors.InvalidArgumentException, _invalid),
    (sdk_errors.TemplateException, _by_status),
    (sdk_errors.SandboxException, _by_status),
    # Below the SDK's own exceptions: the connection.
    (httpx.ConnectError, _unavailable),
    (httpx.ConnectTimeout, _unavailable),
    (httpx.TransportError, _unknown),
    (ConnectError, _unknown),
    (ConnectionError, _unavailable),
    (TimeoutError, _unknown),
    (OSError, _unavailable),
)


def translated(error: Exception) -> Exception:
    """Return the domain's error for one that the SDK or its transport raised.

    An error that is neither comes back as it is: a bug, not a failure.
    """
    for foreign, make in _TABLE:
        if isinstance(error, foreign):
            return make(error)
    return error


@contextmanager
def translating() -> Iterator[None]:
    """Translate whatever the SDK raises inside."""
    try:
        yield
    except Exception as error:
        known = translated(error)
        if known is error:
            raise
        raise known from error


def start_error(error: Exception, spec: ProcessSpec) -> Exception | None:
    """Return what is wrong with the request itself, if that is why it did not start."""
    if not isinstance(error, ConnectError):
        return None
    if error.code is Code.RESOURCE_EXHAUSTED:
        return TooManyExecsError(
            "The sandbox has as many processes as it may. End some of them, or the sandbox.",
            metadata={"scope": "processes"},
        )
    if error.code is Code.INVALID_ARGUMENT and "cwd" in error.message:
        return DirectoryNotFoundError(
            f"The sandbox has no folder {spec.cwd!r} to run in.", metadata={"cwd": spec.cwd}
        )
    if error.code is Code.INVALID_ARGUMENT:
        return InvalidRequestError.of("program", "the sandbox cannot start it")
    if error.code is Code.UNAUTHENTICATED and "username" in error.message:
        return UserNotFoundError(
            f"The sandbox has no user {spec.user!r}.", metadata={"user": spec.user}
        )
    return None
