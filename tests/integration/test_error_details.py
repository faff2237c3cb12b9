"""Errors carry what the contract's list of reasons shows for each: programs branch on it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, failure, program, source
from tests.support.service import REPOSITORY
from tests.support.trees import File, data, file_header, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

Provoke = Callable[[Box], Awaitable[object]]


@cache
def documented() -> dict[str, set[str]]:
    """Return the metadata that the example of each reason names."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (REPOSITORY / "generated/sandbox.binpb").read_bytes()
    ).file
    (file,) = [it for it in files if it.name.endswith("/error_reason.proto")]
    found = {}
    for location in file.source_code_info.location:
        example = re.search(r"`(\{.*\})`", location.leading_comments, re.DOTALL)
        if example:
            shown = json.loads(" ".join(example[1].split()))
            found[shown["reason"]] = set(shown["metadata"])
    return found


def in_time(**later: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC) + timedelta(**later))
    return time


def extend(box: Box, time: Timestamp) -> Awaitable[object]:
    request = pb.ExtendLifetimeRequest(sandbox_id=box.sandbox_id, expire_time=time)
    return box.client.call("ExtendLifetime", request)


def sync(box: Box, *messages: pb.SyncFilesRequest, **fields: object) -> Awaitable[object]:
    root = f"/tmp/details-{secrets.token_hex(4)}"
    return box.client.sync([header(box.sandbox_id, root, **fields), *messages])


async def twice_with_a_key(box: Box) -> None:
    for lifetime in (60, 61):
        await box.client.create(idempotency_key="details", lifetime=Duration(seconds=lifetime))


async def twice_with_an_exec_id(box: Box) -> None:
    for what in ("true", "false"):
        await box.run(what, exec_id="details")


async def twice_with_a_sync_id(box: Box) -> None:
    for content in (b"a", b"b"):
        await box.client.sync(
            [header(box.sandbox_id, "/tmp/details", sync_id="d"), *parts({"a": File(content)})]
        )


async def after_its_end(box: Box) -> None:
    await box.client.destroy(box.sandbox_id)
    await box.run("true")


async def without_room(box: Box) -> None:
    await box.run("fallocate -l $(df --output=avail -B1 /tmp | tail -1) /tmp/filler")
    await sync(box, *parts({"a": File(bytes(1 << 20))}))


PROVOKED: dict[str, Provoke] = {
    "INVALID_REQUEST": lambda box: box.run("true", exec_id="a b"),
    "MALFORMED_MESSAGE": lambda box: box.client.channel.unary_unary(
        "/miosa.sandbox.v1.SandboxService/List"
    )(b"\xff", metadata=box.client.metadata),
    "INVALID_STREAM": lambda box: box.client.sync([data(b"x")]),
    "INVALID_PATH": lambda box: sync(box, file_header("../x", b"")),
    "CHECKSUM_MISMATCH": lambda box: sync(box, file_header("x", b"x"), data(b"y")),
    "PAYLOAD_TOO_LARGE": lambda box: box.client.create(
        initial_files=[pb.InitialFile(path=it, content=bytes(2 << 20)) for it in "ab"]
    ),
    "INVALID_PAGE_TOKEN": lambda box: box.client.list(page_token="x"),
    "LIFETIME_TOO_LONG": lambda box: box.client.create(lifetime=Duration(seconds=2_000_000)),
    "LANGUAGE_NOT_SUPPORTED": lambda box: box.run(source("fortran", "end")),
    "TENANT_REQUIRED": lambda box: Client.on(box.client.channel, "").list(),
    "SANDBOX_NOT_FOUND": lambda box: box.client.status("unknown"),
    "TEMPLATE_NOT_FOUND": lambda box: box.client.create(e2b_template_id="no-such-id"),
    "IDEMPOTENCY_KEY_REUSED": twice_with_a_key,
    "EXEC_ID_REUSED": twice_with_an_exec_id,
    "SYNC_ID_REUSED": twice_with_a_sync_id,
    "SANDBOX_ENDED": after_its_end,
    "SETUP_FAILED": lambda box: box.client.create(
        setup_steps=[pb.SetupStep(program=program("exit 1"))]
    ),
    "DIRECTORY_NOT_FOUND": lambda box: box.run("true", cwd="/nowhere"),
    "USER_NOT_FOUND": lambda box: box.run("true", user="nemo"),
    "LIFETIME_NOT_EXTENDED": lambda box: extend(box, in_time(seconds=1)),
    "RESOURCES_UNSATISFIABLE": lambda box: box.client.create(resources={"cpu_count": 200}),
    "POLICY_NOT_ENFORCEABLE": lambda box: box.client.create(
        network={"egress_default": pb.EGRESS_DEFAULT_ALLOW}
    ),
    "DISK_FULL": without_room,
    "ROOT_DIGEST_MISMATCH": lambda box: sync(box, if_root_digest=bytes(32)),
    "GENERATION_MISMATCH": lambda box: box.client.destroy(box.sandbox_id, if_generation=9),
    "NOT_IMPLEMENTED": lambda box: box.client.call("Pause", pb.PauseRequest(sandbox_id="a")),
}


@pytest.mark.parametrize("reason", PROVOKED)
async def test_an_error_carries_the_metadata_that_its_reason_shows(client, reason):
    """There may be more of it; never less."""
    error = await failure(PROVOKED[reason](await client.sandbox()))

    assert error.reason == reason
    assert documented()[reason] - set(error.metadata) == set()
    assert error.metadata["request_id"]
    assert error.message
    assert all(error.metadata[name] for name in documented()[reason])


async def test_what_differs_is_named_for_an_exec_id_too(client):
    """As for an idempotency key."""
    error = await failure(twice_with_an_exec_id(await client.sandbox()))

    assert error.metadata.get("differs") == "program"
