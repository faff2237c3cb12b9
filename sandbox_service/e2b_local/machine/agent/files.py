"""What the agent does with files, as the sandbox sees them."""

from __future__ import annotations

import errno
import os
import stat

from .opening import open_path

# Python 3.8 must be able to run this file, whatever runs the server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LIST_LIMIT_ENTRIES = 100_000
METADATA_PREFIX = "user.e2b."

# Without a user namespace its one user has the uid that the host knows.
NAMES = {os.getuid(): "user", 0: "root", 1000: "user", 65534: "nobody"}
DISK_ROOTS = ("/home/user", "/workspace", "/root")
MEMORY_ROOTS = ("/tmp", "/dev/shm")  # noqa: S108


def describe(path: str, name: str) -> dict[str, Any]:
    """Say what stands at a path, without and with its link followed."""
    own = os.lstat(path)
    behind: os.stat_result | None = own
    link: str | None = None
    if stat.S_ISLNK(own.st_mode):
        try:
            behind = os.stat(path)
            link = os.path.realpath(path)
        except OSError:
            behind = None
            link = path
    shown = behind or own
    entry = {
        "name": name,
        "path": path,
        "mode": own.st_mode,
        "target_mode": behind.st_mode if behind else None,
        "size": shown.st_size,
        "uid": shown.st_uid,
        "gid": shown.st_gid,
        "owner": NAMES.get(shown.st_uid, str(shown.st_uid)),
        "group": NAMES.get(shown.st_gid, str(shown.st_gid)),
        "modified_ns": shown.st_mtime_ns,
        "symlink_target": link,
    }
    metadata = read_metadata(path)
    if metadata:
        entry["metadata"] = metadata
    return entry


def read_metadata(path: str) -> dict[str, str]:
    """Read the attributes that uploads leave on a file."""
    try:
        names = [name for name in os.listxattr(path) if name.startswith(METADATA_PREFIX)]
        return {
            name[len(METADATA_PREFIX) :]: os.getxattr(path, name).decode("utf-8", "replace")
            for name in names
        }
    except OSError:
        return {}


def walk(path: str, depth: int) -> Iterator[dict[str, Any]]:
    """Yield what lies below a folder, by name, never through a link found on the way."""
    for name in sorted(os.listdir(path)):
        child = path.rstrip("/") + "/" + name
        try:
            entry = describe(child, name)
        except OSError:
            continue  # Gone in the meantime.
        yield entry
        if depth > 1 and stat.S_ISDIR(entry["mode"]):
            try:
                yield from walk(child, depth - 1)
            except PermissionError:
                continue


def list_files(question: dict[str, Any]) -> object:
    """List a folder to a depth."""
    path = question["path"]
    os.stat(path)
    entries = []
    for entry in walk(path, min(question["depth"], 500)):
        entries.append(entry)
        if len(entries) > LIST_LIMIT_ENTRIES:
            raise OSError(errno.EOVERFLOW, f"more than {LIST_LIMIT_ENTRIES} entries", path)
    return entries


def make_folder(question: dict[str, Any]) -> object:
    """Create a folder and its parents. False: it was there."""
    path = question["path"]
    try:
        os.makedirs(path, 0o755)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return False
    return True


def move(question: dict[str, Any]) -> object:
    """Rename, across file systems by copying."""
    source, target = question["source"], question["target"]
    os.lstat(source)
    os.makedirs(os.path.dirname(target) or "/", 0o755, exist_ok=True)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import shutil

        if os.path.isdir(target) and not os.path.islink(target):
            os.rmdir(target)  # As rename does: only an empty folder is replaced.
        shutil.move(source, target)
    return None


def remove(question: dict[str, Any]) -> object:
    """Remove whatever is there; nothing there is fine too."""
    path = question["path"]
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return None
    except FileNotFoundError:
        return None
    import shutil

    try:
        shutil.rmtree(path)
    except PermissionError:
        # envd is root, whom its users' modes do not stop.
        _unlock(path)
        shutil.rmtree(path)
    return None


def _unlock(folder: str) -> None:
    """Let the owner do anything in a folder and in all below it."""
    os.chmod(folder, stat.S_IRWXU)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _unlock(entry.path)


def change_mode(question: dict[str, Any]) -> object:
    """Set the permission bits of what is behind a path."""
    descriptor = open_path(question["path"], os.O_PATH | os.O_CLOEXEC)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", question["mode"])
    finally:
        os.close(descriptor)
    return None


def measure_disk(_question: dict[str, Any]) -> object:
    """Add up the blocks of everything writable; a hard link counts once.

    Homes that are no mounts of their own are part of a layer, which the server measures.
    """
    used, seen, pending = 0, set(), [root for root in DISK_ROOTS if os.path.ismount(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    used += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
        except OSError:
            continue  # Gone, or closed by its owner.
    for root in MEMORY_ROOTS:
        system = os.statvfs(root)
        used += (system.f_blocks - system.f_bfree) * system.f_frsize
    home = os.statvfs(DISK_ROOTS[0] if os.path.isdir(DISK_ROOTS[0]) else "/")
    return {"used": used, "total": home.f_blocks * home.f_frsize}


def stat_file(question: dict[str, Any]) -> object:
    """Describe one path."""
    path = question["path"]
    return describe(path, os.path.basename(path.rstrip("/")) or "/")


# Those that may touch many files run in a child, so that the agent answers others.
QUICK = {"stat": stat_file, "chmod": change_mode, "make_dir": make_folder}
SLOW = {"list": list_files, "move": move, "remove": remove, "disk": measure_disk}
