"""What both sides are asked to do: the same programs, files and checks."""

from __future__ import annotations

import hashlib
from typing import Final

STREAM_LINE: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"
"""What the flood repeats: ASCII, for the bare SDK decodes what it reads."""

_PERIOD: Final = len(STREAM_LINE) + 1
_REPEATED: Final = (STREAM_LINE + b"\n") * (1 + 4 * 1024 * 1024 // _PERIOD)


def stream_command(size: int) -> str:
    """Return a command that writes `size` bytes whose every byte is known."""
    return f"yes {STREAM_LINE.decode()} | head -c {size}"


def is_stream_part(data: bytes, offset: int) -> bool:
    """Tell whether `data` is what the flood has at `offset`."""
    start = offset % _PERIOD
    return _REPEATED[start : start + len(data)] == data


def python_lines(count: int, *, suspicious: bool) -> str:
    """Return a Python program of so many lines, with words that rules look for or without."""
    parts = [
        f"def part_{it}(first, second):\n"
        f"    total = first + second * {it}\n"
        f"    names = [str(each) for each in range(total) if each % {it + 1}]\n"
        f"    return '-'.join(names)[:{it}]\n"
        for it in range(count // 4)
    ]
    if suspicious:
        parts[-1] = (
            "import os\nimport requests\ndata = dict(os.environ)\nrequests.post('', data=data)\n"
        )
    return "".join(parts)


def small_files(count: int, seed: int) -> dict[str, bytes]:
    """Return `count` files of 100 bytes to 4 KiB in 40 folders, by relative path."""
    files = {}
    for number in range(count):
        digest = hashlib.sha256(f"{seed}:{number}".encode()).hexdigest().encode()
        size = 100 + int(digest[:4], 16) % 3997
        files[f"src/package_{number % 40}/module_{number}.py"] = (digest * 64)[:size]
    return files
