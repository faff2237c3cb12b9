"""Two instances of the service: input reaches what runs, whichever of them is asked."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from hashlib import sha256

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, Ran, events, failure, first_output, until
from tests.support.local import backend
from tests.support.service import Service, served, state_folder

pytestmark = pytest.mark.asyncio(loop_scope="session")

_STREAM = {"mode": pb.STDIN_MODE_STREAM}
_NOBODY = "127.0.0.1:1"


def _free_address() -> str:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{it.getsockname()[1]}"


@pytest.fixture(scope="module")
def instances() -> Iterator[list[Service]]:
    """Three services on one backend and store; the third says to be where nobody is."""
    state = state_folder()
    with backend() as env, ExitStack() as stack:
        shared = {**env, "SANDBOX_STORE_URL": f"sqlite:///{state}/store.db"}
        services = []
        for told in (_free_address(), _free_address(), _NOBODY):
            own = {**shared, "SANDBOX_ADVERTISED_ADDRESS": told}
            address = "127.0.0.1:0" if told == _NOBODY else told
            services.append(stack.enter_context(served(env=own, grpc_address=address)))
        yield services
    shutil.rmtree(state)


@pytest_asyncio.fixture(loop_scope="session")
async def boxes(instances: list[Service]) -> AsyncIterator[list[Box]]:
    """One sandbox, as each of the instances serves it."""
    async with (
        Client.connected(instances[0].grpc_address, "acme") as one,
        Client.connected(instances[1].grpc_address, "acme") as two,
        Client.connected(instances[2].grpc_address, "acme") as three,
    ):
        box = await one.sandbox()
        yield [box, Box(two, box.sandbox_id), Box(three, box.sandbox_id)]
        await one.destroy_all()


async def _send(box: Box, exec_id: str, offset: int, data: bytes = b"", **fields: bool) -> int:
    request = pb.SendInputRequest(
        sandbox_id=box.sandbox_id, exec_id=exec_id, offset=offset, data=data, **fields
    )
    return (await box.client.call("SendInput", request)).next_offset


async def _begun(box: Box, line: str, **fields: object) -> tuple[object, str, list[pb.ExecEvent]]:
    """Start a program that says when it is up; the call, its exec's id, what was read."""
    call = box.exec(f"echo up; {line}", stdin=_STREAM, **fields)
    (started,) = await events(call, 1)
    return call, started.started.exec_id, [started, await first_output(call)]


@pytest.mark.parametrize(
    "fields",
    [{}, {"exec_id": "named"}, {"retention": pb.RETENTION_DETACHED}],
    ids=["no id of the caller's", "ATTACHED", "DETACHED"],
)
async def test_input_reaches_an_exec_of_another_instance(boxes, fields):
    """Exactly once each, in any order of instances; a hole is told, too."""
    here, there, _ = boxes
    data = os.urandom(300_000)
    call, exec_id, seen = await _begun(here, "sha256sum", **fields)
    first = await _send(there, exec_id, 0, data[:200_000])
    again = await _send(here, exec_id, 0, data[:100_000])
    hole = await failure(_send(there, exec_id, 200_001, b"x"))
    last = await _send(there, exec_id, 100_000, data[100_000:], end_of_input=True)
    ran = Ran(seen + await events(call))
    late = await _send(here, exec_id, 200_000, data[200_000:], end_of_input=True)

    assert (first, again, last, late) == (200_000, 200_000, 300_000, 300_000)
    assert hole.seen == ("OUT_OF_RANGE", "POSITION_OUT_OF_RANGE")
    assert hole.metadata["actual"] == "200000"
    assert ran.text.split()[1] == sha256(data).hexdigest()


async def test_a_terminal_is_typed_into_from_another_instance(boxes):
    """And its end of input."""
    here, there, _ = boxes
    call = here.exec("cat", pty={"cols": 80, "rows": 24}, exec_id=f"tty-{secrets.token_hex(4)}")
    (started,) = await events(call, 1)
    exec_id = started.started.exec_id
    assert await _send(there, exec_id, 0, b"typed\n", end_of_input=True) == 6
    written = b"".join([it.output.data for it in await events(call)])

    assert written.split() == [b"typed", b"typed"]


async def test_what_the_other_instance_refuses_is_told(boxes):
    """For the same reason, and under this call's id."""
    here, there, _ = boxes
    call = here.exec("echo up; sleep 1000", exec_id=f"none-{secrets.token_hex(4)}")
    (started,) = await events(call, 1)
    refused = await failure(_send(there, started.started.exec_id, 0, b"x"))
    call.cancel()

    assert refused.seen == ("FAILED_PRECONDITION", "INPUT_CLOSED")
    assert refused.metadata["request_id"] == refused.trailing["x-request-id"]


async def test_an_instance_that_cannot_be_reached_is_named(boxes):
    """The caller may reach it from where it is."""
    _, there, lonely = boxes
    call, exec_id, seen = await _begun(lonely, "cat")
    refused = await failure(_send(there, exec_id, 0, b"x"))
    await _send(lonely, exec_id, 0, b"y", end_of_input=True)
    ran = Ran(seen + await events(call))

    assert refused.seen == ("FAILED_PRECONDITION", "EXEC_ON_OTHER_INSTANCE")
    assert refused.metadata["instance"] == _NOBODY
    assert ran.stdout == b"up\ny"


async def test_a_call_that_was_passed_on_is_not_passed_on_again(boxes):
    """Two instances that each take the other for the owner must not call for ever."""
    here, there, _ = boxes
    call, exec_id, _ = await _begun(here, "cat")
    request = pb.SendInputRequest(sandbox_id=here.sandbox_id, exec_id=exec_id, data=b"x")
    passed_on = there.client.other("acme", **{"x-miosa-forwarded": "1"})
    refused = await failure(passed_on.call("SendInput", request))
    call.cancel()

    assert refused.seen == ("FAILED_PRECONDITION", "EXEC_ON_OTHER_INSTANCE")


async def test_a_tenant_gives_no_input_to_anothers_exec(boxes):
    """It is not even told that there is one."""
    here, there, _ = boxes
    call, exec_id, _ = await _begun(here, "cat")
    stranger = Box(there.client.other("stranger"), here.sandbox_id)
    refused = await failure(_send(stranger, exec_id, 0, b"x"))
    call.cancel()

    assert refused.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")


async def test_a_caller_that_leaves_frees_both_instances(boxes, instances):
    """What was begun is finished where it is counted; a repeated call tells."""
    here, there, _ = boxes
    call, exec_id, _ = await _begun(here, "sleep 1000")
    sending = asyncio.ensure_future(_send(there, exec_id, 0, bytes(1_000_000)))

    async def under_way(count: int) -> bool:
        return [await _in_flight(it) for it in instances[:2]] == [count + 1, count]

    # The Exec itself is one at the first instance.
    await until(lambda: under_way(1))
    sending.cancel()
    await until(lambda: under_way(0))
    call.cancel()


async def _in_flight(service: Service) -> int:
    started = await asyncio.to_thread(service.metric, "grpc_server_started_total")
    return int(started - await asyncio.to_thread(service.metric, "grpc_server_handled_total"))


async def test_deadlines_travel_along(boxes):
    """A program that does not read makes the call wait, not for ever."""
    here, there, _ = boxes
    call, exec_id, _ = await _begun(here, "sleep 1000")
    request = pb.SendInputRequest(
        sandbox_id=here.sandbox_id, exec_id=exec_id, data=bytes(1_000_000)
    )
    late = await failure(there.client.call("SendInput", request, timeout=1.0))
    call.cancel()

    assert late.code.name == "DEADLINE_EXCEEDED"
