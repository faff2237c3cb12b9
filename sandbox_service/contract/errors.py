"""Domain errors as `google.rpc.Status`: the one table of this border."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from miosa.sandbox.v1 import setup_pb2

from sandbox_service.contract import enums, policy
from sandbox_service.domain import errors, exec_errors, file_errors
from sandbox_service.domain.setup import SetupFailure

ERROR_DOMAIN: Final = "sandbox.miosa.dev"
"""The `domain` of every `google.rpc.ErrorInfo` that this service sends."""

_DETAILS_BYTES_MAX: Final = 4096
"""Trailers are limited: a status with all its details stays below this."""

_BAD_REQUEST_BYTES_MAX: Final = 2048
_VERDICT_BYTES_MAX: Final = 2560
_TEXT_BYTES_MAX: Final = 256

CODES: Final[Mapping[type[errors.SandboxError], int]] = {
    errors.InvalidRequestError: code_pb2.INVALID_ARGUMENT,
    errors.InvalidPathError: code_pb2.INVALID_ARGUMENT,
    errors.MalformedMessageError: code_pb2.INVALID_ARGUMENT,
    errors.InvalidStreamError: code_pb2.INVALID_ARGUMENT,
    errors.PayloadTooLargeError: code_pb2.INVALID_ARGUMENT,
    errors.InvalidPageTokenError: code_pb2.INVALID_ARGUMENT,
    errors.LanguageNotSupportedError: code_pb2.INVALID_ARGUMENT,
    errors.ChecksumMismatchError: code_pb2.INVALID_ARGUMENT,
    errors.LifetimeTooLongError: code_pb2.INVALID_ARGUMENT,
    errors.UnauthenticatedError: code_pb2.UNAUTHENTICATED,
    errors.TenantRequiredError: code_pb2.UNAUTHENTICATED,
    errors.PermissionDeniedError: code_pb2.PERMISSION_DENIED,
    errors.PolicyDeniedError: code_pb2.PERMISSION_DENIED,
    errors.SandboxNotFoundError: code_pb2.NOT_FOUND,
    errors.TemplateNotFoundError: code_pb2.NOT_FOUND,
    errors.FileNotFoundInSandboxError: code_pb2.NOT_FOUND,
    exec_errors.ExecNotFoundError: code_pb2.NOT_FOUND,
    errors.IdempotencyKeyReusedError: code_pb2.ALREADY_EXISTS,
    exec_errors.ExecIdReusedError: code_pb2.ALREADY_EXISTS,
    errors.SyncIdReusedError: code_pb2.ALREADY_EXISTS,
    errors.SandboxEndedError: code_pb2.FAILED_PRECONDITION,
    errors.SandboxPausedError: code_pb2.FAILED_PRECONDITION,
    errors.SandboxNotReadyError: code_pb2.FAILED_PRECONDITION,
    exec_errors.ExecNotRunningError: code_pb2.FAILED_PRECONDITION,
    exec_errors.ExecOnOtherInstanceError: code_pb2.FAILED_PRECONDITION,
    exec_errors.NotATerminalError: code_pb2.FAILED_PRECONDITION,
    exec_errors.InputClosedError: code_pb2.FAILED_PRECONDITION,
    errors.SetupFailedError: code_pb2.FAILED_PRECONDITION,
    errors.DirectoryNotFoundError: code_pb2.FAILED_PRECONDITION,
    errors.UserNotFoundError: code_pb2.FAILED_PRECONDITION,
    errors.NotAFileError: code_pb2.FAILED_PRECONDITION,
    errors.FileNotAccessibleError: code_pb2.FAILED_PRECONDITION,
    file_errors.ContentMissingError: code_pb2.FAILED_PRECONDITION,
    errors.LifetimeNotExtendedError: code_pb2.FAILED_PRECONDITION,
    errors.ResourcesUnsatisfiableError: code_pb2.FAILED_PRECONDITION,
    errors.PolicyNotEnforceableError: code_pb2.FAILED_PRECONDITION,
    exec_errors.TooManyExecsError: code_pb2.RESOURCE_EXHAUSTED,
    errors.QuotaExceededError: code_pb2.RESOURCE_EXHAUSTED,
    errors.BackendQuotaExceededError: code_pb2.RESOURCE_EXHAUSTED,
    errors.BackendRateLimitedError: code_pb2.RESOURCE_EXHAUSTED,
    errors.DiskFullError: code_pb2.RESOURCE_EXHAUSTED,
    exec_errors.PositionOutOfRangeError: code_pb2.OUT_OF_RANGE,
    errors.RootDigestMismatchError: code_pb2.ABORTED,
    errors.GenerationMismatchError: code_pb2.ABORTED,
    errors.OutcomeUnknownError: code_pb2.ABORTED,
    file_errors.FileChangedError: code_pb2.ABORTED,
    errors.VerifyFailedError: code_pb2.DATA_LOSS,
    exec_errors.ExecLostError: code_pb2.DATA_LOSS,
    errors.BackendUnavailableError: code_pb2.UNAVAILABLE,
    errors.StoreUnavailableError: code_pb2.UNAVAILABLE,
    errors.DrainingError: code_pb2.UNAVAILABLE,
    errors.DeadlineExceededError: code_pb2.DEADLINE_EXCEEDED,
    errors.CancelledError: code_pb2.CANCELLED,
    errors.NotImplementedYetError: code_pb2.UNIMPLEMENTED,
    errors.BackendRejectedCredentialsError: code_pb2.INTERNAL,
    errors.BackendError: code_pb2.INTERNAL,
    errors.InternalError: code_pb2.INTERNAL,
}


_BY_REASON: Final = {
    kind.reason: kind
    for kind in CODES
    # The others are made of more than a message.
    if kind.__init__ in (errors.SandboxError.__init__, errors.InvalidRequestError.__init__)
}


def to_status(error: errors.SandboxError) -> status_pb2.Status:
    """Describe an expected failure, with details that a program can branch on."""
    message = _cut(str(error), 2 * _TEXT_BYTES_MAX)
    status = status_pb2.Status(code=CODES[type(error)], message=message)
    for detail in _details(error):
        packed = AnyMessage()
        packed.Pack(detail)
        if status.ByteSize() + packed.ByteSize() > _DETAILS_BYTES_MAX:
            break
        status.details.append(packed)
    return status


def from_status(status: status_pb2.Status) -> errors.SandboxError | None:
    """Return the failure that another instance of this service described.

    Args:
        status: What it answered.

    Returns:
        It, but for its lists. None: it is not this service's, or is not known here.
    """
    error, retry = None, error_details_pb2.RetryInfo()
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN and info.reason in _BY_REASON:
            error = _BY_REASON[info.reason](status.message, metadata=dict(info.metadata))
        elif detail.Unpack(retry) and error is not None:
            error.retry_after = retry.retry_delay.ToTimedelta()
    return error


def _cut(text: str, size: int = _TEXT_BYTES_MAX) -> str:
    """Return the beginning of a text: at most `size` bytes of UTF-8, no letter cut in two."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= size else raw[: size - 3].decode(errors="ignore") + "..."


