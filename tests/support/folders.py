"""Folders of this machine and of a sandbox, described alike, and edits to the former."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from tests.support.calls import Box

Described = dict[str, tuple[str, ...]]
"""By path: kind, mode, and the hash of the content or the target of a link."""


def described(folder: Path, *, but: tuple[str, ...] = ()) -> Described:
    """Describe what is in a folder, without the entries of these names."""
    found: Described = {}
    for above, folders, files in os.walk(folder):
        folders[:] = [it for it in folders if it not in but]
        for name in (*folders, *files):
            path = Path(above, name)
            if name in but or path.suffix in but:
                continue
            key = os.fsdecode(os.path.relpath(path, folder))
            mode = f"{stat.S_IMODE(path.lstat().st_mode):o}"
            if path.is_symlink():
                found[key] = ("l", os.readlink(path))  # noqa: PTH115 - as it is.
            elif path.is_dir():
                found[key] = ("d", mode)
            else:
                found[key] = ("f", mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


async def sandboxed(box: Box, root: str) -> Described:
    """Describe what is in a folder of a sandbox, which may change meanwhile.

    A file that went while it was looked at has no hash, and is equal to no other.
    """
    ran = await box.run(
        "find . -mindepth 1 -printf '%y\\0%m\\0%l\\0%P\\0'; printf '\\0'; "
        "find . -type f -print0 | xargs -0r sha256sum -z -- || true",
        cwd=root,
    )
    assert ran.outcome == ("EXIT", 0), ran.stderr
    entries, sums = _split(ran.stdout)
    hashes = {line[68:]: line[:64].decode() for line in sums.split(b"\0") if line}
    found: Described = {}
    fields = entries.split(b"\0")
    for kind, mode, target, path in zip(*(fields[at::4] for at in range(4)), strict=False):
        key = os.fsdecode(path)
        if kind == b"l":
            found[key] = ("l", os.fsdecode(target))
        elif kind == b"d":
            found[key] = ("d", mode.decode())
        else:
            found[key] = (kind.decode(), mode.decode(), hashes.get(path, ""))
    return found


def _split(output: bytes) -> tuple[bytes, bytes]:
    """Part entries from hashes: an entry's kind is never empty, what parts them is."""
    at = 0
    while output[at : at + 1] != b"\0":
        for _ in range(4):
            at = output.index(b"\0", at) + 1
    return output[:at], output[at + 1 :]


def cleared(path: Path) -> Path:
    """Return a path at which nothing is, in a folder that is one."""
    for above in reversed(path.parents):
        if above.is_symlink() or (above.exists() and not above.is_dir()):
            above.unlink()
        above.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def write(path: Path, content: bytes, mode: int) -> None:
    cleared(path).write_bytes(content)
    path.chmod(mode)


def rewrite(path: Path) -> None:
    """Change a file's content, but neither its size nor its time."""
    if path.is_file() and not path.is_symlink():
        before, mode = path.stat(), stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o600)
        path.write_bytes(bytes(255 - it for it in path.read_bytes()))
        path.chmod(mode)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def chmod(path: Path, file_mode: int, folder_mode: int) -> None:
    if path.exists() and not path.is_symlink():
        path.chmod(folder_mode if path.is_dir() else file_mode)


def link(path: Path, target: str) -> None:
    cleared(path).symlink_to(target)


def folder(path: Path, mode: int) -> None:
    if path.is_symlink() or not path.is_dir():
        cleared(path).mkdir()
    path.chmod(mode)


def rename(path: Path, other: Path) -> None:
    there = path.is_symlink() or path.exists()
    if there and path != other and path not in other.parents and other not in path.parents:
        path.rename(cleared(other))


def delete(path: Path) -> None:
    if path.is_symlink() or path.exists():
        cleared(path)
