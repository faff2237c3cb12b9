"""The rules beside the fields: whole, well-formed, and doing what the comments say."""

from __future__ import annotations

import protovalidate
import pytest
from buf.validate import validate_pb2
from google.protobuf import duration_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from miosa.sandbox import v1 as pb

from tests.unit.contract.descriptors import EVERY_MESSAGE, IN_REQUESTS, rules


def _can_be_wrong(field: FieldDescriptor) -> bool:
    """Whether some value of the field's type can be a wrong one."""
    if field.is_repeated:
        return True
    if field.message_type:
        return field.message_type.full_name == "google.protobuf.Duration"
    return field.type not in {
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_UINT64,  # An offset, a size or a generation: compared in code.
    }


@pytest.mark.parametrize(
    "field",
    [f for m in IN_REQUESTS for f in m.fields if _can_be_wrong(f)],
    ids=lambda field: field.full_name,
)
def test_every_field_that_can_be_wrong_has_a_rule(field):
    """Nothing of a request has no limit."""
    rule = rules(field)

    assert rule is not None
    if field.enum_type and not field.is_repeated:
        assert rule.enum.defined_only
    if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
        string = rule.string
        bounded = [string.HasField(name) for name in ("max_len", "max_bytes", "pattern")]
        assert any(bounded) or getattr(string, "in")
        if string.pattern:
            assert (string.pattern[0], string.pattern[-1]) == ("^", "$")
    if field.type == FieldDescriptor.TYPE_BYTES:
        assert rule.bytes.HasField("max_len") or rule.bytes.HasField("len")
    if field.is_repeated:
        is_map = field.message_type and field.message_type.GetOptions().map_entry
        assert rule.map.max_pairs if is_map else rule.repeated.max_items


@pytest.mark.parametrize("message", IN_REQUESTS, ids=lambda message: message.name)
def test_every_rule_compiles(message):
    """A rule with a mistake would fail every call, not only the wrong ones."""
    found = protovalidate.collect_violations(GetMessageClass(message)())

    assert all(violation.proto.rule_id for violation in found)


def test_a_reload_may_send_whatever_signal_may():
    """One list of names, in two places."""
    reload, signal = pb.ReloadSignal.DESCRIPTOR, pb.SignalRequest.DESCRIPTOR
    names = [rules(it.fields_by_name["signal"]).string for it in (reload, signal)]

    assert getattr(names[0], "in") == getattr(names[1], "in")
    assert "HUP" in getattr(names[0], "in")


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: message.name)
def test_a_rule_about_a_message_names_the_field_to_blame(message):
    """`BadRequest` always has a field's path: it is made from the rule's id."""
    options = message.GetOptions()
    rules = options.Extensions[validate_pb2.message].cel

    assert [r.id for r in rules if r.id.split(".")[0] not in message.fields_by_name] == []


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (pb.StatusRequest(), "sandbox_id"),
        (pb.StatusRequest(sandbox_id="x" * 65), "sandbox_id"),
        (pb.StatusRequest(sandbox_id="a\n"), "sandbox_id"),
        (pb.CreateRequest(metadata={"miosa.tenant": "x"}), 'metadata["miosa.tenant"]'),
        (pb.CreateRequest(env={"1X": "x"}), 'env["1X"]'),
        (pb.CreateRequest(lifetime=duration_pb2.Duration()), "lifetime"),
        (pb.CreateRequest(initial_files=[pb.InitialFile(path="a\0")]), "initial_files[0].path"),
        (pb.CreateRequest(setup_steps=[pb.SetupStep()]), "setup_steps[0].program"),
        (pb.ExecRequest(sandbox_id="a", program=pb.Program()), "program.kind"),
        (
            pb.ExecRequest(sandbox_id="a", program=pb.Program(argv=pb.Argv(args=[""]))),
            "program.argv.args",
        ),
        (pb.SyncFilesRequest(), "part"),
        (pb.SyncFilesRequest(data=b""), "data"),
        (pb.SyncFilesRequest(data=bytes(2**20 + 1)), "data"),
        (pb.ListRequest(page_size=-1), "page_size"),
        (pb.ListRequest(states=[99]), "states[0]"),
    ],
)
def test_a_wrong_request_is_told_with_the_field(request_, path):
    """The rules do what the comments say, down to the path."""
    with pytest.raises(protovalidate.ValidationError) as caught:
        protovalidate.validate(request_)

    assert str(caught.value).startswith(f"{path}: ")


