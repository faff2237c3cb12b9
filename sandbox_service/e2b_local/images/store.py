"""Images on the disk: unpacked once, kept for the next start, removed when they are old."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.images.sources import SourceError, copy_folder, unpack_tar
from sandbox_service.e2b_local.machine.model import Image
from sandbox_service.e2b_local.machine.roots.rootfs import fit_out
from sandbox_service.e2b_local.machine.roots.staging import remove_tree
from sandbox_service.e2b_local.machine.roots.tree import PathRefusedError, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT: Final = "1"
"""Raised whenever images are made differently: those of before are then made anew."""

_BEGUN: Final = "begun-"
_ROOT: Final = "root"
_LOCK: Final = "lock"
_ABOUT: Final = "about.json"


@dataclass(slots=True)
class HeldImage:
    """An image that stays as long as this is not closed.

    Attributes:
        image: What a machine makes sandboxes of.
        digest: Tells it apart from others, and from itself after a change of its source.
    """

    image: Image
    digest: str
    _lock_fd: int

    def close(self) -> None:
        """Let it be removed once its source has changed. Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class Images:
    """The images below one state folder.

    Args:
        base: Where they lie, made when needed. As root it must be a folder that other
            uids can pass.
        owners: Uids that the images may belong to, each to one. Empty: they belong to
            this process' own user.
        tell: Called with a line for people before something that takes long, and after it.
        check: Called again and again meanwhile; what it raises ends the work.
    """

    def __init__(
        self,
        base: Path,
        owners: range,
        *,
        tell: Callable[[str], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._base = base.absolute()  # Sandboxes are started from another folder.
        self._owners = owners
        self._tell = tell
        self._check = check

    def take(self, source: Path) -> HeldImage:
        """Return the image of a folder or a tar, made now if it is not there. Blocks.

        Images of what the source was before are removed, unless somebody holds them.

        Raises:
            ConfigError: The source is missing, is no root filesystem, or holds something
                that is not unpacked; or the disk says no.
        """
        try:
            # Another range of uids needs another image.
            digest = digest_of(source) + (f"-{self._owners.start}" if self._owners else "")
            self._base.mkdir(parents=True, exist_ok=True)
            self._base.chmod(0o711)
            with _locked(self._base / ".lock"):
                folder = self._base / digest
                self._remove_stale(source, digest)
                if not folder.exists():
                    self._tell(f"Unpacking the root filesystem {source}, which is done once.")
                    began = time.monotonic()
                    self._make(source, folder)
                    self._tell(f"Unpacked in {time.monotonic() - began:.1f} s.")
                # Taken while nobody else can look for images to remove.
                lock_fd = _open_lock(folder / _LOCK)
                fcntl.flock(lock_fd, fcntl.LOCK_SH)
            root = folder / _ROOT
            owner = root.stat().st_uid if self._owners else None
        except (PathRefusedError, SourceError) as error:
            raise _refused(source, f"{error}") from error
        except OSError as error:
            raise _refused(source, error.strerror or str(error)) from error
        return HeldImage(Image(root, owner), digest, lock_fd)

    def _make(self, source: Path, folder: Path) -> None:
        owner = self._choose_owner()
        begun = Path(tempfile.mkdtemp(prefix=_BEGUN, dir=self._base))
        try:
            root = begun / _ROOT
            root.mkdir()
            with Tree(root, owner) as tree:
                tree.add_folder("", 0o755, source.stat().st_mtime_ns)
                (copy_folder if source.is_dir() else unpack_tar)(source, tree, self._check)
                tree.finish()
            if not any((root / name).is_dir() for name in ("bin", "usr")):
                raise SourceError("it has neither /bin nor /usr, so it is no root filesystem")
            fit_out(root, owner)
            if owner is not None:
                os.chown(root, owner, owner)
            about = {"source": str(source.resolve()), "format": FORMAT}
            (begun / _ABOUT).write_text(json.dumps(about))
            (begun / _LOCK).touch(mode=0o600)
            begun.chmod(0o711)
            begun.rename(folder)
        except BaseException:
            remove_tree(begun)
            raise

    def _choose_owner(self) -> int | None:
        """A uid that no other image has; also not, most likely, one of another state."""
        if not self._owners:
            return None
        taken = {path.stat().st_uid for path in self._base.glob(f"*/{_ROOT}")}
        free = [uid for uid in self._owners if uid not in taken]
        if not free:
            raise SourceError("no host uid is left for it")
        return secrets.choice(free)

    def _remove_stale(self, source: Path, digest: str) -> None:
        for begun in self._base.glob(f"{_BEGUN}*"):
            remove_tree(begun)  # Whoever began it is dead, for it would hold the lock.
        for about in self._base.glob(f"*/{_ABOUT}"):
            if about.parent.name == digest or not _is_of(about, source):
                continue
            lock_fd = _open_lock(about.parent / _LOCK)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(about.parent)
            except BlockingIOError:
                continue
            finally:
                os.close(lock_fd)


def digest_of(source: Path) -> str:
    """Tell a source apart from others, and from itself after a change, without reading it.

    Like `make`, it looks at names, kinds, sizes and times.

    Returns:
        Hexadecimal digits.

    Raises:
        OSError: It is not there, or a folder of it cannot be read.
    """
    root = source.resolve()
    digest = hashlib.sha256(os.fsencode(f"{FORMAT} {root}\0"))
    _add_status(digest, root.stat())
    if root.is_dir():
        for folder, names, files in os.walk(root, onerror=_raise):
            names.sort()
            for name in sorted(names + files):
                path = Path(folder, name)
                digest.update(os.fsencode(path) + b"\0")
                _add_status(digest, path.lstat())
    return digest.hexdigest()[:32]


def _add_status(digest: hashlib._Hash, status: os.stat_result) -> None:
    # A folder's size and times change with its names, which are looked at one by one.
    changes = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    digest.update(repr((status.st_mode, status.st_ino, *changes)).encode())


def _raise(error: OSError) -> None:
    raise error


def _is_of(about: Path, source: Path) -> bool:
    try:
        document = json.loads(about.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("source") == str(source.resolve())


def _refused(source: Path, cause: str) -> ConfigError:
    return ConfigError(
        f"The root filesystem {source} cannot be used: {cause}.",
        "Name a folder, or a tar of one, as deploy/templates/build makes it.",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock for the length of a block, waiting for it."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
