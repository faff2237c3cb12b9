"""Input by offset, signals to all processes, and terminals."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Ran, events, failure, first_output, unlikely, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = {"mode": pb.STDIN_MODE_STREAM}


class Running:
    """An exec that runs, and calls about it."""

    def __init__(self, box, what, **fields):
        self.box = box
        self.exec_id = f"exec-{secrets.token_hex(4)}"
        self.call = box.exec(what, exec_id=self.exec_id, **fields)
        self.seen = []

    async def started(self):
        self.seen += await events(self.call, 1)
        return self

    async def until_written(self, wanted: bytes):
        """Read until the program has written this, on whatever stream."""
        while wanted not in self.written():
            (event,) = await events(self.call, 1)
            assert not event.HasField("exited"), event
            self.seen.append(event)

    def written(self) -> bytes:
        return b"".join(it.output.data for it in self.seen if it.HasField("output"))

    async def send(self, offset: int, data: bytes = b"", *, end: bool = False) -> int:
        request = pb.SendInputRequest(**self._which(), offset=offset, data=data, end_of_input=end)
        return (await self.box.client.call("SendInput", request)).next_offset

    async def signal(self, name: str) -> bool:
        request = pb.SignalRequest(**self._which(), signal=name)
        return (await self.box.client.call("Signal", request)).delivered

    async def resize(self, cols: int, rows: int) -> pb.PtySize:
        request = pb.ResizePtyRequest(**self._which(), size={"cols": cols, "rows": rows})
        return (await self.box.client.call("ResizePty", request)).size

    async def rest(self) -> Ran:
        self.seen += await events(self.call)
        return Ran(self.seen)

    def _which(self):
        return {"sandbox_id": self.box.sandbox_id, "exec_id": self.exec_id}


async def test_input_that_is_sent_piece_by_piece_arrives_unchanged(box):
    """Any byte, any size up to a message's."""
    data = os.urandom(3_000_000)
    it = await Running(box, "sha256sum", stdin=STREAM).started()
    offset = 0
    for size in (0, 1, 1_000_000, 999_999, 1_000_000):
        if size:
            offset = await it.send(offset, data[offset : offset + size])
    assert await it.send(offset, end=True) == len(data)
    ran = (await it.rest()).check()

    assert ran.text.split()[0] == hashlib.sha256(data).hexdigest()
    assert ran.outcome == ("EXIT", 0)


async def test_a_program_answers_what_it_is_asked(box):
    """A conversation, line by line."""
    it = await Running(box, 'while read -r line; do echo "got $line"; done', stdin=STREAM).started()
    offset = 0
    for word in (b"one", b"two", b"three"):
        offset = await it.send(offset, word + b"\n")
        await it.until_written(b"got " + word + b"\n")
    await it.send(offset, end=True)

    assert (await it.rest()).check().outcome == ("EXIT", 0)


async def test_the_first_input_counts_and_what_is_repeated_is_skipped(box):
    """A caller that lost an answer sends the same again."""
    it = await Running(box, "cat", stdin={**STREAM, "data": b"first "}).started()

    assert await it.send(6, b"second ") == 13
    assert await it.send(6, b"second ") == 13
    assert await it.send(0, b"first second third") == 18
    hole = await failure(it.send(20, b"x"))
    assert await it.send(18, end=True) == 18
    assert await it.send(18, end=True) == 18
    ran = (await it.rest()).check()

    assert ran.stdout == b"first second third"
    assert hole.seen == ("OUT_OF_RANGE", "POSITION_OUT_OF_RANGE")
    assert hole.metadata["actual"] == "18"


async def test_input_that_nobody_asked_for_is_refused(box):
    """And so is what comes after its end, or after the program's."""
    it = await Running(box, "sleep 30").started()
    none = await failure(it.send(0, b"x"))
    await it.signal("KILL")
    await it.rest()
    ended = await failure(it.send(0, b"x"))
    closed = await Running(box, "cat; sleep 30", stdin=STREAM).started()
    await closed.send(0, b"x", end=True)
    after = await failure(closed.send(1, b"y"))
    closed.call.cancel()

    assert none.seen == ("FAILED_PRECONDITION", "INPUT_CLOSED")
    assert ended.seen == ("FAILED_PRECONDITION", "EXEC_NOT_RUNNING")
    assert after.seen == ("FAILED_PRECONDITION", "INPUT_CLOSED")


async def test_a_program_that_does_not_read_makes_the_call_wait(box):
    """As a pipe does; and the bytes of a call that was given up are written once."""
    it = await Running(box, "read -t 30 go < <(sleep 1.5); sha256sum", stdin=STREAM).started()
    data = os.urandom(1_000_000)
    sending = asyncio.ensure_future(it.send(0, data))
    await asyncio.wait({sending}, timeout=0.5)
    waited = not sending.done()
    sending.cancel()
    assert await it.send(0, data, end=True) == len(data)
    ran = await it.rest()

    assert waited
    assert ran.text.split()[0] == hashlib.sha256(data).hexdigest()


async def test_a_signal_reaches_every_process_and_is_told_as_the_callers(box):
    """SIGNAL as a cause is for signals that nobody here sent."""
    mark = unlikely()
    it = await Running(box, f"sleep {mark} & sleep {mark} & echo ready; wait").started()
    await it.until_written(b"ready")
    delivered = await it.signal("TERM")
    ran = await it.rest()

    assert delivered
    assert ran.outcome == ("CANCELLED", None)
    assert ran.exited.signal == "TERM"
    assert ran.exited.fault == pb.FAULT_CALLER
    await box.gone(mark)


