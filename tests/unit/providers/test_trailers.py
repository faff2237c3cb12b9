"""The trailer: found wherever a frame is cut, and nothing else is taken for one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox_service.providers.e2b.supervisor import new_nonce
from sandbox_service.providers.e2b.trailers import Trailer, TrailerScanner

_NONCE = b"0123456789abcdef01234567"

# Bytes that come near a trailer more often than chance would have it.
_pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"\x1e",
            b"\x1e" + _NONCE[:7],
            b"\x1e" + _NONCE,
            _NONCE + b":",
            b"0\x1e",
            b":",
            b"0:1:0\x1e",
        ]
    ),
)
_output = st.lists(_pieces, max_size=12).map(b"".join).filter(lambda it: _mark(b"") not in it)


def _mark(rest: bytes) -> bytes:
    return b"\x1e" + _NONCE + b":" + rest


_LONGEST = len(_mark(b"255:123456789012:0"))


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in the frames that it comes in."""
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _scanned(frames: list[bytes]) -> tuple[bytes, int | None]:
    scanner = TrailerScanner(_NONCE)
    visible = b"".join(scanner.feed(frame) for frame in frames)
    return visible + scanner.rest(), scanner.code


@given(
    before=_output, code=st.integers(0, 255), after=_output, places=st.lists(st.integers(0, 500))
)
def test_the_trailer_goes_and_every_other_byte_stays(before, code, after, places):
    """Before it is the program's output, after it what a child that goes on wrote."""
    data = before + _mark(b"%d:12:0\x1e" % code) + after

    assert _scanned(_cut(data, places)) == (before + after, code)


@given(output=_output, places=st.lists(st.integers(0, 500)))
def test_output_without_a_trailer_comes_whole(output, places):
    """A program that replaced the shell, or was killed, leaves none."""
    assert _scanned(_cut(output, places)) == (output, None)


@given(output=_output, places=st.lists(st.integers(0, 500)))
def test_no_more_is_held_back_than_could_become_a_trailer(output, places):
    """A prompt without an end of line has to show at once."""
    scanner = TrailerScanner(_NONCE)
    given_ = shown = 0
    for frame in _cut(output, places):
        given_ += len(frame)
        shown += len(scanner.feed(frame))

        assert given_ - shown <= _LONGEST
        if b"\x1e" not in output[:given_][-_LONGEST:]:
            assert shown == given_


@pytest.mark.parametrize(
    "data",
    [
        b"\x1e0123456789abcdef01234568:0:0:0\x1e",
        _mark(b"\x1e"),
        _mark(b"x:0:0\x1e"),
        _mark(b"1234:0:0\x1e"),
        _mark(b"-1:0:0\x1e"),
        _mark(b" 1:0:0\x1e"),
        _mark(b"1\x1e"),
        _mark(b"1::0\x1e"),
        _mark(b"1:0:2\x1e"),
        _mark(b"1:0:0:\x1e"),
    ],
    ids=[
        "another's nonce",
        "no code",
        "no digits",
        "four digits",
        "a sign",
        "a space",
        "the code alone",
        "no time",
        "no truth",
        "too much",
    ],
)
def test_what_only_looks_like_a_trailer_is_output(data: bytes):
    """It is shown, however it is cut."""
    for place in range(len(data)):
        assert _scanned(_cut(data, [place])) == (data, None)


def test_the_real_trailer_is_found_behind_a_false_one():
    """A program may have printed the beginning of its own mark."""
    data = _mark(b"x") + b"output" + _mark(b"3:0:0\x1e")

    assert _scanned([data]) == (_mark(b"x") + b"output", 3)


def test_nonces_differ():
    """One program's trailer must not end another's output."""
    assert len({new_nonce() for _ in range(100)}) == 100
    assert all(len(new_nonce()) >= 16 for _ in range(10))


def test_a_trailer_tells_the_time_and_whether_memory_ran_out():
    """Clock ticks are hundredths of a second."""
    scanner = TrailerScanner(_NONCE)
    scanner.feed(_mark(b"137:250:1\x1e"))

    assert scanner.trailer == Trailer(137, timedelta(seconds=2.5), True)


@given(output=_output, noise=_output, places=st.lists(st.integers(0, 900)), spooled=st.booleans())
def test_a_spooled_stream_begins_behind_the_opening(output, noise, places, spooled):
    """What a login profile wrote has no place in the spool; elsewhere it is output as ever."""
    assume(_mark(b"") not in noise + output)
    scanner = TrailerScanner(_NONCE, opening=True, spooled=spooled)
    data = noise + b"\x1e" + _NONCE + b"=ok\x1e" + output + _mark(b"3:0:0\x1e")

    visible = b"".join(scanner.feed(frame) for frame in _cut(data, places)) + scanner.rest()

    assert visible == (output if spooled else noise + output)
    assert (scanner.opening, scanner.code) == (b"ok", 3)


@pytest.mark.parametrize("kept", range(1, 26))
def test_the_rest_of_a_trailer_behind_a_hole_is_still_one(kept: int):
    """Contact may break in the middle of it."""
    scanner = TrailerScanner(_NONCE)
    scanner.feed(b"before" + _mark(b"7:0:0\x1e")[:4])
    scanner.lose()

    visible = scanner.feed(_mark(b"7:0:0\x1e")[-kept - 6 :] + b"after")

    assert (visible, scanner.code) == (b"after", 7)


@given(data=st.binary(min_size=1))
def test_behind_a_hole_output_is_output(data: bytes):
    """Only what is certainly ours is taken away."""
    scanner = TrailerScanner(_NONCE)
    scanner.lose()

    assert scanner.feed(data) + scanner.rest() == data


def test_what_was_held_back_is_dropped_where_a_hole_begins():
    """Whether it was output nobody can tell; that something is missing is told."""
    scanner = TrailerScanner(_NONCE)
    shown = scanner.feed(b"x" + _mark(b""))
    scanner.lose()

    assert shown + scanner.feed(b"y") == b"xy"


@pytest.mark.parametrize("after", [b"", b"of a child"])
def test_reading_again_behind_a_trailer_loses_and_repeats_nothing(after: bytes):
    """Contact may break between the trailers of the two streams."""
    stream = b"output" + _mark(b"7:0:0\x1e") + after
    scanner = TrailerScanner(_NONCE)
    visible = scanner.feed(stream)
    offset = len(visible) + scanner.resume()

    again = scanner.feed(stream[offset:] + b" and more")

    assert visible + again == b"output" + after + b" and more"
    assert scanner.code == 7
