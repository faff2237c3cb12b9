"""Input of programs, in its three forms, and its end."""

from __future__ import annotations

import hashlib
import random

import e2b
import pytest
from e2b.envd.process import process_pb
from protobuf import Oneof

from tests.conformance.e2b.wire import STREAM_INPUT
from tests.support.connect_wire import JSON, PROTO, enveloped, output_of, selector


async def test_input_reaches_a_command_and_ends(sandbox):
    """`cat` gives back what it got, and ends when its input does."""
    handle = await sandbox.commands.run("cat", background=True, stdin=True)
    await sandbox.commands.send_stdin(handle.pid, "line\n" * 20_000)
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout == "line\n" * 20_000


async def test_input_of_the_handle_is_the_same(sandbox):
    """In pieces, in order, as text and as bytes."""
    handle = await sandbox.commands.run("cat", background=True, stdin=True)
    for piece in ("one ", b"two ", "thr\u00e9\u00e9"):
        await handle.send_stdin(piece)
    await handle.close_stdin()

    assert (await handle.wait()).stdout == "one two thr\u00e9\u00e9"


async def test_input_may_be_a_stream(async_sdk, shared):
    """One call for all of it, in order."""
    sandbox = await async_sdk.connect(shared["sandboxID"])
    data = random.Random(4).randbytes(3_000_000)
    handle = await sandbox.commands.run("sha256sum", background=True, stdin=True)
    async with sandbox.commands.stream_input(handle.pid) as stream:
        for start in range(0, len(data), 100_000):
            await stream.send(data[start : start + 100_000])
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout.split()[0] == hashlib.sha256(data).hexdigest()


async def test_the_synchronous_stream_is_an_iterable(sync_sdk, shared):
    """Sent as it yields."""
    sandbox = await sync_sdk.connect(shared["sandboxID"])
    handle = await sandbox.commands.run("cat", background=True, stdin=True)
    await sandbox.commands.stream_input(handle.pid, ["a", b"b\n"])
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout == "ab\n"


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
async def test_a_stream_of_input_is_answered_when_it_ends(box, codec):
    """Start, keepalives and pieces; then one empty message and the end."""
    kind = process_pb.StreamInputRequest
    async with box.start("cat", stdin=True) as stream:
        pid = (await anext(stream)).value.pid

        async def body():
            yield enveloped(
                codec.encode(kind(event=Oneof("start", kind.StartEvent(process=selector(pid)))))
            )
            yield enveloped(codec.encode(kind(event=Oneof("keepalive", kind.KeepAlive()))))
            for piece in (b"one ", b"two\xff"):
                given = process_pb.ProcessInput(input=Oneof("stdin", piece))
                yield enveloped(
                    codec.encode(kind(event=Oneof("data", kind.DataEvent(input=given))))
                )

        url, headers = box.to(content_type=f"application/connect+{codec.name}")
        response = await box.wire.client.post(
            f"{url}{STREAM_INPUT}", content=body(), headers=headers
        )
        closing = process_pb.CloseStdinRequest(process=selector(pid))
        await box.call("/process.Process/CloseStdin", closing, process_pb.CloseStdinResponse)
        output = b"".join([output_of(event) async for event in stream])
    empty = codec.encode(process_pb.StreamInputResponse())

    assert response.headers["content-type"] == f"application/connect+{codec.name}"
    assert response.content == enveloped(empty) + b"\x02\0\0\0\x02{}"
    assert output == b"one two\xff"


async def test_a_stream_for_nobody_is_not_found(async_sdk, shared):
    """Told when it is closed."""
    sandbox = await async_sdk.connect(shared["sandboxID"])
    stream = sandbox.commands.stream_input(999_999)
    with pytest.raises(e2b.NotFoundException):
        await stream.close()


async def test_input_without_a_pipe_is_refused(sandbox):
    """The command was started without one."""
    handle = await sandbox.commands.run("sleep 600", background=True)
    with pytest.raises(e2b.SandboxException):
        await sandbox.commands.send_stdin(handle.pid, "x")
    await handle.kill()


async def test_a_program_without_input_reads_its_end_at_once(sandbox):
    """`/dev/null`, not a pipe that nobody writes to."""
    assert (await sandbox.commands.run("cat; echo done")).stdout == "done\n"


async def test_input_after_its_end_is_refused(sandbox):
    """And the program has seen the end."""
    handle = await sandbox.commands.run("cat; read x; echo rc $?", background=True, stdin=True)
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout == "rc 1\n"


async def test_a_program_that_does_not_read_does_not_stop_others(sandbox):
    """Its pipe is full; theirs is not."""
    full = await sandbox.commands.run("exec sleep 600", background=True, stdin=True)
    other = await sandbox.commands.run("head -c 3", background=True, stdin=True)
    await sandbox.commands.send_stdin(full.pid, "x" * 60_000)
    await sandbox.commands.send_stdin(other.pid, "abc")

    assert (await other.wait()).stdout == "abc"
    await full.kill()
