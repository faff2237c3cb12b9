"""What the supervisor adds to a program's output: found, taken out, and understood."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_RECORD_SEPARATOR: Final = 0x1E
_TICKS_PER_S: Final = 100
"""Linux counts processor time for programs in hundredths of a second, on every machine."""

_TOLD: Final = re.compile(rb"(\d{1,3}):(\d{1,12}):([01])\x1e")
_OPENED: Final = re.compile(rb"(ok|taken|full)\x1e")
_BEGUN: Final = re.compile(rb"\d{0,3}|\d{1,3}:\d{0,12}|\d{1,3}:\d{1,12}:[01]?")
_TOLD_BYTES_MAX: Final = len(b"255:123456789012:0\x1e")
_OPENING_BYTES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the supervisor knew when the program had ended.

    Attributes:
        code: The shell's exit code.
        cpu_time: Of the shell and the children it waited for.
        oom: The code is that of a killed child, and memory ran out meanwhile.
    """

    code: int
    cpu_time: timedelta
    oom: bool

    @classmethod
    def of(cls, code: str | bytes, ticks: str | bytes, oom: str | bytes) -> Trailer:
        """Read the parts that the supervisor wrote."""
        return cls(int(code), timedelta(seconds=int(ticks) / _TICKS_PER_S), int(oom) == 1)


class TrailerScanner:
    """Finds the trailer in one stream, and takes it out.

    The bytes of a trailer may come in two frames, so what can still become one
    is held back: at most the trailer's own length, and only at the end.

    Args:
        nonce: Of the exec.
        opening: Whether the supervisor first says if the program may run.
        spooled: Whether output is spooled from there on. Then what comes
            before, which a login profile wrote, is dropped: it has no offset.

    Attributes:
        trailer: What it told. None until it came.
        opening: What the supervisor said first. None until it did.
    """

    def __init__(self, nonce: bytes, *, opening: bool = False, spooled: bool = False) -> None:
        self.trailer: Trailer | None = None
        self.opening: bytes | None = None
        self._opening_mark = bytes([_RECORD_SEPARATOR]) + nonce + b"="
        self._prefix = bytes([_RECORD_SEPARATOR]) + nonce + b":"
        self._longest = len(self._prefix) + _TOLD_BYTES_MAX
        self._held = b""
        self._awaits_opening = opening
        self._spooled = spooled
        self._hole = False
        self._taken_out = 0
        self._behind = 0

    @property
    def code(self) -> int | None:
        """The exit code that the trailer told. None until it came."""
        return None if self.trailer is None else self.trailer.code

    def feed(self, data: bytes) -> bytes:
        """Return the program's own bytes among `data` and what was held back before."""
        if self._held:
            data = self._held + data
            self._held = b""
        if self._awaits_opening:
            data = self._behind_opening(data)
        if self._hole and data:
            data = self._behind_hole(data)
        if self.trailer is not None:
            self._behind += len(data)
            return data
        at = data.find(self._prefix)
        while at != -1:
            told = _TOLD.match(data, at + len(self._prefix))
            if told is not None:
                self.trailer = Trailer.of(*told.groups())
                self._taken_out = told.end() - at
                self._behind = len(data) - told.end()
                return data[:at] + data[told.end() :]
            # The program may have written the beginning of its own mark.
            at = data.find(self._prefix, at + 1)
        start = data.find(_RECORD_SEPARATOR, max(0, len(data) - self._longest))
        while start != -1:
            if self._may_become_trailer(data[start:]):
                self._held = data[start:]
                return data[:start]
            start = data.find(_RECORD_SEPARATOR, start + 1)
        return data

    def rest(self) -> bytes:
        """Return what was held back, when nothing more comes."""
        if self._awaits_opening and self._spooled:
            return b""
        held, self._held = self._held, b""
        return held

    def lose(self) -> None:
        """Note a hole before what comes next: it may have taken the beginning of a trailer."""
        self._held = b""
        self._awaits_opening = False
        self._hole = True

    def resume(self) -> int:
        """Note that what comes next follows exactly what has been returned so far.

        Returns:
            How many bytes of the stream, taken out by this, come before what is next.
        """
        self._held = b""
        self._awaits_opening = False
        self._hole = False
        if self._behind:
            return self._taken_out
        # The trailer, if it was read, comes once more.
        self.trailer = None
        return 0

    def _behind_opening(self, data: bytes) -> bytes:
        # No expression of its own for each nonce: to compile one takes longer than all else.
        mark, told = self._opening_mark, None
        at = data.find(mark)
        while at != -1 and told is None:
            told = _OPENED.match(data, at + len(mark))
            begin, at = at, data.find(mark, at + 1)
        if told is None:
            self._held = data[-_OPENING_BYTES_MAX:] if self._spooled else data
            return b""
        self.opening = told[1]
        self._awaits_opening = False
        before = b"" if self._spooled else data[:begin]
        return before + data[told.end() :]

    def _behind_hole(self, data: bytes) -> bytes:
        """Take away the rest of a trailer that the hole cut."""
        self._hole = False
        whole, at = self._prefix, data.find(b":")
        if 0 <= at < len(whole) and whole.endswith(data[: at + 1]):
            told = _TOLD.match(data, at + 1)
            if told is not None:
                self.trailer = Trailer.of(*told.groups())
                return data[told.end() :]
        return data

    def _may_become_trailer(self, tail: bytes) -> bool:
        if len(tail) <= len(self._prefix):
            return self._prefix.startswith(tail)
        return (
            tail.startswith(self._prefix) and _BEGUN.fullmatch(tail, len(self._prefix)) is not None
        )
