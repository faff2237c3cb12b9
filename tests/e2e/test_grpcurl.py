"""People who debug the service do it with grpcurl."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from miosa.sandbox import v1 as pb

from tests.e2e.readme import blocks
from tests.support.calls import Client
from tests.support.service import REPOSITORY, Service

pytestmark = pytest.mark.needs("grpcurl")

DESCRIPTOR_SET = str(REPOSITORY / "generated/sandbox.binpb")
OURS = "miosa.sandbox.v1."


def grpcurl(*arguments: str) -> str:
    """Run grpcurl and return what it prints."""
    done = subprocess.run(["grpcurl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reflection_lists_the_services_of_the_descriptor_set(service: Service) -> None:
    """Whoever has the file and whoever asks the service see the same contract."""
    from_service = grpcurl("-plaintext", service.grpc_address, "list").split()
    from_file = grpcurl("-protoset", DESCRIPTOR_SET, "list").split()
    assert [name for name in from_service if name.startswith(OURS)] == from_file
    assert "grpc.health.v1.Health" in from_service


@pytest.mark.parametrize(
    "symbol", ["SandboxService", "ExecRequest", "SyncFilesRequest", "ExecEvent", "ErrorReason"]
)
def test_reflection_describes_what_the_descriptor_set_describes(
    service: Service, symbol: str
) -> None:
    """Also the rules beside the fields; only the comments are in the file alone."""
    from_service = grpcurl("-plaintext", service.grpc_address, "describe", OURS + symbol)
    from_file = grpcurl("-protoset", DESCRIPTOR_SET, "describe", OURS + symbol)
    assert _significant(from_file) == _significant(from_service)
    assert "//" in from_file


def _significant(description: str) -> list[str]:
    """Return the lines that are neither comment nor empty."""
    lines = (line.strip() for line in description.splitlines())
    return [line for line in lines if line and not line.startswith("//")]


def test_reflection_serves_every_file_of_the_descriptor_set(
    service: Service, tmp_path: Path
) -> None:
    """A tool that builds its client from reflection builds the right one."""
    exported = tmp_path / "reflected.binpb"
    grpcurl("-plaintext", "-protoset-out", str(exported), service.grpc_address, "describe")
    expected = _files(Path(DESCRIPTOR_SET))
    assert _files(exported) == expected


def _files(descriptor_set: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return our files without what only one side has: comments, Go's and JSON's names."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
    found = {}
    for file in files:
        if file.package + "." != OURS:
            continue
        file.DiscardUnknownFields()  # buf adds one of its own.
        file.ClearField("source_code_info")
        file.ClearField("options")
        waiting = list(file.message_type)
        while waiting:
            message = waiting.pop()
            waiting += message.nested_type
            for field in message.field:
                field.ClearField("json_name")
        found[file.name] = file
    return found


@pytest.mark.asyncio(loop_scope="session")
async def test_examples_of_the_readme_show_every_rpc_that_is_served(client: Client) -> None:
    """A call without an example is one that people have to guess at."""
    capabilities = await client.stub.GetCapabilities(
        pb.GetCapabilitiesRequest(), metadata=client.metadata
    )
    served = {rpc.name.rpartition(".")[2] for rpc in capabilities.rpcs if rpc.implemented}
    examples = "".join(text for _, text in blocks("sh grpcurl"))
    shown = {
        name.rpartition(".")[2] for name in re.findall(r"miosa\.sandbox\.v1\.\w+/\w+", examples)
    }
    assert shown == served


def test_examples_of_the_readme_run_in_order_in_one_shell(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each answers as the text around it says; those marked `fails` do fail."""
    _need_of_the_examples(request.config, "jq", "curl")
    script = tmp_path / "examples.sh"
    lines = ["set -euo pipefail"]
    for mark, text in blocks("sh grpcurl"):
        assert mark in ("", "fails")
        # In braces, not in a subshell: the variables are for the examples that follow.
        lines.append(
            f"if {{\n{text}}}; then echo 'this was to fail' >&2; exit 1; fi" if mark else text
        )
    script.write_text("\n".join(lines))

    done = subprocess.run(
        ["bash", str(script)],
        cwd=REPOSITORY,
        env={**os.environ, "SANDBOX_GRPC": service.grpc_address},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(blocks("sh grpcurl")) > 1
    assert '"SERVING"' in done.stdout
    assert "0\n1\n2\n" in done.stdout
    assert "<h1>It works</h1>" in done.stdout
    assert '"END_CAUSE_DESTROYED"' in done.stdout
    assert '"reason": "INVALID_REQUEST"' in done.stderr


def _need_of_the_examples(config: pytest.Config, *programs: str) -> None:
    """Skip where the examples' own tools are missing, or fail where grpcurl is required."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    reason = f"the examples need {' and '.join(missing)}"
    if {"grpcurl", "all"} & set(config.getoption("--require").split(",")):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
