"""The contract as it is committed: fresh, commented, in one grammar."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from miosa.sandbox import v1 as pb

from tests.unit.contract.descriptors import (
    EVERY_FIELD,
    METHODS,
    OUR_FILES,
    PROTOS,
    ROOT,
    SERVICES,
    comments,
    elements,
)


def test_the_committed_descriptors_are_what_the_protos_say(tmp_path):
    """Nobody edits a proto and forgets to generate; needs neither Go nor the net."""
    names = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    made = tmp_path / "made.binpb"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            f"--descriptor_set_in={ROOT / 'generated/sandbox.binpb'}",
            f"--descriptor_set_out={made}",
            "--include_source_info",
            *names,
        ],
        check=True,
    )
    fresh = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    committed = {file.name: file for file in OUR_FILES}

    assert sorted(committed) == names
    for file in fresh.file:
        assert _normal(file) == _normal(committed[file.name])
        assert comments(file) == comments(committed[file.name])


def _normal(file: descriptor_pb2.FileDescriptorProto) -> dict[str, object]:
    """The file without what compilers may leave out: comments, and JSON names that follow."""
    omitted = {"jsonName", "sourceCodeInfo"}

    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in omitted}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(json_format.MessageToDict(file))  # type: ignore[return-value]


@pytest.mark.parametrize("file", OUR_FILES, ids=lambda file: file.name)
def test_the_python_code_is_of_these_descriptors(file):
    """Python, Go and grpcurl see one contract."""
    python = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(file.name).CopyToProto(python)

    assert _normal(python) == _normal(file)


def test_the_package_names_every_message_and_enum():
    """`from miosa.sandbox import v1 as pb` is enough to write a client."""
    named = {m.name for f in OUR_FILES for m in f.message_type}
    named |= {e.name for f in OUR_FILES for e in f.enum_type}
    named |= {value.name for f in OUR_FILES for e in f.enum_type for value in e.value}

    assert named == set(pb.__all__)
    assert all(hasattr(pb, name) for name in named)


@pytest.mark.parametrize("file", OUR_FILES, ids=lambda file: file.name)
def test_everything_is_commented(file):
    """A caller learns from the proto alone what a thing means."""
    said = comments(file)

    assert [name for path, name in elements(file) if path not in said] == []


def test_every_enum_begins_with_unspecified():
    """Zero is what an old or a careless caller sends: it may never mean something."""
    enums = [enum for file in OUR_FILES for enum in file.enum_type]

    assert enums
    for enum in enums:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
        assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}_UNSPECIFIED", 0)
        assert all(value.name.startswith(prefix + "_") for value in enum.value)


def test_every_rpc_has_a_request_and_a_response_of_its_own():
    """One call can change without another."""
    assert [m.input_type.name for m in METHODS] == [f"{m.name}Request" for m in METHODS]
    assert [m.output_type.name for m in METHODS] == [f"{m.name}Response" for m in METHODS]
    assert len({m.input_type.full_name for m in METHODS}) == len(METHODS)


def test_the_three_services_have_the_calls_that_were_designed():
    """A call that is dropped or renamed is noticed."""
    assert {s.name: {m.name for m in s.methods} for s in SERVICES} == {
        "SandboxService": {
            "Create",
            "Status",
            "List",
            "ExtendLifetime",
            "Pause",
            "Resume",
            "Exec",
            "CheckProgram",
            "Attach",
            "SendInput",
            "Signal",
            "ResizePty",
            "ListExecs",
            "PlanSync",
            "SyncFiles",
            "ReadFile",
            "ListFiles",
            "DownloadTree",
            "GetPreview",
            "RenewLease",
            "Adopt",
            "SaveProfile",
            "ListProfiles",
            "Destroy",
            "WatchEvents",
            "GetCapabilities",
        },
        "ArtifactService": {
            "ListArtifacts",
            "DownloadArtifact",
            "CollectArtifacts",
            "ListArchives",
        },
        "NotebookService": {
            "RunNotebook",
            "AttachNotebook",
            "CancelNotebook",
            "CreateContext",
            "RunCell",
            "ListContexts",
            "DeleteContext",
        },
    }


@pytest.mark.parametrize("field", EVERY_FIELD, ids=lambda field: field.full_name)
def test_times_are_typed(field):
    """No caller has to guess a unit, or which of the timeouts a number is."""
    is_time = field.name.endswith("_time")
    message = field.message_type.full_name if field.message_type else ""

    if is_time and field.name != "cpu_time":
        assert message == "google.protobuf.Timestamp"
    if message == "google.protobuf.Timestamp":
        assert is_time or field.name == "time"
    assert not re.search(r"_(s|ms|sec|secs|seconds|millis|minutes)$", field.name)
    if field.name.endswith("timeout"):
        assert message == "google.protobuf.Duration"


def test_a_stream_of_the_client_is_one_oneof_that_begins_with_a_header():
    """The first message cannot be taken for another one."""
    streams = [method for method in METHODS if method.client_streaming]

    assert {method.name for method in streams} == {"PlanSync", "SyncFiles"}
    for method in streams:
        (part,) = method.input_type.oneofs
        assert {field.name for field in part.fields} == set(method.input_type.fields_by_name)
        assert part.fields[0].name == "header"
