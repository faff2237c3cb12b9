"""What the SDK raises, in the words of the domain; and signals, in the words of envd."""

from __future__ import annotations

import inspect

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b import exceptions as sdk

from sandbox_service.domain import errors
from sandbox_service.providers.e2b.errors import translated, translating
from sandbox_service.providers.e2b.signals import signal_name

_SECRET = "e2b_0123 of /home/operator at 10.0.0.7"

_KNOWN = [
    (sdk.AuthenticationException("401: x"), errors.BackendRejectedCredentialsError),
    (sdk.RateLimitException("429: slow down"), errors.BackendRateLimitedError),
    (
        sdk.RateLimitException("429: maximum number of concurrent sandboxes"),
        errors.BackendQuotaExceededError,
    ),
    (sdk.ServiceBusyException("503: x"), errors.BackendUnavailableError),
    (sdk.SandboxNotRunningException("x"), errors.SandboxEndedError),
    (sdk.SandboxNotFoundException("x"), errors.SandboxEndedError),
    (sdk.SandboxUnreachableException("x"), errors.BackendUnavailableError),
    (sdk.TimeoutException("x"), errors.OutcomeUnknownError),
    (sdk.NotEnoughSpaceException("x"), errors.DiskFullError),
    (sdk.FileNotFoundException("x"), errors.FileNotFoundInSandboxError),
    (sdk.InvalidArgumentException("x"), errors.InvalidRequestError),
    (sdk.SandboxException("404: x", status_code=404), errors.TemplateNotFoundError),
    (sdk.SandboxException("template 'x' not found"), errors.TemplateNotFoundError),
    (
        sdk.SandboxException("400: Timeout cannot be greater than 24 hours", status_code=400),
        errors.LifetimeTooLongError,
    ),
    (sdk.SandboxException("400: x", status_code=400), errors.InvalidRequestError),
    (sdk.SandboxException("502: x", status_code=502), errors.BackendUnavailableError),
    (sdk.SandboxException("504: x", status_code=504), errors.BackendUnavailableError),
    (sdk.SandboxException("500: x", status_code=500), errors.BackendError),
    (sdk.SandboxException("x"), errors.BackendError),
    (httpx.ConnectError("x"), errors.BackendUnavailableError),
    (httpx.ConnectTimeout("x"), errors.BackendUnavailableError),
    (httpx.ReadError("x"), errors.OutcomeUnknownError),
    (httpx.ReadTimeout("x"), errors.OutcomeUnknownError),
    (httpx.RemoteProtocolError("x"), errors.OutcomeUnknownError),
    (ConnectError(Code.UNKNOWN, "x"), errors.OutcomeUnknownError),
    (ConnectionRefusedError("x"), errors.BackendUnavailableError),
    (TimeoutError("x"), errors.OutcomeUnknownError),
    (OSError("x"), errors.BackendUnavailableError),
]


@pytest.mark.parametrize(
    ("raised", "expected"), _KNOWN, ids=[f"{type(it).__name__}({it})"[:60] for it, _ in _KNOWN]
)
def test_each_error_of_the_sdk_has_one_of_ours(raised: Exception, expected: type[Exception]):
    """What did not happen may be repeated blindly; what nobody knows about may not."""
    assert type(translated(raised)) is expected


def _sandbox_errors() -> list[type[Exception]]:
    """Every exception of the SDK that a call on a sandbox can raise."""
    of_other_parts = ("Git", "Build", "FileUpload", "Volume", "Secret")
    return [
        it
        for name, it in vars(sdk).items()
        if inspect.isclass(it)
        and issubclass(it, Exception)
        and it.__module__ == sdk.__name__
        and not name.startswith(of_other_parts)
    ]


@pytest.mark.parametrize("kind", _sandbox_errors(), ids=lambda it: it.__name__)
def test_no_error_of_the_sdk_gets_through_and_none_tells_its_text(kind: type[Exception]):
    """Keys, paths and addresses are in the backend's own words."""
    found = translated(kind(f"401: {_SECRET}"))

    assert isinstance(found, errors.SandboxError)
    for part in _SECRET.split():
        assert len(part) < 4 or part not in f"{found} {dict(found.metadata)}"


@pytest.mark.parametrize(
    "kind",
    [errors.BackendRateLimitedError, errors.BackendUnavailableError],
    ids=lambda it: it.__name__,
)
def test_what_may_be_repeated_says_when(kind: type[errors.SandboxError]):
    """Else a thousand callers repeat at once."""
    found = [translated(raised) for raised, expected in _KNOWN if expected is kind]

    assert found
    assert all(isinstance(it, kind) and it.retry_after is not None for it in found)


def test_a_bug_stays_what_it_is():
    """A KeyError of ours is no failure of the backend."""
    bug = KeyError("x")

    assert translated(bug) is bug
    with pytest.raises(KeyError), translating():
        raise bug


def test_the_cause_is_kept_for_the_log():
    """The operator needs what the caller must not see."""
    raised = sdk.SandboxException(_SECRET)

    with pytest.raises(errors.BackendError) as caught, translating():
        raise raised

    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("signal: killed", "KILL"),
        ("signal: terminated", "TERM"),
        ("signal: segmentation fault (core dumped)", "SEGV"),
        ("signal: aborted (core dumped)", "ABRT"),
        ("signal: user defined signal 1", "USR1"),
        ("signal: hangup", "HUP"),
        ("signal: broken pipe", "PIPE"),
        ("signal: floating point exception", "FPE"),
        ("signal: signal 16", "STKFLT"),
        ("signal: signal 63", "63"),
        ("signal: signal 999", "999"),
        (" signal: interrupt\n", "INT"),
        ("signal: something new", "SOMETHING NEW"),
        ("exit status 1", ""),
        ("", ""),
        ("no signal: killed", ""),
    ],
)
def test_a_signal_is_named_from_the_backends_words(status: str, name: str):
    """What cannot be read as a signal is none; what is unknown is passed on, not guessed."""
    assert signal_name(status) == name
