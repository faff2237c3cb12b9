"""Expected failures, each a decision for the caller.

A subclass is a reaction the caller can have, not a place the code can break.
`reason` is public: it is the name of an `ErrorReason` value of the contract
without its prefix, and programs branch on it. What happened is one sentence;
the values named in it are also in `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from sandbox_service.domain.policy import Action, Verdict
from sandbox_service.domain.setup import SetupFailure


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with a request.

    Attributes:
        field: The path of the field, as in `setup_steps[0].program`.
        description: What is wrong with it, for people.
        rule: The id of the rule that it breaks, for programs.
    """

    field: str
    description: str
    rule: str = ""


class SandboxError(Exception):
    """An expected failure, to be told to the caller.

    Args:
        message: One sentence for people: what failed, then what to do.
        retry_after: How long to wait before repeating the call. None when
            repeating it unchanged cannot help.
        metadata: The values named in `message`, for programs to read.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.metadata: Mapping[str, str] = dict(metadata or {})


# The request itself is wrong.


class InvalidRequestError(SandboxError):
    """The request breaks a rule of the contract. Correct it; do not repeat it."""

    reason = "INVALID_REQUEST"

    def __init__(
        self,
        message: str,
        violations: Sequence[FieldViolation] = (),
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str, rule: str = "") -> InvalidRequestError:
        """Describe one violation, and make it the message too."""
        return cls(f"{field}: {description}", (FieldViolation(field, description, rule),))


class InvalidPathError(InvalidRequestError):
    """A path leaves its root or cannot be a path."""

    reason = "INVALID_PATH"


class MalformedMessageError(SandboxError):
    """The bytes are no message of this method. The caller's stubs are not ours."""

    reason = "MALFORMED_MESSAGE"


class InvalidStreamError(SandboxError):
    """The messages of a stream came in an order that the contract does not allow."""

    reason = "INVALID_STREAM"


class PayloadTooLargeError(SandboxError):
    """More was sent than the service takes in one call."""

    reason = "PAYLOAD_TOO_LARGE"


class InvalidPageTokenError(SandboxError):
    """The page token is none of this list's. Begin again without one."""

    reason = "INVALID_PAGE_TOKEN"


class LanguageNotSupportedError(SandboxError):
    """The template does not run that language. GetCapabilities lists what each runs."""

    reason = "LANGUAGE_NOT_SUPPORTED"


class DirectoryNotFoundError(SandboxError):
    """The sandbox has no such folder to run in."""

    reason = "DIRECTORY_NOT_FOUND"


class UserNotFoundError(SandboxError):
    """The sandbox has no such user."""

    reason = "USER_NOT_FOUND"


class ChecksumMismatchError(SandboxError):
    """What arrived is not what was announced. Nothing was changed; send it again."""

    reason = "CHECKSUM_MISMATCH"


class UnauthenticatedError(SandboxError):
    """The call does not say for whom it is made, or is not believed."""

    reason = "UNAUTHENTICATED"


class TenantRequiredError(SandboxError):
    """The call names no tenant."""

    reason = "TENANT_REQUIRED"


