"""The calls of `process.Process`: what is answered, in which words, and what is left behind."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os

import pytest

from sandbox_service.e2b_local.envd import Envd, connect
from sandbox_service.e2b_local.machine import (
    GuestFrozenError,
    GuestLostError,
    GuestProcess,
    SpawnRefusedError,
)
from tests.unit.e2b_local.wire_double import exchange_of

PID = 7


class GuestDouble:
    """A sandbox in which every program is a pair of pipes that the test holds."""

    def __init__(self):
        self.error = None
        self.specs = []
        self.signals = []
        self.ends = []
        self.exit = None

    async def spawn(self, spec):
        if self.error is not None:
            raise self.error
        self.specs.append(spec)
        self.exit = asyncio.get_running_loop().create_future()
        if spec.pty is not None:
            master, slave = os.openpty()
            self.ends.append(slave)
            return GuestProcess(PID, None, None, None, master, self.exit)
        stdin = None
        if spec.stdin:
            reader, stdin = os.pipe()
            self.ends.append(reader)
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        self.ends += [stdout, stderr]
        return GuestProcess(PID, stdin, out, err, None, self.exit)

    async def signal(self, pid, number, *, group=False):
        self.signals.append((pid, number))
        return True

    def close(self):
        for fd in self.ends:
            os.close(fd)
        self.ends = []


@pytest.fixture
async def guest():
    guest = GuestDouble()
    yield guest
    guest.close()


@pytest.fixture
async def envd(guest):
    envd = Envd(guest, {"FROM": "template"}, "token", 2)
    yield envd
    envd.close()
    await asyncio.sleep(0)


async def ask(envd, method, message, service="process.Process", **headers):
    """Make a unary call; return its status and JSON."""
    exchange, wire = exchange_of(
        "POST",
        f"/{service}/{method}",
        json.dumps(message).encode(),
        content_type="application/json",
        **{"x_access_token": "token", **headers},
    )
    await envd(exchange)
    return wire.status, wire.json()


def stream(envd, method, message, **headers):
    """Make a streaming call that goes on; return its exchange, its wire and its task."""
    exchange, wire = exchange_of(
        "POST",
        f"/process.Process/{method}",
        connect.envelope(json.dumps(message).encode()),
        content_type="application/connect+json",
        x_access_token="token",
        **headers,
    )
    return exchange, wire, asyncio.create_task(envd(exchange))


def parts(wire):
    """The messages that a stream has sent, its end included."""
    body, data = wire.body, b""
    while b"\r\n" in body:
        size, _, rest = body.partition(b"\r\n")
        data, body = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    found = []
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        found.append(json.loads(data[5:end]))
        data = data[end:]
    return found


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0.001)


async def begin(envd, **fields):
    message = {"process": {"cmd": "x"}, **fields}
    _, wire, serving = stream(envd, "Start", message)
    await until(lambda: wire.sent)
    return wire, serving


BY_PID = {"process": {"pid": PID}}
TEXT = base64.b64encode(b"text").decode()


@pytest.mark.parametrize(
    ("pty", "method", "message", "code", "text"),
    [
        (
            True,
            "SendInput",
            {**BY_PID, "input": {"stdin": TEXT}},
            "internal",
            "error writing to stdin: tty assigned to process \u2014 input should be written to"
            " the pty, not the stdin",
        ),
        (
            False,
            "SendInput",
            {**BY_PID, "input": {"pty": TEXT}},
            "internal",
            "error writing to tty: tty not assigned to process \u2014 input should be written to"
            " the stdin, not the tty",
        ),
        (False, "SendInput", {**BY_PID, "input": {}}, "unimplemented", "invalid input type <nil>"),
        (
            True,
            "CloseStdin",
            BY_PID,
            "unknown",
            "error closing stdin: cannot close stdin for PTY process \u2014 send Ctrl+D (0x04)"
            " instead",
        ),
        (
            False,
            "Update",
            {**BY_PID, "pty": {"size": {"cols": 1, "rows": 1}}},
            "internal",
            "error resizing tty: tty not assigned to process",
        ),
        (False, "SendSignal", BY_PID, "unimplemented", "invalid signal: SIGNAL_UNSPECIFIED"),
        (
            False,
            "SendSignal",
            {"process": {"tag": "t"}, "signal": "SIGNAL_SIGKILL"},
            "not_found",
            "process with tag t not found",
        ),
        (
            False,
            "CloseStdin",
            {},
            "unimplemented",
            "invalid input type *process.ProcessSelector",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_in_envds_words(
    envd, pty, method, message, code, text
):
    """The SDK makes its exceptions of the codes, and shows the words."""
    await begin(envd, **({"pty": {"size": {"cols": 80, "rows": 24}}} if pty else {}))
    _, answer = await ask(envd, method, message)

    assert answer == {"code": code, "message": text}


async def test_input_after_its_end_is_refused(envd, guest):
    """Closing it twice is fine, for a client may not know that it has."""
    await begin(envd, stdin=True)
    for _ in range(2):
        assert await ask(envd, "CloseStdin", BY_PID) == (200, {})
    _, answer = await ask(envd, "SendInput", {**BY_PID, "input": {"stdin": TEXT}})

    assert answer["message"] == "error writing to stdin: stdin not enabled or closed"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            SpawnRefusedError("cwd", "/gone: No such file", errno.ENOENT),
            "invalid_argument",
            "cwd '/home/user' does not exist",
        ),
        (
            SpawnRefusedError("cwd", "/f: Not a directory", errno.ENOTDIR),
            "invalid_argument",
            "error starting process 'x': /f: Not a directory",
        ),
        (
            SpawnRefusedError("exec", "x: Argument list too long", errno.E2BIG),
            "invalid_argument",
            "error starting process 'x': x: Argument list too long",
        ),
        (
            SpawnRefusedError("resources", "no more processes", errno.EAGAIN),
            "resource_exhausted",
            "error starting process 'x': no more processes",
        ),
        (GuestLostError("gone"), "unavailable", "The sandbox was not found"),
        (GuestFrozenError("paused"), "unavailable", "The sandbox was not found"),
    ],
)
async def test_a_program_that_does_not_start_is_told(envd, guest, error, code, text):
    """As the end of the stream: its status is 200 whatever happened."""
    guest.error = error
    _, wire, serving = stream(envd, "Start", {"process": {"cmd": "x"}})
    await serving

    assert wire.status == 200
    assert json.loads(wire.body[5:]) == {"error": {"code": code, "message": text}}


@pytest.mark.parametrize("timeout", [None, "0"])
async def test_a_program_without_a_time_limit_is_not_killed(envd, guest, timeout):
    """Zero is how some clients say that there is none."""
    headers = {} if timeout is None else {"connect_timeout_ms": timeout}
    _, wire, _ = stream(envd, "Start", {"process": {"cmd": "x"}}, **headers)
    await until(lambda: wire.sent)
    for _ in range(20):
        await asyncio.sleep(0)

    assert guest.signals == []


async def test_the_end_of_its_time_kills_the_program_also_without_its_client(envd, guest):
    """Whoever started it may be gone; it was promised to end."""
    exchange, wire, serving = stream(
        envd, "Start", {"process": {"cmd": "x"}}, connect_timeout_ms="20"
    )
    await until(lambda: wire.sent)
    exchange.connection_lost()
    await serving
    await until(lambda: guest.signals)

    assert guest.signals == [(PID, 9)]


async def test_a_stream_that_was_cut_leaves_no_timer_behind(envd, guest):
    """Neither its keepalive nor the timeout of a Connect; the program is found again."""
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)
    _, serving = await begin(envd)
    cut = []
    for method in ("Start", "Connect"):
        message = {"process": {"cmd": "x"}} if method == "Start" else BY_PID
        exchange, wire, following = stream(envd, method, message, connect_timeout_ms="60000")
        await until(lambda wire=wire: wire.sent)
        exchange.connection_lost()
        cut.append(following)
    await asyncio.gather(*cut)
    serving.cancel()
    _, wire, again = stream(envd, "Connect", BY_PID)
    await until(lambda: wire.sent)
    again.cancel()
    alive = [timer for timer in loop._scheduled if not timer.cancelled()]

    # Two keepalives of streams that are open, and the limit of the second program's time.
    assert len(alive) - before <= 3
    assert parts(wire) == [{"event": {"start": {"pid": PID}}}]


async def test_every_call_checks_the_user_it_names(envd):
    """Also those that do nothing as a user."""
    wrong = "Basic " + base64.b64encode(b"bob:").decode()
    status, answer = await ask(envd, "List", {}, authorization=wrong)

    assert status == 401
    assert answer == {"code": "unauthenticated", "message": "invalid username: 'bob'"}


async def test_programs_are_listed_as_they_were_asked_for(envd, guest):
    """With the tag, which is another name for them; `_system` is one like any other."""
    await begin(envd, tag="_system")
    _, answer = await ask(envd, "List", {})

    assert answer == {
        "processes": [{"config": {"cmd": "x"}, "pid": PID, "tag": "_system"}],
    }
    assert guest.specs[0].env == {"FROM": "template"}
    assert guest.specs[0].stdin


# Everything beside the calls


async def get(envd, path, method="GET", **headers):
    exchange, wire = exchange_of(method, path, **headers)
    await envd(exchange)
    return wire


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/envs"),
        ("GET", "/metrics"),
        ("POST", "/files/compose"),
        ("POST", "/process.Process/List"),
        ("GET", "/nothing"),
        ("POST", "/health"),
    ],
)
async def test_all_but_a_few_paths_want_the_token(envd, method, path):
    """A sandbox's envd can be reached by whoever knows the sandbox's name."""
    for headers in ({}, {"x_access_token": "wrong"}):
        wire = await get(envd, path, method, **headers)
        assert wire.status == 401
        assert wire.json() == {
            "code": 401,
            "message": "unauthorized access, please provide a valid access token"
            " or method signing if supported",
        }


async def test_health_and_variables_are_told(envd):
    """The SDK asks for the one, and old clients for the other."""
    assert (await get(envd, "/health")).status == 204
    assert (await get(envd, "/envs", x_access_token="token")).json() == {"FROM": "template"}
    assert (await get(envd, "/nothing", x_access_token="token")).status == 404
