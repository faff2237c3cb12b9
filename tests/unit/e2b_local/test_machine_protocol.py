"""Both ends of the socket between server and agent, without an agent process."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.agent import messages
from sandbox_service.e2b_local.machine.channel import (
    Answer,
    Channel,
    Message,
    ProtocolError,
    encode,
    receive,
)
from sandbox_service.e2b_local.machine.model import (
    GuestLostError,
    GuestOSError,
    SpawnRefusedError,
)


@pytest.fixture
def pair():
    """The server's end, and the agent's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ours, theirs
    ours.close()
    theirs.close()


class Heard(list[object]):
    """What a channel told, and a way to wait for the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = asyncio.Event()

    def append(self, value: object) -> None:
        super().append(value)
        self.first.set()


@pytest.fixture
async def talk(pair):
    """A channel, the agent's end of it, and what was heard."""
    ours, theirs = pair
    heard = Heard()

    def on_event(message: Message) -> None:
        if message.fields.get("event") == "nonsense":
            raise ProtocolError("nonsense")
        heard.append(message.fields)

    channel = Channel(ours, on_event, heard.append)
    yield channel, theirs, heard
    channel.close("the test is over")


def say(theirs: socket.socket, value: dict, *descriptors: int) -> None:
    messages.send(theirs, value, descriptors)


@pytest.mark.parametrize(
    "value",
    [
        {"id": 1, "text": 'quotes " and \\ and \n', "none": None, "yes": True, "number": -7},
        {"id": 1, "name": b"not \xff utf-8".decode("utf-8", "surrogateescape")},
        {"id": 1, "long": "x" * 300_000},
        {"id": 1, "env": {"ü": "\x00"}, "list": [1, 2, [3]]},
    ],
    ids=["plain", "bytes that are no text", "longer than a message", "nested"],
)
def test_what_one_end_says_the_other_hears(pair, value):
    """Names of files are bytes, and a command line may be longer than any message."""
    ours, theirs = pair
    messages.send(theirs, value)
    data, memory = encode(value)
    rights = [] if memory is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _packed(memory))]
    ours.sendmsg([data], rights)
    if memory is not None:
        os.close(memory)

    to_server = receive(ours)
    to_agent = messages.receive(theirs)

    assert to_server is not None
    assert to_server.fields == value
    assert to_agent == (value, [])


def _packed(descriptor: int) -> bytes:
    return descriptor.to_bytes(4, "little")


def test_descriptors_travel_beside_a_long_body(pair):
    """The body of a long message is itself a descriptor, and must not be taken for one."""
    ours, theirs = pair
    reader, writer = os.pipe()
    messages.send(theirs, {"id": 1, "long": "x" * 100_000}, (writer,))
    os.close(writer)

    message = receive(ours)

    assert message is not None
    (passed,) = message.descriptors
    os.write(passed, b"through")
    os.close(passed)
    assert os.read(reader, 10) == b"through"
    os.close(reader)


@pytest.mark.parametrize(
    "data", [b"X{}", b"J{", b"J[]", b"J" + b"[" * 40_000, b"M", b"J\xff"], ids=repr
)
def test_a_message_that_makes_no_sense_is_an_error(pair, data):
    """The agent runs beside untrusted code; whatever it says must not break the server."""
    ours, theirs = pair
    theirs.send(data)

    with pytest.raises(ProtocolError):
        receive(ours)


def test_a_body_that_could_make_the_reader_wait_is_refused(pair):
    """A pipe in place of a memory file would block the whole server."""
    ours, theirs = pair
    reader, writer = os.pipe()
    socket.send_fds(theirs, [bytes((messages.BODY_IN_MEMFD,))], [reader])
    os.close(reader)

    with pytest.raises(ProtocolError):
        receive(ours)
    os.close(writer)


def test_more_descriptors_than_agreed_are_refused_and_closed(pair):
    """Otherwise an agent could fill the server's table of files."""
    ours, theirs = pair
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    socket.send_fds(theirs, [b"J{}"], opened)
    for descriptor in opened:
        os.close(descriptor)
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(ProtocolError):
        receive(ours)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_answers_find_their_questions_in_any_order(talk):
    """A slow listing must not hold back the start of a program."""
    channel, theirs, _ = talk
    slow = channel.put("list", {})
    quick = channel.put("ping", {})
    say(theirs, {"id": 2, "ok": "quick"})
    assert (await quick).value == "quick"
    say(theirs, {"id": 1, "ok": "slow"})

    assert (await slow).value == "slow"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ([errno.ENOENT, "os", "gone"], GuestOSError),
        ([errno.EAGAIN, "resources", "full"], SpawnRefusedError),
        ([errno.ENOENT, "cwd", "/x"], SpawnRefusedError),
    ],
)
async def test_an_error_inside_is_raised_with_its_errno(talk, error, expected):
    """Callers branch on the class and the number."""
    channel, theirs, _ = talk
    question = channel.put("open", {})
    say(theirs, {"id": 1, "error": error})

    with pytest.raises(expected) as caught:
        await question

    assert caught.value.errno == error[0]


async def test_a_late_answer_gives_its_descriptors_up(talk):
    """Whoever asked has gone; a descriptor without an owner would stay open for ever."""
    channel, theirs, heard = talk
    reader, writer = os.pipe()
    question = channel.put("open", {})
    question.cancel()
    say(theirs, {"id": 1, "ok": None}, writer)
    os.close(writer)
    say(theirs, {"event": "after"})
    await heard.first.wait()

    assert os.read(reader, 1) == b""
    os.close(reader)


async def test_a_second_answer_is_ignored(talk):
    """Work that is killed between its answer and its end is answered for twice."""
    channel, theirs, heard = talk
    question = channel.put("list", {})
    say(theirs, {"id": 1, "ok": 1})
    say(theirs, {"id": 1, "error": [5, "os", "killed"]})
    say(theirs, {"event": "after"})

    assert (await question).value == 1
    await heard.first.wait()
    assert heard == [{"event": "after"}]


@pytest.mark.parametrize(
    "value",
    [{"id": 77, "ok": 1}, {"id": "x"}, {"id": 1, "error": "text"}, {"event": "nonsense"}],
    ids=repr,
)
async def test_nonsense_ends_the_conversation(talk, value):
    """An agent that is not ours any more is not talked to."""
    channel, theirs, heard = talk
    question = channel.put("ping", {})
    say(theirs, value)

    with pytest.raises(GuestLostError):
        await question
    assert len(heard) == 1
    with pytest.raises(GuestLostError):
        channel.put("ping", {})


async def test_the_agents_end_fails_whoever_waits(talk):
    """Nobody waits for an answer that cannot come."""
    channel, theirs, heard = talk
    question = channel.put("ping", {})
    theirs.close()

    with pytest.raises(GuestLostError):
        await question
    assert heard == ["the agent ended"]


async def test_a_full_socket_delays_questions_and_loses_none(talk):
    """The kernel takes only a few messages that nobody reads."""
    channel, theirs, _ = talk
    text = "x" * 40_000
    questions = [channel.put("ping", {"text": text}) for _ in range(200)]
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()

    def serve() -> None:
        question = messages.receive(theirs)
        assert question is not None
        say(theirs, {"id": question[0]["id"], "ok": len(question[0]["text"])})

    loop.add_reader(theirs.fileno(), serve)
    answers: list[Answer] = await asyncio.gather(*questions)
    loop.remove_reader(theirs.fileno())

    assert {answer.value for answer in answers} == {len(text)}
