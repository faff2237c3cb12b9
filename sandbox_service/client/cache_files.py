"""Files that are kept between runs in the user's cache folder, and may be lost at any time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

_FILES_MAX: Final = 64


def cache_file(kind: str, key: bytes) -> Path | None:
    """Return where something is kept; None when the user has no place for it.

    Args:
        kind: What is kept; a folder name. Of each kind the newest files are kept.
        key: What tells it from others of its kind.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        caches = Path(base) if base.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return caches / "sandbox-service" / kind / hashlib.sha256(key).hexdigest()[:32]


def write_cache(file: Path, content: bytes) -> None:
    """Keep a file, whole or not at all, and remove old ones beside it.

    Raises:
        OSError: It cannot be kept.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    caches = sorted(file.parent.iterdir(), key=lambda it: it.stat().st_mtime_ns)
    for old in caches[:-_FILES_MAX]:
        old.unlink(missing_ok=True)
