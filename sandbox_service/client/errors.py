"""Why a sync failed, for people: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

_ADVICE: Final[Mapping[str, str]] = {
    "SANDBOX_NOT_FOUND": "Check the sandbox's id and the tenant.",
    "SANDBOX_ENDED": "Create another sandbox.",
    "SANDBOX_PAUSED": "Resume it first.",
    "SANDBOX_NOT_READY": "Wait until it is ready, and repeat.",
    "TENANT_REQUIRED": "Name the tenant.",
    "PERMISSION_DENIED": "Name a tenant that you may act for.",
    "PAYLOAD_TOO_LARGE": "Exclude what the sandbox does not need, or sync a part of the folder.",
    "DISK_FULL": "Make room in the sandbox; what was there is whole.",
    "NOT_A_FILE": "Delete what is in the way in the sandbox, or name another root.",
    "FILE_NOT_ACCESSIBLE": "Name another root, or another user.",
    "USER_NOT_FOUND": "Name a user that the template has.",
    "POLICY_DENIED": "Change the reload command; no file was written.",
    "ROOT_DIGEST_MISMATCH": "Something in the sandbox writes there all the time: exclude it.",
    "CHECKSUM_MISMATCH": "A file here is written all the time: exclude it.",
    "VERIFY_FAILED": "When a repetition fails as well, create another sandbox.",
    "OUTCOME_UNKNOWN": "Sync again: what has arrived is not sent twice.",
    "NOT_IMPLEMENTED": "The service is older than this command.",
    "EXEC_NOT_FOUND": "Name an exec that the sandbox has had; no file was written.",
    "QUOTA_EXCEEDED": "Wait until other calls of the tenant have ended, and sync again.",
    "BACKEND_UNAVAILABLE": "Sync again: what has arrived is not sent twice.",
    "DRAINING": "The service is stopping: sync again when it is back.",
}

_PASSING: Final = frozenset(
    {"OUTCOME_UNKNOWN", "QUOTA_EXCEEDED", "SANDBOX_NOT_READY", "SANDBOX_PAUSED"}
)


class SyncError(Exception):
    """A sync failed.

    Args:
        message: What happened.
        advice: What to do about it.
        reason: The service's name for it; empty when it is none of the service's.
        field: The field of the request that is wrong, such as `header.root`; else empty.
        passing: Whether it may mend by itself, so that another attempt may succeed.
    """

    def __init__(
        self,
        message: str,
        advice: str,
        reason: str = "",
        field: str = "",
        *,
        passing: bool = False,
    ) -> None:
        super().__init__(f"{message} {advice}".rstrip())
        self.message = message
        self.advice = advice
        self.reason = reason
        self.field = field
        self.passing = passing


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return why the service failed a call, in its own word; empty when it did not say."""
    info = error_details_pb2.ErrorInfo()
    return str(info.reason) if _has_detail(error, info) else ""


def sync_error(error: grpc.aio.AioRpcError) -> SyncError:
    """Return a call's failure in words."""
    reason = reason_of(error)
    message = error.details() or error.code().name
    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
    if reason:
        bad = error_details_pb2.BadRequest()
        wrong = bad.field_violations if _has_detail(error, bad) else ()
        field = wrong[0].field if wrong else ""
        passing = unavailable or reason in _PASSING
        return SyncError(message, _ADVICE.get(reason, ""), reason, field, passing=passing)
    if unavailable:
        return SyncError(
            f"The service does not answer: {message}.",
            "Check its address, and that it runs.",
            passing=True,
        )
    return SyncError(f"The call failed: {error.code().name}: {message}.", "")


def _has_detail(error: grpc.aio.AioRpcError, detail: Message) -> bool:
    """Fill in a message of the details that tell of a failure; False when there is none."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return False
    return status is not None and any(it.Unpack(detail) for it in status.details)
