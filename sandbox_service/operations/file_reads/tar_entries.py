"""Reading a tar archive as it comes, in constant memory.

Of the formats that there are only the one that download.sh asks GNU tar for:
POSIX, with no sparse files and no hard links. Anything else is refused, for
these bytes come from where programs run that nobody knows.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sandbox_service.domain.errors import BackendError
from sandbox_service.domain.limits import KIB
from sandbox_service.operations.file_reads.byte_reader import ByteReader

_BLOCK_BYTES: Final = 512
_RECORD_BYTES: Final = 128 * _BLOCK_BYTES
"""Archives are padded to a multiple of this: `tar -b 128`."""

_EXTENSION_BYTES_MAX: Final = 64 * KIB
_SIZE_MAX: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS_DIGITS: Final = 9


class TarKind(enum.Enum):
    """What an entry is: its type in the archive."""

    FILE = b"0"
    LINK = b"2"
    FOLDER = b"5"


@dataclass(frozen=True, slots=True)
class TarEntry:
    """An entry of an archive.

    Attributes:
        path: As in the archive, without a slash at its end.
        size: Bytes of content.
        mode: Permission bits, 0 to 0o7777.
        mtime: None: it lies outside of the years 1 to 9999.
        target: Of a link.
    """

    kind: TarKind
    path: bytes
    size: int
    mode: int
    mtime: datetime | None
    target: bytes


class TarReader:
    """One archive of a stream.

    Args:
        source: The stream. Left behind the archive's last byte, its padding included.
    """

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self._taken = 0
        self._left = 0
        self._padding = 0

    async def entry(self) -> TarEntry | None:
        """Return the next entry, passing over what is left of the content of the last one.

        Returns:
            None at the end of the archive.

        Raises:
            BackendError: The stream is no such archive, or ends early.
        """
        await self._skip(self._left + self._padding)
        self._left = self._padding = 0
        extended: dict[bytes, bytes] = {}
        while any(block := await self._block()):
            kind = block[156:157]
            if kind not in (b"x", b"g"):
                return self._entry(kind, block, extended)
            size = _number(block[124:136])
            if size > _EXTENSION_BYTES_MAX:
                raise _no_archive()
            records = await self._source.exactly(size)
            self._taken += size
            await self._skip(-size % _BLOCK_BYTES)
            if kind == b"x":
                extended = _records(records)
        # The second block of zeros may begin another record.
        if any(await self._block()):
            raise _no_archive()
        await self._skip(-self._taken % _RECORD_BYTES)
        return None

    async def content(self, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield what is left of the last entry's content, in pieces of at most so many bytes.

        Raises:
            BackendError: The stream ends early.
        """
        while self._left:
            piece = await self._source.gathered(min(piece_bytes, self._left))
            if not piece:
                raise _no_archive()
            self._left -= len(piece)
            self._taken += len(piece)
            yield piece

    async def _block(self) -> bytes:
        block = await self._source.exactly(_BLOCK_BYTES)
        self._taken += _BLOCK_BYTES
        if any(block) and _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
            raise _no_archive()
        return block

    async def _skip(self, size: int) -> None:
        await self._source.skip(size)
        self._taken += size

    def _entry(self, kind: bytes, block: bytes, extended: dict[bytes, bytes]) -> TarEntry:
        try:
            known = TarKind(kind)
        except ValueError:
            raise _no_archive() from None
        name, prefix = _text(block[0:100]), _text(block[345:500])
        path = extended.get(b"path") or (prefix + b"/" + name if prefix else name)
        size = 0
        if known is TarKind.FILE:
            size = _decimal(extended[b"size"]) if b"size" in extended else _number(block[124:136])
        self._left, self._padding = size, -size % _BLOCK_BYTES
        return TarEntry(
            kind=known,
            path=path.rstrip(b"/"),
            size=size,
            mode=_number(block[100:108]) & 0o7777,
            mtime=point_in_time(extended.get(b"mtime") or b"%d" % _number(block[136:148])),
            target=extended.get(b"linkpath") or _text(block[157:257]),
        )


def point_in_time(seconds: bytes) -> datetime | None:
    """Return the time that is so many seconds after the epoch; below a microsecond it is cut off.

    Args:
        seconds: Decimal, with or without a sign and a fraction.

    Returns:
        None when it lies outside of the years 1 to 9999.

    Raises:
        BackendError: It is no number.
    """
    whole, _, fraction = seconds.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        raise _no_archive()
    nanos = int(fraction[:_NANOS_DIGITS].ljust(_NANOS_DIGITS, b"0"))
    if len(whole) > 12:
        return None
    since = int(whole) * 10**9 + nanos
    try:
        return _EPOCH + timedelta(
            microseconds=(-since if seconds.startswith(b"-") else since) // 1000
        )
    except OverflowError:
        return None


def _records(extension: bytes) -> dict[bytes, bytes]:
    """Return the keywords of a PAX header, each `LENGTH KEYWORD=VALUE` and a line break."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(extension):
        space = extension.find(b" ", at, at + 8)
        size = _decimal(extension[at:space]) if space > at else 0
        record = extension[space + 1 : at + size]
        name, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n") or at + size > len(extension):
            raise _no_archive()
        if name.startswith(b"GNU.sparse"):
            raise _no_archive()
        found[name] = value
        at += size
    return found


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _number(raw: bytes) -> int:
    """Return a number of a header: octal, or binary when its highest bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
        if raw[0] & 0x40 or value > _SIZE_MAX:
            raise _no_archive()
        return value
    digits = raw.strip(b" \0")
    if digits.strip(b"01234567"):
        raise _no_archive()
    return int(digits, 8) if digits else 0


def _decimal(raw: bytes) -> int:
    if not raw.isdigit() or len(raw) > 19 or int(raw) > _SIZE_MAX:
        raise _no_archive()
    return int(raw)


def _no_archive() -> BackendError:
    return BackendError("What the sandbox sent is no archive that can be read. Repeat the call.")
