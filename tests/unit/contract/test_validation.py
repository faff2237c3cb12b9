"""The check of requests: paths to the fields, the rules' names, and no values."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from miosa.sandbox import v1 as pb

from sandbox_service.contract.errors import to_status
from sandbox_service.contract.validation import Validator
from sandbox_service.domain.errors import InvalidRequestError

_SECRET = "hunter2-hunter2"


def _exec(**fields: object) -> pb.ExecRequest:
    whole = {"sandbox_id": "box", "program": pb.Program(shell_command="true"), **fields}
    return pb.ExecRequest(**whole)


_BROKEN: list[tuple[Message, str]] = [
    (pb.StatusRequest(), "sandbox_id"),
    (pb.StatusRequest(sandbox_id="no such/id"), "sandbox_id"),
    (pb.ExecRequest(sandbox_id="box"), "program"),
    (_exec(program=pb.Program()), "program.kind"),
    (_exec(program=pb.Program(argv=pb.Argv())), "program.argv.args"),
    (_exec(env={"1BAD": "x"}), 'env["1BAD"]'),
    (_exec(timeout=Duration(seconds=-1)), "timeout"),
    (_exec(overflow=99), "overflow"),
    (_exec(on_output_limit=pb.ON_OUTPUT_LIMIT_KILL), "on_output_limit"),
    (
        pb.CreateRequest(
            template="base",
            setup_steps=[
                pb.SetupStep(name="fine", program=pb.Program(shell_command="true")),
                pb.SetupStep(name="bad"),
            ],
        ),
        "setup_steps[1].program",
    ),
]


@pytest.mark.parametrize(
    ("message", "path"),
    _BROKEN,
    ids=[f"{type(message).__name__}:{path}" for message, path in _BROKEN],
)
def test_a_broken_rule_is_named_with_the_path_of_its_field(message: Message, path: str):
    """A program marks the field in a form by it; a person reads it."""
    with pytest.raises(InvalidRequestError) as caught:
        Validator().check(message)

    error = caught.value
    assert path in [violation.field for violation in error.violations]
    assert all(violation.rule for violation in error.violations)
    assert error.metadata == {
        "field": error.violations[0].field,
        "rule": error.violations[0].rule,
    }
    assert path.split("[")[0] in str(error)


@pytest.mark.parametrize(
    "message",
    [
        pb.StatusRequest(sandbox_id="box"),
        _exec(),
        _exec(env={"GOOD": "any\nvalue"}, timeout=Duration(seconds=1)),
        pb.CreateRequest(),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_breaks_no_rule_passes(message: Message):
    """Defaults are fine: unset is the service's to fill in."""
    Validator().check(message)


@pytest.mark.parametrize(
    "message",
    [
        _exec(env={"TOKEN": _SECRET + "\0"}),
        _exec(env={"TOKEN": _SECRET * 5000}),
        pb.StatusRequest(sandbox_id=f"{_SECRET} /"),
        _exec(program=pb.Program(argv=pb.Argv(args=["", _SECRET]))),
    ],
    ids=["nul", "long", "id", "argv"],
)
def test_a_refusal_never_repeats_the_value(message: Message):
    """It may be a secret, and refusals are logged."""
    with pytest.raises(InvalidRequestError) as caught:
        Validator().check(message)

    assert _SECRET not in repr(caught.value.violations) + str(caught.value)
    assert _SECRET.encode() not in to_status(caught.value).SerializeToString()


def test_a_request_with_a_thousand_mistakes_makes_a_short_answer():
    """Somebody sends rubbish: the answer stays small, and is soon made."""
    message = _exec(env={f"{number} bad": "x" for number in range(200)})

    with pytest.raises(InvalidRequestError) as caught:
        Validator().check(message)

    assert 1 <= len(caught.value.violations) <= 16
    assert to_status(caught.value).ByteSize() <= 4096
