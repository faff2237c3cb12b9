"""The hashes of a tree's files: in parallel, and not twice for a file that did not change."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from sandbox_service.client.cache_files import cache_file, write_cache
from sandbox_service.client.tree import File, Stamp, Tree, TreeError, check

FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A file that became a link, or a pipe, is neither followed nor waited for."""

_BUFFER_BYTES: Final = 256 * 1024
_THREADS_MAX: Final = 8
_BATCH: Final = 64
_LARGE_BYTES: Final = 16 * 1024
"""Of a smaller file most is Python's own work: threads would only wait for one another."""
_TRIES: Final = 3

_MAGIC: Final = b"sandbox-service hashes 1\n"
_RECORD: Final = struct.Struct("<QQQqq32s")
_RECORDS_MAX: Final = 400_000
_DIGEST_BYTES: Final = 32

SETTLED_NS: Final = 2_000_000_000
"""A file that was written less than this before it was hashed may be written again within
one tick of its file system's clock, which would not show in its times: it is not cached.
The coarsest clocks in use tick every two seconds."""


class HashCache:
    """The hashes of one folder's files, kept between runs.

    A cache that is damaged, of another version, or that cannot be written is none.

    Args:
        file: Where it is kept. None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[Stamp, bytes] = {}

    @classmethod
    def of_user(cls, folder: Path) -> HashCache:
        """Return the cache of a folder in the user's own cache folder."""
        return cls(cache_file("hashes", os.fsencode(folder)))

    def load(self) -> Mapping[Stamp, bytes]:
        """Return the hashes by stamp; they are read once."""
        if not self._known and self._file is not None:
            with suppress(OSError, ValueError, struct.error):
                self._known = _parse(self._file.read_bytes())
        return self._known

    def save(self, files: Iterable[File], begun_ns: int) -> None:
        """Keep the hashes of these files, and of no others.

        Args:
            files: Hashed ones.
            begun_ns: When the first of those that were hashed anew was looked at, in
                nanoseconds since 1970.
        """
        before = self._known
        settled = begun_ns - SETTLED_NS
        self._known = {
            it.stamp: it.sha256
            for it in files
            if it.stamp in before or max(it.stamp.mtime_ns, it.stamp.ctime_ns) < settled
        }
        if self._file is None or self._known == before or len(self._known) > _RECORDS_MAX:
            return
        with suppress(OSError, struct.error):
            _write(self._file, self._known)


def _parse(content: bytes) -> dict[Stamp, bytes]:
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ValueError("no cache of this version, or a damaged one")
    records = _RECORD.iter_unpack(memoryview(body)[len(_MAGIC) :])
    return {Stamp(*values): sha256 for *values, sha256 in records}


def _write(file: Path, known: Mapping[Stamp, bytes]) -> None:
    body = _MAGIC + b"".join(_RECORD.pack(*stamp, sha256) for stamp, sha256 in known.items())
    write_cache(file, body + hashlib.sha256(body).digest())


def hash_files(
    tree: Tree,
    cache: HashCache,
    on_hashed: Callable[[int, int], None] | None = None,
    *,
    stop: threading.Event | None = None,
) -> None:
    """Fill in the hash of every file of a tree.

    What vanished since it was looked at is taken off the tree; what cannot be read is
    left out of it.

    Args:
        tree: What to hash.
        cache: Where hashes are known from, and kept.
        on_hashed: Told of files and bytes that are done, from several threads.
        stop: Set when nobody waits for it any more.

    Raises:
        StoppedError: Nobody does.
        TreeError: A file is being written all the time.
    """
    begun_ns = time.time_ns()
    known = cache.load()
    told = on_hashed or (lambda files, size: None)
    todo: list[File] = []
    cached = cached_bytes = 0
    for path, file in tree.files.items():
        sha256 = known.get(file.stamp)
        if sha256 is None:
            todo.append(file)
        else:
            tree.files[path] = File(path, file.mode, file.stamp, sha256)
            cached, cached_bytes = cached + 1, cached_bytes + file.stamp.size
    told(cached, cached_bytes)
    hasher = _Hasher(tree, told, stop)
    small = [it for it in todo if it.stamp.size < _LARGE_BYTES]
    # The largest first, so that no thread is left alone with one at the end.
    large = sorted(
        (it for it in todo if it.stamp.size >= _LARGE_BYTES),
        key=lambda it: it.stamp.size,
        reverse=True,
    )
    if not large:
        hasher.hash_all(small)
    else:
        threads = min(_THREADS_MAX, os.cpu_count() or 1)
        count = max(threads, len(large) // _BATCH)
        with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
            hashing = [pool.submit(hasher.hash_all, large[at::count]) for at in range(count)]
            hasher.hash_all(small)
            for it in hashing:
                it.result()
    cache.save(tree.files.values(), begun_ns)


class _Hasher:
    """Hashes files of one tree, in any thread."""

    def __init__(
        self, tree: Tree, told: Callable[[int, int], None], stop: threading.Event | None
    ) -> None:
        self._tree = tree
        self._stop = stop
        self._told = told
        self._root = str(tree.folder)
        self._local = threading.local()

    def hash_all(self, files: Iterable[File]) -> None:
        for file in files:
            self._hash(file)
            self._told(1, file.stamp.size)

    def _hash(self, file: File) -> None:
        tree = self._tree
        try:
            for _ in range(_TRIES):
                hashed = self._read(file)
                if hashed is not None:
                    tree.files[file.path] = hashed
                    return
        except (FileNotFoundError, NotADirectoryError):
            del tree.files[file.path]
            return
        except OSError as error:
            del tree.files[file.path]
            tree.left_out[file.path] = f"cannot be read: {error.strerror}"
            return
        raise TreeError(
            f"{file.path} is written all the time, so it cannot be sent whole. Exclude it."
        )

    def _read(self, file: File) -> File | None:
        """Hash a file; None when it was written meanwhile."""
        buffer = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(bytearray(_BUFFER_BYTES))
        handle = os.open(f"{self._root}/{file.path}", FLAGS)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no file any more")
            before = Stamp.of(status)
            digest = hashlib.sha256()
            size = 0
            while count := os.readv(handle, [buffer]):
                check(self._stop)
                digest.update(buffer[:count])
                size += count
                if size == before.size:
                    break  # What is appended meanwhile shows in the size.
            after = os.fstat(handle)
        finally:
            os.close(handle)
        if Stamp.of(after) != before or size != before.size:
            return None
        return File(file.path, file.mode, before, digest.digest())
