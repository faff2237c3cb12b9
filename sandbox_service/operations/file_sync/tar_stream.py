"""Headers of a tar archive, written without seeing the content.

POSIX ustar, with GNU's long names: those are plain bytes, where a PAX name
would be converted between character sets by whoever unpacks it.
"""

from __future__ import annotations

from typing import Final

BLOCK_BYTES: Final = 512

END_OF_ARCHIVE: Final = bytes(2 * BLOCK_BYTES)

_NAME_BYTES_MAX: Final = 100
_OCTAL_SIZE_MAX: Final = 0o77777777777
_LONG_NAME: Final = b"L"
_LONG_LINK: Final = b"K"
_PAX: Final = b"x"
_FILE: Final = b"0"
_LINK: Final = b"2"
_FOLDER: Final = b"5"


def padding(size: int) -> bytes:
    """Return what must follow `size` bytes of content."""
    return bytes(-size % BLOCK_BYTES)


def file_header(name: bytes, *, size: int, mode: int, mtime_ns: int) -> bytes:
    """Return the header of a file, to be followed by its content and `padding`."""
    return _times(mtime_ns) + _entry(_FILE, name, size=size, mode=mode, mtime_ns=mtime_ns)


def folder_header(name: bytes, *, mode: int, mtime_ns: int) -> bytes:
    """Return the whole of a folder's entry."""
    return _entry(_FOLDER, name + b"/", mode=mode, mtime_ns=mtime_ns)


def link_header(name: bytes, target: bytes, *, mtime_ns: int) -> bytes:
    """Return the whole of a symbolic link's entry."""
    return _entry(_LINK, name, target=target, mode=0o777, mtime_ns=mtime_ns)


def small_file(name: bytes, content: bytes, *, mtime_ns: int) -> bytes:
    """Return the whole of a file's entry, when its content is known."""
    size = len(content)
    head = _entry(_FILE, name, size=size, mode=0o600, mtime_ns=mtime_ns)
    return head + content + padding(size)


def _times(mtime_ns: int) -> bytes:
    """Return a PAX header with a file's time, where whole seconds do not tell it."""
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    if not nanoseconds:
        return b""
    record = b" mtime=%d.%09d\n" % (seconds, nanoseconds)
    size = len(record) + 2  # The record's length counts its own two digits.
    return _extra(_PAX, b"./@PaxHeader", b"%d%b" % (size, record))


def _extra(kind: bytes, name: bytes, content: bytes) -> bytes:
    size = len(content)
    return _block(kind, name, b"", size, 0o644, 0) + content + padding(size)


def _entry(
    kind: bytes, name: bytes, *, mode: int, mtime_ns: int, target: bytes = b"", size: int = 0
) -> bytes:
    extra = b""
    if len(target) > _NAME_BYTES_MAX:
        extra += _extra(_LONG_LINK, b"././@LongLink", target + b"\0")
    if len(name) > _NAME_BYTES_MAX:
        extra += _extra(_LONG_NAME, b"././@LongLink", name + b"\0")
    seconds = mtime_ns // 1_000_000_000
    return extra + _block(
        kind, name[:_NAME_BYTES_MAX], target[:_NAME_BYTES_MAX], size, mode, seconds
    )


def _block(kind: bytes, name: bytes, target: bytes, size: int, mode: int, mtime: int) -> bytes:
    """Return one header block. The owner is 0: whoever unpacks it owns the entry."""
    # Above 8 GiB a size is binary, marked by its highest bit.
    size_field = (
        b"%011o\0" % size if size <= _OCTAL_SIZE_MAX else b"\x80" + size.to_bytes(11, "big")
    )
    block = b"%b%07o\0000000000\0000000000\0%b%011o\0        %b%b" % (
        name.ljust(100, b"\0"),
        mode,
        size_field,
        mtime,
        kind,
        target.ljust(100, b"\0"),
    )
    block = (block + b"ustar\00000").ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
