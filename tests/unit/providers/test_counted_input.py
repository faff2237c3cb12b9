"""Input in pieces that a sandbox's script can take, and what its words mean."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

import pytest

from sandbox_service.domain.errors import BackendUnavailableError, DiskFullError
from sandbox_service.domain.exec_errors import InputClosedError
from sandbox_service.providers.e2b import counted_input, envd
from sandbox_service.providers.e2b.counted_input import put_input
from sandbox_service.providers.e2b.envd import Tag

_ARGUMENT_MAX = 128 * 1024
_ARGUMENTS_MAX = 1024 * 1024


class _Sandbox:
    """Does what the script promises.

    Attributes:
        given: The program's input.
        ended: Whether its end was sent.
        words: What it says next instead of doing anything.
        hows: How each call's bytes were given.
    """

    def __init__(self) -> None:
        self.given = b""
        self.ended = False
        self.words: list[str] = []
        self.hows: list[str] = []

    async def run_bash(
        self, _: object, arguments: Sequence[str], *, user: str, timeout_s: float
    ) -> bytes:
        *_, exec_id, offset, size, last, how = arguments[:8]
        pieces = arguments[8:]
        assert (exec_id, user, arguments[:1]) == ("one", "ada", ["-c"])
        assert timeout_s > 20
        assert all(len(it) < _ARGUMENT_MAX for it in pieces)
        assert sum(map(len, pieces)) < _ARGUMENTS_MAX
        if self.words:
            return self.words.pop(0).encode()
        self.hows.append(how)
        text = "".join(pieces)
        data = text.encode() if how == "text" else base64.b64decode(text)
        assert len(data) == int(size)
        if int(offset) > len(self.given):
            return f"hole {len(self.given)}\n".encode()
        self.given += data[len(self.given) - int(offset) :]
        self.ended |= last == "end" and int(offset) + len(data) == len(self.given)
        return f"ok {len(self.given)}\n".encode()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> _Sandbox:
    sandbox = _Sandbox()
    monkeypatch.setattr(envd, "run_bash", sandbox.run_bash)
    monkeypatch.setattr(counted_input, "_AGAIN_S", 0)
    return sandbox


async def _put(offset: int, data: bytes, *, end: bool = False) -> int:
    return await put_input(None, "one", "ada", offset, data, end=end)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 100_000, 442_368, 442_369, 3_000_000])
async def test_any_amount_is_given_in_order_and_ended_once_it_is_whole(sandbox: _Sandbox, size):
    """No argument is too long, nor are all of them together."""
    data = os.urandom(size)

    assert await _put(0, data) == size
    assert not sandbox.ended
    assert await _put(0, data, end=True) == size
    assert (sandbox.given, sandbox.ended) == (data, True)


@pytest.mark.parametrize(
    ("data", "how"),
    [(b"typed\n", "text"), ("ä€".encode(), "text"), (b"\0", "base64"), (b"\xff", "base64")],
)
async def test_what_an_argument_can_carry_goes_as_it_is(sandbox: _Sandbox, data, how):
    """NUL ends an argument, and the wire takes UTF-8 alone."""
    await _put(0, data)

    assert (sandbox.hows, sandbox.given) == ([how], data)


async def test_what_another_writer_gave_meanwhile_is_left_out(sandbox: _Sandbox):
    """Also where that came further than this one wants to go."""
    data = os.urandom(1_000_000)
    sandbox.given = data[:700_000]

    assert await _put(100_000, data[100_000:600_000], end=True) == 700_000
    assert not sandbox.ended
    assert await _put(0, data, end=True) == 1_000_000
    assert (sandbox.given, sandbox.ended) == (data, True)


async def test_a_hole_is_told_by_the_count(sandbox: _Sandbox):
    """And nothing is given."""
    sandbox.given = b"abc"

    assert await _put(5, b"x") == 3
    assert sandbox.given == b"abc"


async def test_a_program_that_does_not_read_is_waited_for(sandbox: _Sandbox):
    """As a pipe would."""
    sandbox.words = ["later 0\n", "later 0\n"]

    assert await _put(0, b"abc") == 3


async def test_what_was_given_in_part_is_gone_on_with(sandbox: _Sandbox):
    """Until nothing more finds room."""
    sandbox.given = b"ab"
    sandbox.words = ["part 0\n", "part 2\n", "part 2\n"]

    assert await _put(0, b"abcd") == 4
    sandbox.words = ["part 4\n"] * 3
    with pytest.raises(DiskFullError):
        await _put(4, b"x")


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("closed 7\n", InputClosedError),
        ("", BackendUnavailableError),
        ("ok", BackendUnavailableError),
        ("bash: fork: no", BackendUnavailableError),
    ],
)
async def test_every_other_word_is_an_error(sandbox: _Sandbox, word, error):
    """Also none: the script was killed, or could not begin."""
    sandbox.words = [word]
    with pytest.raises(error):
        await _put(0, b"abc")


@pytest.mark.parametrize("address", ["", "10.0.0.2:50051", "[::1]:50051"])
def test_a_tag_says_where_the_reader_is(address: str):
    """What an earlier version wrote is read too."""
    tag = Tag("marker", "one", "ada", address)

    assert Tag.of(str(tag)) == tag
    assert Tag.of("marker:one:ada") == Tag("marker", "one", "ada")
    assert Tag.of(None) == Tag("", "", "")