TRUE = pb.Program(shell_command="true")


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (
            pb.ExecRequest(
                sandbox_id="a",
                program=TRUE,
                pty=pb.PtySize(cols=80, rows=24),
                retention=pb.RETENTION_DURABLE,
            ),
            "pty.not_durable",
        ),
        (
            pb.ExecRequest(sandbox_id="a", program=TRUE, spool_limit=4096),
            "spool_limit.durable_only",
        ),
        (
            pb.ExecRequest(
                sandbox_id="a",
                program=TRUE,
                retention=pb.RETENTION_DETACHED,
                reader_grace=duration_pb2.Duration(seconds=1),
            ),
            "reader_grace.attached_only",
        ),
        (
            pb.ExecRequest(sandbox_id="a", program=TRUE, on_output_limit=pb.ON_OUTPUT_LIMIT_KILL),
            "on_output_limit.needs_limit",
        ),
        (
            pb.ExecRequest(
                sandbox_id="a",
                program=TRUE,
                pty=pb.PtySize(cols=80, rows=24),
                stdin=pb.Stdin(mode=pb.STDIN_MODE_NONE),
            ),
            "stdin.pty_open",
        ),
        (
            pb.ExecRequest(
                sandbox_id="a",
                program=TRUE,
                stdin=pb.Stdin(mode=pb.STDIN_MODE_NONE, data=b"x"),
            ),
            "data.mode",
        ),
        (pb.SendInputRequest(sandbox_id="a", exec_id="b"), "data.something"),
        (pb.CreateRequest(lease=duration_pb2.Duration(seconds=60)), "lease.needs_owner"),
        (
            pb.CreateRequest(setup_steps=[pb.SetupStep(program=TRUE, exec_id="a")] * 2),
            "setup_steps.unique_exec_id",
        ),
        (
            pb.WatchEventsRequest(from_earliest=True, after_cursor="1"),
            "from_earliest.no_cursor",
        ),
        (
            pb.SaveProfileRequest(name="a", create=pb.CreateRequest(profile="b")),
            "create.not_a_call",
        ),
        (
            pb.CreateContextRequest(sandbox_id="a", language="python", kernel="python3"),
            "language.or_kernel",
        ),
    ],
)
def test_fields_that_exclude_each_other_are_refused(request_, rule):
    """What cannot be meant is not guessed at."""
    found = [violation.proto.rule_id for violation in protovalidate.collect_violations(request_)]

    assert found == [rule]


def test_plain_requests_are_valid():
    """The rules leave room for what everybody sends."""
    for request in (
        pb.CreateRequest(),
        pb.CreateRequest(
            idempotency_key="job-42",
            template="python",
            env={"PATH_X": ""},
            metadata={"team/project": "a b"},
            setup_steps=[pb.SetupStep(program=TRUE), pb.SetupStep(program=TRUE)],
            initial_files=[pb.InitialFile(path="app.py", mode=0o755)],
        ),
        pb.ExecRequest(sandbox_id="i2f9", program=pb.Program(argv=pb.Argv(args=["echo", ""]))),
        pb.ExecRequest(
            sandbox_id="i2f9",
            program=pb.Program(source=pb.SourceCode(language="python", code="print(1)")),
            timeout=duration_pb2.Duration(nanos=500_000_000),
            reader_grace=duration_pb2.Duration(),
            output_limit=0,
            on_output_limit=pb.ON_OUTPUT_LIMIT_KILL,
        ),
        pb.SyncFilesRequest(file=pb.SyncFileHeader(path="ü/b c", sha256=bytes(32))),
        pb.ListRequest(),
    ):
        protovalidate.validate(request)
