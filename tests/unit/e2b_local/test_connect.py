"""The Connect protocol, byte by byte, against the messages the SDK itself uses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protobuf import Oneof

from sandbox_service.e2b_local.envd import connect
from sandbox_service.e2b_local.envd.connect import Codec, ConnectError
from sandbox_service.e2b_local.envd.messages import process_pb
from tests.unit.e2b_local.wire_double import exchange_of

JSON, PROTO = Codec("json"), Codec("proto")


@given(st.binary(max_size=40_000), st.sampled_from(["stdout", "stderr", "pty"]))
def test_output_written_by_hand_is_what_the_generated_code_writes(data, stream):
    """The one hand-written encoder must never differ from the schema."""
    event = process_pb.ProcessEvent.DataEvent(output=Oneof(stream, data))
    expected = process_pb.StartResponse(event=process_pb.ProcessEvent(event=Oneof("data", event)))

    assert PROTO.data_event(stream, data) == expected.to_binary()
    assert process_pb.StartResponse.from_json(JSON.data_event(stream, data)) == expected


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
@pytest.mark.parametrize(
    "data",
    [
        b"nope",
        b"[]",
        b'{"process":3}',
        b'{"process":{"pid":-1}}',
        b"[" * 100_000,
        b'{"process":' + b"[" * 100_000,
        b'{"process":{"tag":' + b'{"a":' * 100_000,
    ],
    ids=["no JSON", "a list", "a number", "out of range", "deep", "deep below", "deep objects"],
)
def test_bytes_that_are_no_message_are_the_callers_fault(codec, data):
    """A parser's exception must not become a 500."""
    with pytest.raises(ConnectError) as caught:
        codec.decode(process_pb.ConnectRequest, data)

    assert caught.value.code == "invalid_argument"
    assert caught.value.status == 400


def test_unknown_json_fields_are_ignored():
    """A newer SDK may send more than this one knows."""
    assert JSON.decode(process_pb.StartRequest, b'{"new":1,"stdin":false}').stdin is False


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", (JSON, False)),
        ("application/json; charset=utf-8", (JSON, False)),
        ("application/proto", (PROTO, False)),
        ("application/connect+json", (JSON, True)),
        ("application/connect+proto", (PROTO, True)),
        ("application/grpc", None),
        ("text/plain", None),
        (None, None),
    ],
)
def test_the_content_type_says_codec_and_kind(content_type, expected):
    """The SDK speaks JSON, the service may speak the binary form."""
    assert connect.negotiate(content_type) == expected


async def collect(exchange):
    return [message async for message in connect.read_envelopes(exchange)]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
async def test_envelopes_are_found_wherever_the_stream_is_cut(step):
    """TCP cuts where it likes."""
    stream = b"".join(connect.envelope(part) for part in (b"a", b"", b"c" * 300))
    exchange, _ = exchange_of("POST", "/", None)
    for at in range(0, len(stream), step):
        exchange.feed(stream[at : at + step])
    exchange.feed_end()

    assert await collect(exchange) == [b"a", b"", b"c" * 300]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\0\0\0\0\5abc", "invalid_argument"),
        (b"\1\0\0\0\1a", "unimplemented"),
        (b"\0\xff\xff\xff\xff", "resource_exhausted"),
    ],
)
async def test_a_stream_that_cannot_be_read_says_why(stream, code):
    """Half a message must not be taken for a whole one, nor four gigabytes be awaited."""
    exchange, _ = exchange_of("POST", "/", stream)

    with pytest.raises(ConnectError) as caught:
        await collect(exchange)
    assert caught.value.code == code


async def test_a_server_stream_takes_exactly_one_message():
    """Connect says so; ignoring a second one would hide a client's bug."""
    exchange, _ = exchange_of("POST", "/", connect.envelope(b"{}") * 2)

    with pytest.raises(ConnectError):
        await connect.read_single(exchange, streaming=True)


def test_the_end_of_a_stream_carries_its_error():
    """A stream's status is always 200: the error is in its last envelope."""
    ending = connect.end_of_stream(ConnectError("not_found", "gone"))

    assert ending[0] == connect.END_OF_STREAM
    assert int.from_bytes(ending[1:5], "big") == len(ending) - 5
    assert json.loads(ending[5:]) == {"error": {"code": "not_found", "message": "gone"}}


@pytest.mark.parametrize(("value", "seconds"), [("1500", 1.5), ("0", None)])
def test_a_timeout_is_milliseconds(value, seconds):
    """A factor of 1000 here kills every program at once, or none; nor must 0 kill it."""
    exchange, _ = exchange_of("POST", "/", connect_timeout_ms=value)

    assert connect.timeout_seconds(exchange) == seconds


def test_no_timeout_is_none_and_a_bad_one_is_refused():
    """Unset means unlimited, so a typo must not be read as unset."""
    exchange, _ = exchange_of("POST", "/")
    assert connect.timeout_seconds(exchange) is None

    exchange, _ = exchange_of("POST", "/", connect_timeout_ms="1s")
    with pytest.raises(ConnectError):
        connect.timeout_seconds(exchange)
