"""What programs ask their proxy for, and what it passes on of that."""

from __future__ import annotations

import contextlib

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.e2b_local.egress.request import BadRequestError, read_request
from sandbox_service.e2b_local.tunnels.opening import Place

URL = "http://a.org/x"


def head(line, *fields):
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def read_plain(*fields, url=URL, method="GET"):
    return read_request(head(f"{method} {url} HTTP/1.1", *fields))


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("pypi.org:443", Place("pypi.org", 443)),
        ("PyPI.ORG.:443", Place("pypi.org", 443)),
        ("1.2.3.4:80", Place("1.2.3.4", 80)),
        ("[2606:4700::1]:443", Place("2606:4700::1", 443)),
        ("[::ffff:127.0.0.1]:443", Place("::ffff:7f00:1", 443)),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_connect_names_a_place(target, place, version):
    """Python's own client, up to 3.11, speaks HTTP/1.0 here."""
    request = read_request(head(f"CONNECT {target} {version}", "Host: whatever"))
    assert (request.place, request.tunnel, request.first) == (place, True, b"")
    assert request.body_bytes is None


@pytest.mark.parametrize(
    "target",
    [
        *(
            "a.org",
            "a.org:",
            "a.org:0",
            "a.org:65536",
            "a.org:+80",
            "a.org:80:80",
            ":443",
            "::1:443",
        ),
        *("user@a.org:443", "a_b@:443", "[::1:443", "[fe80::1%eth0]:443", "[1.2.3.4]:443", "[]:1"),
        *("127.1:80", "2130706433:80", "0x7f000001:80", "0177.0.0.1:80", "1.2.3.4.5:80", "0:80"),
        *("a..org:443", "-a.org:443", "*:443", "*.org:443", "a.org/x:443", "http://a.org:443"),
        *("a\xa0.org:443", "a\x85b:443", "a.org\t:443", f"{'a' * 64}.org:443", "\xe4.org:443"),
    ],
)
def test_connect_to_an_odd_host_is_refused(target):
    with pytest.raises(BadRequestError):
        read_request(head(f"CONNECT {target} HTTP/1.1"))


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://a.org", "GET / HTTP/1.1", "a.org"),
        ("HTTP://A.ORG/B", "GET /B HTTP/1.1", "a.org"),
        ("http://a.org?q", "GET /?q HTTP/1.1", "a.org"),
        ("http://a.org//b", "GET //b HTTP/1.1", "a.org"),
        ("http://a.org:8080/", "GET / HTTP/1.1", "a.org:8080"),
        ("http://[2606::1]/", "GET / HTTP/1.1", "[2606::1]"),
        ("http://a.org/http://b.org/@", "GET /http://b.org/@ HTTP/1.1", "a.org"),
    ],
)
def test_a_plain_request_is_for_the_host_of_its_url(url, line, host):
    """Whatever it says of the host otherwise."""
    request = read_plain("Host: evil.org", "hOST: metadata", url=url)
    assert request.first.decode().split("\r\n") == [
        line,
        f"Host: {host}",
        *("Connection: close", "", ""),
    ]
    assert (request.tunnel, request.body_bytes) == (False, 0)


@pytest.mark.parametrize(
    "url",
    [
        *("http://user:pw@a.org/", "http://user@a.org/", "http://@a.org/", "http:///x", "http://"),
        *("https://a.org/", "/x", "*", "ftp://a.org/", "http:a.org", "//a.org/", "a.org:80"),
        *("http://a.org/#f", "http://a.org/\x7f", "http://a.org/\xe4", "http://a.org\\@b.org/"),
        *("http://[::1/", "http://a.org:x/", "http://a.org:/", "http://a.org:99999/"),
        *("http://127.1/", "http://::1/", "http://a.org/\tx"),
    ],
)
def test_urls_that_readers_may_take_differently_are_refused(url):
    with pytest.raises(BadRequestError):
        read_plain(url=url)


@pytest.mark.parametrize(
    "fields",
    [
        *("X: a\nHost: evil.org", "X: a\rHost: evil.org", "X: a\r\n folded", "X: a\r\n\tfolded"),
        *(" Host: evil.org", "Host : evil.org", "no colon", ": empty", "X\x00: a", "X: \x00"),
        *("Content-Length: 1\r\nContent-Length: 2", "Content-Length: +1", "Content-Length: 1, 1"),
        *("Content-Length: 0x1", "Content-Length: ", "Content-Length: -1", "Content-Length: \xb2"),
        *("Transfer-Encoding: chunked", "transfer-encoding: identity", "X: \x1f", "X:\x7f"),
    ],
)
def test_headers_that_readers_may_take_differently_are_refused(fields):
    with pytest.raises(BadRequestError):
        read_plain(fields)


@pytest.mark.parametrize(
    "line",
    [
        *("GET http://a.org/ HTTP/2.0", "GET http://a.org/ HTTP/1.2", "GET http://a.org/", ""),
        *(
            "GET  http://a.org/ HTTP/1.1",
            "G T http://a.org/ HTTP/1.1",
            "get http://a.org/ HTTP/1.1",
        ),
        *("GET http://a.org/ HTTP/1.1 x", "GET\thttp://a.org/\tHTTP/1.1", "PRI * HTTP/2.0"),
        *("\x16\x03\x01", "CONNECT a.org:443 HTTP/0.9", "CONNECT  HTTP/1.1"),
    ],
)
def test_lines_of_no_request_are_refused(line):
    with pytest.raises(BadRequestError):
        read_request(head(line))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_lines_must_end_in_cr_and_lf(end):
    with pytest.raises(BadRequestError, match="CR and LF"):
        read_request(b"GET http://a.org/ HTTP/1.1" + end)


def test_what_is_about_the_connection_to_the_proxy_stays_there():
    request = read_plain(
        *("Proxy-Authorization: secret", "proxy-connection: keep-alive", "Keep-Alive: 5"),
        *("Connection: X-Hop, content-length", "X-Hop: 1", "Upgrade: websocket", "TE: trailers"),
        *("Accept: */*", "X-End: \xe4\t1 ", "Content-Length: 5"),
        method="POST",
    )
    assert request.first.decode("latin-1").split("\r\n")[2:] == [
        *("Accept: */*", "X-End: \xe4\t1", "Content-Length: 5", "Connection: close", "", ""),
    ]
    assert request.body_bytes == 5


def test_http_1_0_stays_what_it_is():
    """Its programs may not read the answers of a later version."""
    request = read_request(head(f"GET {URL} HTTP/1.0"))
    assert request.first.startswith(b"GET /x HTTP/1.0\r\nHost: a.org\r\n")


_hostile = st.text(alphabet="aH:. \t\r\n\x0b\x0c\x1c\x85\xa0/@[]%#?0", max_size=40)
_lines = st.lists(
    _hostile
    | st.builds("{}: {}".format, st.sampled_from(["Host", "X", "Connection", "host "]), _hostile),
    max_size=5,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(data):
    with contextlib.suppress(BadRequestError):
        read_request(data + b"\r\n\r\n")


@given(st.sampled_from(["http://a.org", "http://a.org:81/", "http://b"]), _hostile, _lines)
def test_another_reader_understands_what_is_passed_on_as_it_was_judged(base, path, fields):
    """Or nothing is passed on."""
    try:
        request = read_request(head(f"GET {base}{path} HTTP/1.1", *fields))
    except BadRequestError:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(request.first)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    hosts = [value.decode() for name, value in event.headers if name == b"host"]
    assert hosts == [
        request.place.host + ("" if request.place.port == 80 else f":{request.place.port}")
    ]
    assert isinstance(server.next_event(), h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
