"""Every failure as a caller sees it: code, reason, details, and never too large."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from miosa.sandbox import v1 as pb

from sandbox_service.contract.errors import CODES, ERROR_DOMAIN, from_status, to_status
from sandbox_service.domain import errors
from sandbox_service.domain.policy import Action, Finding, Verdict
from sandbox_service.domain.setup import SetupFailure
from tests.unit.contract.descriptors import reasons

_MAX_BYTES = 4096


def _subclasses(of: type[errors.SandboxError]) -> set[type[errors.SandboxError]]:
    found = set(of.__subclasses__())
    return found.union(*(_subclasses(each) for each in found)) if found else found


ERRORS = sorted(_subclasses(errors.SandboxError), key=lambda it: it.__name__)

_FAILURE = SetupFailure(
    step_index=1,
    step_name="install",
    exec_id="setup-1",
    exit_code=3,
    signal="",
    cause="exit",
    fault="user",
    output_tail=b"\xff\0tail",
    output_truncated=True,
)


_VERDICT = Verdict(
    findings=tuple(
        Finding(
            rule_id=f"rule-{line}",
            action=Action.DENY,
            message="It is wrong. " * 20,
            line=line,
            column=1,
        )
        for line in range(1, 100)
    )
)


def _made(
    kind: type[errors.SandboxError], message: str = "What failed.", **metadata: str
) -> errors.SandboxError:
    """Return an error of a class, with as much in it as the class takes."""
    if issubclass(kind, errors.SetupFailedError):
        return kind(message, _FAILURE)
    more = (_VERDICT,) if issubclass(kind, errors.PolicyDeniedError) else ()
    error = kind(message, *more, metadata=metadata)
    error.retry_after = timedelta(seconds=2)
    return error


def _details(status: status_pb2.Status) -> dict[str, object]:
    found: dict[str, object] = {}
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.RetryInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.QuotaFailure,
        error_details_pb2.ResourceInfo,
        pb.SetupFailure,
        pb.PolicyVerdict,
    )
    for packed in status.details:
        for kind in kinds:
            detail = kind()
            if packed.Unpack(detail):
                found[kind.__name__] = detail
    assert len(found) == len(status.details)
    return found


def test_every_error_of_the_domain_is_found():
    """The tests below would pass on an empty list."""
    declared = {
        it
        for it in vars(errors).values()
        if inspect.isclass(it) and issubclass(it, errors.SandboxError)
    } - {errors.SandboxError}

    assert declared <= set(ERRORS)
    assert len(declared) > 30


@pytest.mark.parametrize("kind", ERRORS, ids=lambda it: it.__name__)
def test_every_error_has_the_code_that_its_reasons_comment_promises(kind):
    """The contract's text, the table and the class say the same thing."""
    comment = reasons()[kind.reason]
    promised = re.match(r"\s*`([A-Z_]+)`", comment)

    assert promised is not None
    assert code_pb2.Code.Name(CODES[kind]) == promised[1]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda it: it.__name__)
def test_every_error_tells_its_reason_first(kind):
    """A program branches on it, whatever else there was room for."""
    status = to_status(_made(kind, sandbox_id="box"))
    info = _details(status)["ErrorInfo"]

    assert status.code == CODES[kind]
    assert status.message == "What failed."
    assert status.details[0].Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (kind.reason, ERROR_DOMAIN)
    if not issubclass(kind, errors.SetupFailedError):
        assert dict(info.metadata) == {"sandbox_id": "box"}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda it: it.__name__)
def test_an_error_that_another_instance_told_is_the_same_here(kind):
    """So that it can be told on; but for those that are more than a message."""
    error = _made(kind, sandbox_id="box")
    told = from_status(to_status(error))

    if issubclass(kind, errors.SetupFailedError | errors.PolicyDeniedError):
        assert told is None
    else:
        assert type(told) is kind
        assert (str(told), told.metadata) == (str(error), error.metadata)
        assert told.retry_after == error.retry_after


def test_what_is_not_this_services_error_is_none():
    """Another program may answer at that address."""
    foreign = to_status(_made(errors.InternalError))
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain="elsewhere.example")
    foreign.details[0].Pack(info)

    assert from_status(foreign) is None
    assert from_status(status_pb2.Status(code=code_pb2.UNAVAILABLE)) is None


