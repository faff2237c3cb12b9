"""The HTTP server on a transport that keeps what is written."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from sandbox_service.e2b_local.http1 import Connection, Server

GET = b"GET /a?b=%20c HTTP/1.1\r\nHost: x\r\n\r\n"


class SocketDouble:
    def __init__(self):
        self.options = []

    def setsockopt(self, *option):
        self.options.append(option)


class TransportDouble(asyncio.Transport):
    def __init__(self):
        super().__init__(extra={"socket": SocketDouble()})
        self.sent = b""
        self.reading = True
        self.closed = self.aborted = self.ended = False

    def write(self, data):
        self.sent += data

    def set_write_buffer_limits(self, high=None, low=None):
        """Nothing is buffered here."""

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = self.aborted = True


def connect(handler):
    connection, transport = Connection(Server(handler)), TransportDouble()
    connection.connection_made(transport)
    return connection, transport


async def settle():
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def echo(exchange):
    body = await exchange.read(10_000)
    exchange.respond(200, f"{exchange.method} {exchange.path} {exchange.query} ".encode() + body)


async def test_a_connection_serves_one_request_after_another():
    """A client that keeps its connection pays for one handshake."""
    connection, transport = connect(echo)
    connection.data_received(GET)
    await settle()
    connection.data_received(b"POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    await settle()

    assert transport.sent.count(b"HTTP/1.1 200 OK") == 2
    assert b"GET /a b=%20c " in transport.sent
    assert transport.sent.endswith(b"POST /p  abc")
    assert not transport.closed


async def test_small_answers_are_not_held_back_by_the_kernel():
    """Otherwise each end of a stream waits 40 ms for the client's acknowledgement."""
    _, transport = connect(echo)
    options = transport.get_extra_info("socket").options

    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


async def test_pipelined_requests_are_answered_in_order():
    """The first may be the slow one; its answer still comes first."""
    release = asyncio.Event()

    async def handler(exchange):
        if exchange.path == "/slow":
            await release.wait()
        exchange.respond(200, exchange.path.encode())

    connection, transport = connect(handler)
    connection.data_received(b"GET /slow HTTP/1.1\r\n\r\nGET /fast HTTP/1.1\r\n\r\n")
    await settle()
    assert transport.sent == b""
    release.set()
    await settle()

    assert transport.sent.index(b"/slow") < transport.sent.index(b"/fast")


async def test_a_chunked_body_arrives_whole():
    """The JavaScript SDK sends even its JSON in chunks."""
    connection, transport = connect(echo)
    connection.data_received(b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    connection.data_received(b"2\r\nde\r\n0\r\n\r\n")
    await settle()

    assert transport.sent.endswith(b"abcde")


async def test_a_streamed_response_is_chunked_and_ends():
    """The SDK's `wait` returns at the end of the body, not at the end event."""

    async def handler(exchange):
        exchange.start(200, first=b"one")
        exchange.write(b"two")
        exchange.finish(b"three")

    connection, transport = connect(handler)
    connection.data_received(GET)
    await settle()

    assert b"transfer-encoding: chunked" in transport.sent
    body = transport.sent.partition(b"\r\n\r\n")[2]
    assert body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    assert not transport.closed


async def test_http_1_0_gets_its_stream_without_chunks_and_a_close():
    """Old clients know no chunks."""

    async def handler(exchange):
        exchange.start(200, first=b"one")
        exchange.finish(b"two")

    connection, transport = connect(handler)
    connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
    await settle()

    assert transport.sent.endswith(b"\r\n\r\nonetwo")
    assert transport.closed


async def test_a_body_that_nobody_reads_stops_the_socket():
    """Memory stays flat however large the upload is."""
    release = asyncio.Event()

    async def handler(exchange):
        await release.wait()
        size = 0
        async for part in exchange.chunks():
            size += len(part)
        exchange.respond(200, b"%d" % size)

    connection, transport = connect(handler)
    connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n")
    connection.data_received(b"x" * 290_000)
    await settle()
    assert not transport.reading

    release.set()
    await settle()
    assert transport.reading
    connection.data_received(b"x" * 10_000)
    await settle()
    assert transport.sent.endswith(b"300000")


async def test_an_early_answer_leaves_the_connection_usable():
    """Closing on a client that still sends would lose the answer in a reset."""

    async def handler(exchange):
        if exchange.method == "POST":
            exchange.respond(401)
        else:
            exchange.respond(204)

    connection, transport = connect(handler)
    connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    await settle()
    connection.data_received(b"x" * 1_000_000)
    connection.data_received(GET)
    await settle()

    assert transport.sent.index(b"401 Unauthorized") < transport.sent.index(b"204 No Content")
    assert not transport.closed


async def test_an_early_last_answer_is_not_lost_in_a_reset():
    """The client still sends; closing now would throw away what it has not read yet."""

    async def handler(exchange):
        exchange.respond(413)

    connection, transport = connect(handler)
    head = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    connection.data_received(head)
    await settle()
    connection.data_received(b"x" * 1_000_000 + GET)
    await settle()

    assert transport.sent.count(b"HTTP/1.1 ") == 1
    assert transport.ended
    assert transport.reading
    assert not transport.closed
    assert connection.eof_received() is False
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("line", "host", "path", "absolute"),
    [
        ("GET http://a.b:81/c?d HTTP/1.1", "a.b:81", "/c", True),
        ("GET HTTP://me@a.b HTTP/1.1", "a.b", "/", True),
        ("GET https://a.b?q HTTP/1.1", "a.b", "/", True),
        ("GET /http://a.b/ HTTP/1.1", "x", "/http://a.b/", False),
        ("OPTIONS * HTTP/1.1", "x", "*", False),
    ],
)
async def test_a_whole_url_beats_the_host_field(line, host, path, absolute):
    """What a proxy was asked for decides, whatever else the request says."""
    seen = []

    async def handler(exchange):
        seen.append((exchange.host, exchange.path, exchange.absolute))
        exchange.respond(204)

    connection, _transport = connect(handler)
    connection.data_received(f"{line}\r\nHost: x\r\n\r\n".encode())
    await settle()

    assert seen == [(host, path, absolute)]


