"""Two instances of the service: each can act on what the other runs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import PATIENCE_S, Box, Client, Ran, events, failure, first_output
from tests.support.local import backend
from tests.support.service import Service, served, state_folder

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def instances() -> Iterator[tuple[Service, Service]]:
    """Two services on one backend and store."""
    state = state_folder()
    with backend() as env:
        shared = {**env, "SANDBOX_STORE_URL": f"sqlite:///{state}/store.db"}
        with served(env=shared) as one, served(env=shared) as two:
            yield one, two
    shutil.rmtree(state)


@pytest_asyncio.fixture(loop_scope="session")
async def seen_by(instances: tuple[Service, Service]) -> AsyncIterator[tuple[Box, Box]]:
    """One sandbox, as each of the instances serves it."""
    one, two = instances
    async with (
        Client.connected(one.grpc_address, "acme") as first,
        Client.connected(two.grpc_address, "acme") as second,
    ):
        box = await first.sandbox()
        yield box, Box(second, box.sandbox_id)
        await first.destroy_all()


def act(box: Box, method: str, exec_id: str, **fields: object):
    """Call Signal or ResizePty."""
    request = getattr(pb, f"{method}Request")
    return box.client.call(method, request(sandbox_id=box.sandbox_id, exec_id=exec_id, **fields))


async def begun(call) -> tuple[str, list[pb.ExecEvent]]:
    """Wait until a program has written something; its exec's id, and what was read."""
    (started,) = await events(call, 1)
    return started.started.exec_id, [started, await first_output(call)]


@pytest.mark.parametrize(
    "fields",
    [{}, {"exec_id": "named"}, {"exec_id": "lives", "retention": pb.RETENTION_DETACHED}],
    ids=["no id of the caller's", "ATTACHED", "DETACHED"],
)
async def test_a_signal_reaches_an_exec_of_another_instance(seen_by, fields):
    """All of its processes, also those that left its group."""
    here, there = seen_by
    call = here.exec(
        "trap 'echo hup; exit 5' HUP; trap 'echo hup; exit' USR1; echo up;"
        " while :; do sleep 0.05; done",
        **fields,
    )
    exec_id, seen = await begun(call)
    sent = await act(there, "Signal", exec_id, signal="HUP")
    ran = Ran(seen + await events(call))
    again = await act(here, "Signal", exec_id, signal="HUP")

    assert sent.delivered
    assert ran.stdout == b"up\nhup\n"
    assert ran.outcome == ("EXIT", 5)
    assert not again.delivered


async def test_a_terminal_is_sized_from_another_instance(seen_by):
    """And a program without one is told to have none."""
    here, there = seen_by
    line = "echo up; while :; do stty size; sleep 0.1; done"
    call = here.exec(line, pty={"cols": 80, "rows": 24}, exec_id="terminal")
    plain = here.exec("echo up; sleep 1000", exec_id="plain")
    await begun(plain)
    _, seen = await begun(call)
    await act(there, "ResizePty", "terminal", size={"cols": 101, "rows": 33})
    async with asyncio.timeout(PATIENCE_S):
        while b"33 101" not in b"".join(it.output.data for it in seen):
            seen.append((await call.read()).event)
    refused = await failure(act(there, "ResizePty", "plain", size={"cols": 9, "rows": 9}))
    call.cancel()
    plain.cancel()

    assert refused.seen == ("FAILED_PRECONDITION", "NOT_A_TERMINAL")


async def test_nothing_is_sent_to_what_never_was(seen_by):
    """As before."""
    _, there = seen_by
    refused = await failure(act(there, "Signal", "nobody", signal="TERM"))

    assert refused.seen == ("NOT_FOUND", "EXEC_NOT_FOUND")
