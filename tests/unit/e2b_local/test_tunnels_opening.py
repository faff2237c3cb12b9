"""What a client speaks is decided by its first bytes, and there is one chance to be right."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.tunnels.opening import (
    BadConnectError,
    Place,
    begins_tls,
    connect_place,
    end_of_head,
    may_be_connect,
)


@pytest.mark.parametrize(
    ("first", "tls", "connect"),
    [
        (b"\x16", True, False),
        (b"\x16\x03\x01\x02\x00", True, False),
        (b"GET / HTTP/1.1\r\n", False, False),
        (b"C", False, True),
        (b"CONNECT", False, True),
        (b"CONNECT a:1 HTTP/1.1", False, True),
        (b"CONNECTED", False, False),
        (b"COPY / HTTP/1.1", False, False),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False, False),
        (b"\x00\xff\x00", False, False),
    ],
)
def test_the_first_bytes_say_what_a_client_speaks(first, tls, connect):
    """A part of CONNECT may still become one; a part of anything else never does."""
    assert begins_tls(first) is tls
    assert may_be_connect(first) is connect


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n\x16\x03", 24),
        (b"CONNECT a:1 HTTP/1.1\n\n\x16", 22),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n", None),
        (b"", None),
    ],
)
def test_not_a_byte_beyond_the_head_belongs_to_it(data, end):
    """What follows is the beginning of a handshake, which TLS itself must read."""
    assert end_of_head(data) == end


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (b"CONNECT api.sbx.test:443 HTTP/1.1", Place("api.sbx.test", 443)),
        (b"CONNECT 127.0.0.1:8080 HTTP/1.0", Place("127.0.0.1", 8080)),
        (b"CONNECT [::1]:443 HTTP/1.1", Place("::1", 443)),
    ],
)
def test_a_tunnel_leads_where_it_says(line, place):
    """Names and addresses of both kinds."""
    assert connect_place(line + b"\r\nHost: ignored:1\r\n\r\n") == place


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT",
        b"CONNECT a:1",
        b"CONNECT a:1 HTTP/2.0",
        b"CONNECT a HTTP/1.1",
        b"CONNECT a: HTTP/1.1",
        b"CONNECT a:0 HTTP/1.1",
        b"CONNECT a:65536 HTTP/1.1",
        b"CONNECT a:000001999 HTTP/1.1",
        b"CONNECT a:000001" + b"9" * 5000 + b" HTTP/1.1",
        b"CONNECT a:1\xc2\xb2 HTTP/1.1",
        b"CONNECT :443 HTTP/1.1",
        b"CONNECT [::1:443 HTTP/1.1",
        b"CONNECT [zz]:443 HTTP/1.1",
        b"CONNECT http://a/:443 HTTP/1.1",
        b"CONNECT a@b:443 HTTP/1.1",
        b"CONNECT -a:443 HTTP/1.1",
    ],
)
def test_a_tunnel_to_nowhere_is_refused(line):
    """A place is looked up and connected to, so nothing odd may pass for one."""
    with pytest.raises(BadConnectError):
        connect_place(line + b"\r\n\r\n")