async def test_a_program_decides_what_a_signal_means(box):
    """HUP is a reload to many; the exit is then its own."""
    it = await Running(
        box,
        "trap 'echo reloaded' HUP; trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done",
    ).started()
    await it.until_written(b"ready")
    await it.signal("HUP")
    await it.until_written(b"reloaded")
    await it.signal("USR1")
    ran = await it.rest()

    assert ran.outcome == ("EXIT", 7)


async def test_a_signal_to_what_has_ended_is_not_delivered_and_no_error(box):
    """There is nobody left to get it."""
    it = await Running(box, "true").started()
    await it.rest()

    assert not await it.signal("TERM")


async def test_a_stopped_program_goes_on_when_it_is_told_to(box):
    """STOP and CONT, as a debugger uses them."""
    it = await Running(box, "while :; do echo x; sleep 0.05; done").started()
    await it.until_written(b"x")
    await it.signal("STOP")

    async def states():
        pid = it.seen[0].started.pid
        return (await box.run(f"cut -d' ' -f3 /proc/{pid}/stat")).text.strip()

    async def is_stopped():
        return await states() == "T"

    await until(is_stopped)
    await it.signal("CONT")
    assert await states() != "T"
    await it.signal("KILL")

    assert (await it.rest()).exited.signal == "KILL"


async def test_a_terminal_is_one_and_has_the_size_that_was_asked_for(box):
    """Programs that draw ask for it."""
    it = await Running(box, "tty; stty size; echo err >&2", pty={"cols": 100, "rows": 30}).started()
    ran = await it.rest()
    output = b"".join(e.output.data for e in ran.events if e.HasField("output"))

    assert output.decode().split() == [output.decode().split()[0], "30", "100", "err"]
    assert output.startswith(b"/dev/pts/")
    assert {e.output.stream for e in ran.events if e.HasField("output")} == {pb.OUTPUT_STREAM_PTY}
    assert ran.started.pty == pb.PtySize(cols=100, rows=30)
    assert [t.stream for t in ran.exited.totals] == [pb.OUTPUT_STREAM_PTY]
    assert ran.events[-1].position.stdout_offset == len(output)


async def test_a_terminal_that_is_resized_tells_its_program(box):
    """By SIGWINCH, as a window does."""
    it = await Running(
        box,
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done",
        pty={"cols": 80, "rows": 24},
    ).started()
    await it.until_written(b"ready")
    size = await it.resize(132, 50)
    await it.until_written(b"50 132")
    attached = box.client.call(
        "Attach", pb.AttachRequest(sandbox_id=box.sandbox_id, exec_id=it.exec_id)
    )
    (started,) = await events(attached, 1)
    attached.cancel()
    await it.signal("KILL")
    await it.rest()

    assert size == pb.PtySize(cols=132, rows=50)
    assert started.started.pty == size


async def test_a_shell_on_a_terminal_is_typed_to_and_ended(box):
    """What is typed is echoed, and ^D at an empty line ends it."""
    # A terminal that can do nothing, so that the shell draws nothing.
    it = await Running(
        box, ["bash", "--norc"], pty={"cols": 80, "rows": 24}, env={"TERM": "dumb"}
    ).started()
    offset = await it.send(0, b"echo $((40+2))\n")
    await it.until_written(b"\n42\r\n")
    await it.send(offset, end=True)
    ran = await it.rest()

    assert ran.outcome == ("EXIT", 0)
    assert re.search(rb"echo \$\(\(40\+2\)\)", it.written())


async def test_what_is_no_terminal_has_no_size(box):
    """Programs without one ask nobody."""
    it = await Running(box, "sleep 30").started()
    error = await failure(it.resize(80, 24))
    it.call.cancel()

    assert error.seen == ("FAILED_PRECONDITION", "NOT_A_TERMINAL")


@pytest.mark.parametrize("method", ["SendInput", "Signal", "ResizePty"])
async def test_an_exec_that_never_was_is_not_found(box, method):
    """Whatever is asked of it."""
    which = {"sandbox_id": box.sandbox_id, "exec_id": "never-was"}
    request = {
        "SendInput": lambda: pb.SendInputRequest(**which, data=b"x"),
        "Signal": lambda: pb.SignalRequest(**which, signal="TERM"),
        "ResizePty": lambda: pb.ResizePtyRequest(**which, size={"cols": 1, "rows": 1}),
    }[method]()
    error = await failure(box.client.call(method, request))

    assert error.seen == ("NOT_FOUND", "EXEC_NOT_FOUND")


async def test_leaving_a_terminal_ends_its_processes(box):
    """ATTACHED means the same for it."""
    mark = unlikely()
    it = await Running(
        box, f"sleep {mark} & setsid sleep {mark} & echo ready; wait", pty={"cols": 80, "rows": 24}
    ).started()
    await it.until_written(b"ready")
    it.call.cancel()

    await box.gone(mark)


async def test_first_output_of_a_terminal_comes_at_once(box):
    """A prompt has no newline."""
    it = await Running(box, "printf 'name? '; read x", pty={"cols": 80, "rows": 24}).started()
    output = await first_output(it.call)
    it.call.cancel()

    assert output.output.data == b"name? "