async def test_what_somebody_else_has_read_comes_first():
    """The acceptor reads a few bytes to know what a client speaks."""
    connection, transport = Connection(Server(echo), b"GET /early HT"), TransportDouble()
    connection.connection_made(transport)
    connection.data_received(b"TP/1.1\r\nHost: x\r\n\r\n")
    await settle()

    assert b"GET /early" in transport.sent


async def test_a_head_that_never_ends_counts_as_silence():
    """Else a byte an hour would hold a connection for ever."""
    connection, _transport = connect(echo)
    connection.data_received(b"GET / HTTP/1.1\r\nX: ")
    waiting = connection.idle_since
    connection.data_received(b"y\r\n\r\n")

    assert waiting is not None
    assert connection.idle_since is None
    await settle()


async def test_a_bug_in_a_handler_is_a_500_and_only_that(caplog):
    """One request must not take the process, or even its connection, with it."""

    async def handler(exchange):
        if exchange.path == "/bug":
            raise KeyError("bug")
        exchange.respond(204)

    connection, transport = connect(handler)
    connection.data_received(b"GET /bug HTTP/1.1\r\n\r\n")
    await settle()
    connection.data_received(GET)
    await settle()

    assert b"500 Internal Server Error" in transport.sent
    assert b"204 No Content" in transport.sent
    assert "request failed" in caplog.text


async def test_a_response_that_was_left_unfinished_cuts_the_connection():
    """A truncated body must not look like a complete one."""

    async def handler(exchange):
        exchange.start(200, length=100, first=b"some")

    connection, transport = connect(handler)
    connection.data_received(GET)
    await settle()

    assert transport.aborted


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["no HTTP", "endless head", "no size", "unknown", "two codings", "two fields", "1.0"],
)
async def test_what_is_no_request_is_refused_and_closed(request_bytes):
    """None may keep memory or the connection, nor end elsewhere for a program behind us."""
    connection, transport = connect(echo)
    connection.data_received(request_bytes)
    await settle()

    head, _, body = transport.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["code"] == 400
    assert transport.closed


async def test_nonsense_behind_a_request_is_not_mixed_with_its_answer():
    """The client would take the refusal for a part of it."""

    async def handler(exchange):
        exchange.start(200, length=10, first=b"some")
        await asyncio.get_running_loop().create_future()

    connection, transport = connect(handler)
    connection.data_received(GET)
    await settle()
    connection.data_received(b"nonsense\r\n\r\n")

    assert b"HTTP/1.1 400" not in transport.sent
    assert transport.closed
    connection.abort()


async def test_nothing_is_written_to_a_connection_that_closes():
    """Asyncio would complain of each such write in the log."""
    connection, transport = connect(echo)
    transport.close()
    connection.send(b"late")

    assert transport.sent == b""


async def test_a_client_that_waits_to_send_is_told_to_go_on():
    """Curl waits a second for this before each large upload."""
    connection, transport = connect(echo)
    connection.data_received(
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    )
    await settle()
    assert transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"

    connection.data_received(b"abc")
    await settle()
    assert transport.sent.endswith(b"abc")


async def test_losing_the_connection_wakes_whoever_waits_for_the_body():
    """A handler that waits for ever would keep its file open for ever."""
    ended = asyncio.Event()

    async def handler(exchange):
        try:
            await exchange.read(100)
        finally:
            ended.set()

    connection, _transport = connect(handler)
    connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
    await settle()
    connection.connection_lost(None)
    await settle()

    assert ended.is_set()