def _details(error: errors.SandboxError) -> list[Message]:
    """Return the details, what a program needs most first."""
    metadata = {name: _cut(value) for name, value in error.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    ]
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    if isinstance(error, errors.InvalidRequestError) and error.violations:
        details.append(_bad_request(error))
    if isinstance(error, errors.PolicyDeniedError):
        details.append(policy.verdict(error.verdict, bytes_max=_VERDICT_BYTES_MAX))
    if isinstance(error, errors.SetupFailedError):
        details.append(setup_failure(error.failure))
    if isinstance(error, errors.QuotaExceededError | errors.BackendQuotaExceededError):
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=_cut(error.metadata.get("owner", "")), description=_cut(str(error))
        )
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    if isinstance(error, errors.SandboxNotFoundError | errors.SandboxEndedError):
        name = _cut(error.metadata.get("sandbox_id", ""))
        details.append(error_details_pb2.ResourceInfo(resource_type="sandbox", resource_name=name))
    return details


def _bad_request(error: errors.InvalidRequestError) -> error_details_pb2.BadRequest:
    """Return the violations, as many of the first ones as there is room for."""
    message = error_details_pb2.BadRequest()
    for violation in error.violations:
        message.field_violations.add(
            field=_cut(violation.field),
            description=_cut(violation.description),
            reason=_cut(violation.rule),
        )
        if message.ByteSize() > _BAD_REQUEST_BYTES_MAX:
            del message.field_violations[-1]
            break
    return message


def setup_failure(failure: SetupFailure) -> setup_pb2.SetupFailure:
    """Return how a setup step failed."""
    return setup_pb2.SetupFailure(
        step=failure.step_name,
        step_index=failure.step_index,
        exec_id=failure.exec_id,
        cause=enums.cause(failure.cause),
        fault=enums.fault(failure.fault),
        exit_code=failure.exit_code,
        signal=failure.signal or None,
        output_tail=failure.output_tail,
        output_truncated=failure.output_truncated,
    )
