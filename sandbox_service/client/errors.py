"""Why a sync failed, for people: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
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
}


class SyncError(Exception):
    """A sync failed.

    Args:
        message: What happened.
        advice: What to do about it.
        reason: The service's name for it; empty when it is none of the service's.
    """

    def __init__(self, message: str, advice: str, reason: str = "") -> None:
        super().__init__(f"{message} {advice}".rstrip())
        self.message = message
        self.advice = advice
        self.reason = reason


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return why the service failed a call, in its own word; empty when it did not say."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return ""
    for detail in () if status is None else status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def sync_error(error: grpc.aio.AioRpcError) -> SyncError:
    """Return a call's failure in words."""
    reason = reason_of(error)
    message = error.details() or error.code().name
    if reason:
        return SyncError(message, _ADVICE.get(reason, ""), reason)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return SyncError(
            f"The service does not answer: {message}.", "Check its address, and that it runs."
        )
    return SyncError(f"The call failed: {error.code().name}: {message}.", "")