@pytest.mark.parametrize("kind", ERRORS, ids=lambda it: it.__name__)
@pytest.mark.parametrize("letter", ["x", "ü", "\U0001d11e", '"', "\n"], ids=ascii)
def test_every_error_stays_small_and_keeps_its_reason(kind, letter):
    """Trailers are limited, and a caller's own text may be long and of wide letters."""
    status = to_status(_made(kind, letter * 5000, path=letter * 5000, cwd=letter * 5000))

    assert status.ByteSize() <= _MAX_BYTES
    assert "ErrorInfo" in _details(status)
    if not issubclass(kind, errors.SetupFailedError):
        assert "RetryInfo" in _details(status)


@pytest.mark.parametrize("size", [10, 500], ids=["short", "long"])
@pytest.mark.parametrize("count", [1, 16, 1000])
def test_a_bad_request_names_fields_as_far_as_there_is_room(count: int, size: int):
    """However many there are, and however much is wrong with them, the first ones are named."""
    violations = [
        errors.FieldViolation(f"env[{number}]", "ü" * size, "string.max_len")
        for number in range(count)
    ]

    status = to_status(errors.InvalidRequestError("Wrong.", violations))
    bad = _details(status).get("BadRequest")

    assert status.ByteSize() <= _MAX_BYTES
    assert isinstance(bad, error_details_pb2.BadRequest)
    named = [it.field for it in bad.field_violations]
    assert named == [it.field for it in violations[: len(named)]]
    assert len(named) >= min(count, 3)


def test_a_setup_failure_carries_what_failed():
    """The one place where a failed program is an error."""
    detail = _details(to_status(_made(errors.SetupFailedError)))["SetupFailure"]

    assert isinstance(detail, pb.SetupFailure)
    assert (detail.step, detail.step_index, detail.exec_id) == ("install", 1, "setup-1")
    assert (detail.cause, detail.fault) == (pb.CAUSE_EXIT, pb.FAULT_USER)
    assert detail.exit_code == 3
    assert not detail.HasField("signal")
    assert detail.output_tail == b"\xff\0tail"
    assert detail.output_truncated


def test_a_setup_failure_with_a_full_tail_fits():
    """2 KiB of output are promised, and they have to fit beside the rest."""
    full = SetupFailure(
        step_index=63,
        step_name="n" * 128,
        exec_id="x" * 64,
        exit_code=None,
        signal="KILL",
        cause="signal",
        fault="user",
        output_tail=b"\xff" * 2048,
        output_truncated=True,
    )

    status = to_status(errors.SetupFailedError("The setup step failed.", full))

    detail = _details(status)["SetupFailure"]
    assert isinstance(detail, pb.SetupFailure)
    assert detail.output_tail == b"\xff" * 2048
    assert not detail.HasField("exit_code")
    assert status.ByteSize() <= _MAX_BYTES


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (errors.SandboxNotFoundError, "ResourceInfo"),
        (errors.SandboxEndedError, "ResourceInfo"),
        (errors.QuotaExceededError, "QuotaFailure"),
        (errors.BackendQuotaExceededError, "QuotaFailure"),
    ],
)
def test_errors_about_a_resource_or_a_quota_name_it(kind, detail):
    """Generic clients understand these details without knowing this service."""
    assert detail in _details(to_status(_made(kind, sandbox_id="box", owner="tenant")))


def test_a_delay_that_is_not_known_is_not_told():
    """A client that reads RetryInfo would repeat what cannot help."""
    assert "RetryInfo" not in _details(to_status(errors.InternalError("Failed.")))


@pytest.mark.parametrize("kind", ERRORS, ids=lambda it: it.__name__)
def test_every_status_is_one_that_grpc_sends(kind):
    """The library refuses codes and details that do not agree."""
    sent = rpc_status.to_status(to_status(_made(kind)))

    assert isinstance(sent.code, grpc.StatusCode)
    assert sent.code is not grpc.StatusCode.OK
    assert [key for key, _ in sent.trailing_metadata] == ["grpc-status-details-bin"]


def test_what_an_error_was_caused_by_is_not_told():
    """It holds the backend's own words."""
    error = errors.BackendError("The backend failed.")
    error.__cause__ = RuntimeError("e2b_secret at 10.0.0.7")

    assert b"secret" not in to_status(error).SerializeToString()