class PermissionDeniedError(SandboxError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class NotImplementedYetError(SandboxError):
    """This version of the service does not do that. GetCapabilities tells what it does."""

    reason = "NOT_IMPLEMENTED"


# The sandbox is not in a state for it.


class SandboxNotFoundError(SandboxError):
    """The caller has no sandbox of that id, or it ended long ago."""

    reason = "SANDBOX_NOT_FOUND"

    @classmethod
    def of(cls, sandbox_id: str) -> SandboxNotFoundError:
        """Name the sandbox that there is not."""
        return cls(
            f"There is no sandbox {sandbox_id!r}. Check the id, or create one.",
            metadata={"sandbox_id": sandbox_id},
        )


class SandboxEndedError(SandboxError):
    """The sandbox has ended. Status tells how; create another."""

    reason = "SANDBOX_ENDED"


class SandboxPausedError(SandboxError):
    """The sandbox is paused. Resume it first."""

    reason = "SANDBOX_PAUSED"


class SandboxNotReadyError(SandboxError):
    """The sandbox is still being created or set up. Repeat the call."""

    reason = "SANDBOX_NOT_READY"


class LifetimeTooLongError(SandboxError):
    """More lifetime was asked for than the service or the backend gives."""

    reason = "LIFETIME_TOO_LONG"


class LifetimeNotExtendedError(SandboxError):
    """The asked end lies before the one that is set. Lifetimes only grow."""

    reason = "LIFETIME_NOT_EXTENDED"


class IdempotencyKeyReusedError(SandboxError):
    """The key was used for another request. `metadata` names the fields that differ."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class GenerationMismatchError(SandboxError):
    """The sandbox is not the incarnation that the caller saw. Look again."""

    reason = "GENERATION_MISMATCH"


class SetupFailedError(SandboxError):
    """A setup step failed, and nothing was left running."""

    reason = "SETUP_FAILED"

    def __init__(self, message: str, failure: SetupFailure) -> None:
        super().__init__(
            message,
            metadata={"step": str(failure.step_index), "step_name": failure.step_name},
        )
        self.failure = failure


class TemplateNotFoundError(SandboxError):
    """No template of that name. GetCapabilities lists them."""

    reason = "TEMPLATE_NOT_FOUND"


class ResourcesUnsatisfiableError(SandboxError):
    """No template is as large as asked for."""

    reason = "RESOURCES_UNSATISFIABLE"


class PolicyDeniedError(SandboxError):
    """The code policy denies the program, and nothing was started. Change the program."""

    reason = "POLICY_DENIED"

    def __init__(
        self, message: str, verdict: Verdict, *, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.verdict = verdict

    @classmethod
    def of(cls, verdict: Verdict, what: str) -> PolicyDeniedError:
        """Name the first thing that is denied, and every rule that denies."""
        denying = [it for it in verdict.findings if it.action is Action.DENY]
        first = denying[0]
        more = f", and {len(denying) - 1} more" if len(denying) > 1 else ""
        return cls(
            f"The code policy denies {what}: {first.message} "
            f"(rule {first.rule_id}, line {first.line}{more}) Nothing was started.",
            verdict,
            metadata={
                "rule_ids": ",".join(dict.fromkeys(it.rule_id for it in denying)),
                "enforced_by": "SERVICE",
            },
        )


class PolicyNotEnforceableError(SandboxError):
    """The backend cannot enforce the policy that was asked for, so it is refused."""

    reason = "POLICY_NOT_ENFORCEABLE"


# Execs and files.


class FileNotFoundInSandboxError(SandboxError):
    """The sandbox has no such file."""

    reason = "FILE_NOT_FOUND"


class NotAFileError(SandboxError):
    """What is at the path is of another kind than is needed there."""

    reason = "NOT_A_FILE"


class FileNotAccessibleError(SandboxError):
    """The sandbox's user may not read or write the path."""

    reason = "FILE_NOT_ACCESSIBLE"


class VerifyFailedError(SandboxError):
    """What arrived in the sandbox is not what was sent. Nothing was changed; send it again."""

    reason = "VERIFY_FAILED"


class RootDigestMismatchError(SandboxError):
    """The tree is not the one that the caller expects. Nothing was changed."""

    reason = "ROOT_DIGEST_MISMATCH"


class SyncIdReusedError(SandboxError):
    """The sync id was used for another request."""

    reason = "SYNC_ID_REUSED"


class DiskFullError(SandboxError):
    """The sandbox's disk is full. The old files are whole."""

    reason = "DISK_FULL"


# The backend or this service.


class QuotaExceededError(SandboxError):
    """A quota of the tenant is used up."""

    reason = "QUOTA_EXCEEDED"


class BackendQuotaExceededError(SandboxError):
    """The backend's account has used up a quota. Free something, or ask the operator."""

    reason = "BACKEND_QUOTA_EXCEEDED"


class BackendUnavailableError(SandboxError):
    """The backend does not answer, and nothing has happened. Repeat the call."""

    reason = "BACKEND_UNAVAILABLE"


class BackendRateLimitedError(SandboxError):
    """The backend answers that it is asked too often. Nothing has happened."""

    reason = "BACKEND_RATE_LIMITED"


class BackendRejectedCredentialsError(SandboxError):
    """The backend does not accept this service's key. The operator must act."""

    reason = "BACKEND_REJECTED_CREDENTIALS"


class BackendError(SandboxError):
    """The backend answered with what it should not. The operator is told."""

    reason = "BACKEND_PROTOCOL_ERROR"


class OutcomeUnknownError(SandboxError):
    """Contact was lost while the call was under way. Look before repeating it."""

    reason = "OUTCOME_UNKNOWN"


class DrainingError(SandboxError):
    """This instance is shutting down. Repeat the call: another one answers."""

    reason = "DRAINING"


class DeadlineExceededError(SandboxError):
    """The call's own deadline passed."""

    reason = "DEADLINE_EXCEEDED"


class CancelledError(SandboxError):
    """The call was cancelled by its caller."""

    reason = "CANCELLED"


class InternalError(SandboxError):
    """A bug of this service. The operator finds it in the log by the request id."""

    reason = "INTERNAL"


class StoreUnavailableError(SandboxError):
    """The service's own store cannot be read or written. Repeat the call when told to."""

    reason = "STORE_UNAVAILABLE"
