"""Terminals."""

from __future__ import annotations

import e2b
import pytest
from e2b.envd.process import process_pb
from e2b.sandbox.commands.command_handle import PtySize
from protobuf import Oneof

from tests.conformance.e2b.wire import START
from tests.support.connect_wire import JSON, PROTO, selector, until

SIZE = PtySize(rows=24, cols=80)


@pytest.fixture
async def terminal(async_sdk, shared):
    """A terminal of the shared sandbox, and what it has shown."""
    sandbox = await async_sdk.connect(shared["sandboxID"])
    shown = bytearray()
    handle = await sandbox.pty.create(SIZE, on_data=shown.extend, cwd="/tmp", envs={"MINE": "yes"})
    yield sandbox, handle, shown
    await sandbox.pty.kill(handle.pid)


async def types(terminal, text, expected):
    """Type something, and wait until it was answered."""
    sandbox, handle, shown = terminal
    del shown[:]
    await sandbox.pty.send_stdin(handle.pid, text.encode())

    async def answered():
        return expected.encode() in shown

    await until(answered)


async def test_a_terminal_is_a_terminal(terminal):
    """Its size, its device, its folder, its variables, its name."""
    await types(terminal, "stty size\n", "24 80")
    await types(terminal, "tty\n", "/dev/pts/")
    await types(terminal, "pwd; echo v-$MINE\n", "v-yes")
    await types(terminal, "echo t-$TERM\n", "t-xterm-256color")
    await types(terminal, "echo l-$LC_ALL\n", "l-C.UTF-8")


async def test_a_resize_is_seen(terminal):
    """By the program that runs in it."""
    sandbox, handle, _ = terminal
    await sandbox.pty.resize(handle.pid, PtySize(rows=43, cols=132))
    await types(terminal, "stty size\n", "43 132")


async def test_keys_are_signals(terminal):
    """Control-C ends what runs, not the shell."""
    sandbox, handle, shown = terminal
    await types(terminal, "echo begun-$((1+1)); sleep 600\n", "begun-2")

    async def stopped():
        # Also a key that comes before the program does is one that nobody waits for.
        await sandbox.pty.send_stdin(handle.pid, b"\x03echo still-$((40+2))\n")
        return b"still-42" in shown

    await until(stopped)


async def test_the_end_of_a_shell_is_its_exit_code(terminal):
    """As any command's."""
    sandbox, handle, _ = terminal
    await sandbox.pty.send_stdin(handle.pid, b"exit 4\n")
    with pytest.raises(e2b.CommandExitException) as caught:
        await handle.wait()

    assert caught.value.exit_code == 4


async def test_a_terminal_is_taken_up_again(terminal):
    """By its pid, from now on."""
    sandbox, handle, _ = terminal
    await handle.disconnect()
    shown = bytearray()
    again = await sandbox.pty.connect(handle.pid, on_data=shown.extend)
    await types((sandbox, again, shown), "echo here-$((1+1))\n", "here-2")


async def test_a_terminal_takes_a_stream_of_input(terminal):
    """As pipes do."""
    sandbox, handle, shown = terminal
    async with sandbox.pty.stream_input(handle.pid) as stream:
        await stream.send(b"echo streamed-$((3+4))\n")

    async def answered():
        return b"streamed-7" in shown

    await until(answered)


async def test_a_kill_ends_a_terminal(terminal):
    """And the second one finds nothing."""
    sandbox, handle, _ = terminal
    assert await sandbox.pty.kill(handle.pid) is True
    with pytest.raises(e2b.CommandExitException):
        await handle.wait()
    assert await sandbox.pty.kill(handle.pid) is False


async def test_the_synchronous_sdk_has_terminals(sync_sdk, shared):
    """Its output comes from the handle."""
    sandbox = await sync_sdk.connect(shared["sandboxID"])
    handle = await sandbox.pty.create(SIZE)
    await sandbox.pty.send_stdin(handle.pid, b"echo sync-$((5+5)); exit 0\n")
    shown = bytearray()
    await handle.wait(on_pty=shown.extend)

    assert b"sync-10" in shown


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
async def test_a_terminals_output_has_a_field_of_its_own(box, codec):
    """And a pipe's input is none for it."""
    size = process_pb.PTY(size=process_pb.PTY.Size(cols=80, rows=24))
    config = process_pb.ProcessConfig(cmd="/bin/cat")
    request = process_pb.StartRequest(process=config, pty=size)
    async with box.stream(START, request, process_pb.StartResponse, codec) as stream:
        pid = (await anext(stream)).event.event.value.pid
        wrong = process_pb.ProcessInput(input=Oneof("stdin", b"x"))
        refused = await box.call(
            "/process.Process/SendInput",
            process_pb.SendInputRequest(process=selector(pid), input=wrong),
        )
        closed = await box.call(
            "/process.Process/CloseStdin", process_pb.CloseStdinRequest(process=selector(pid))
        )
        given = process_pb.ProcessInput(input=Oneof("pty", b"typed\n"))
        await box.call(
            "/process.Process/SendInput",
            process_pb.SendInputRequest(process=selector(pid), input=given),
            process_pb.SendInputResponse,
        )
        output = (await anext(stream)).event.event.value.output
        await box.call(
            "/process.Process/SendSignal",
            process_pb.SendSignalRequest(process=selector(pid), signal=process_pb.Signal.SIGKILL),
            process_pb.SendSignalResponse,
        )

    assert output.field == "pty"
    assert output.value.startswith(b"typed")
    assert refused["code"] == "internal"
    assert "tty assigned to process" in refused["message"]
    assert closed["code"] == "unknown"


async def test_a_pipe_has_no_size(box):
    """A resize of it is refused."""
    size = process_pb.PTY(size=process_pb.PTY.Size(cols=80, rows=24))
    async with box.start("exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        request = process_pb.UpdateRequest(process=selector(pid), pty=size)
        answer = await box.call("/process.Process/Update", request)
        await box.call(
            "/process.Process/SendSignal",
            process_pb.SendSignalRequest(process=selector(pid), signal=process_pb.Signal.SIGKILL),
            process_pb.SendSignalResponse,
        )

    assert answer["code"] in {"internal", "failed_precondition", "invalid_argument"}
