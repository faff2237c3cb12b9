"""Artifacts: files that programs leave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a program left.

    Attributes:
        path: Absolute.
        size: In bytes.
        sha256: Of its content, 32 bytes. Empty: it was not read.
        mode: Its permission bits.
        modify_time: When it was last written.
        media_type: Its MIME type, as far as name and content tell.
    """

    path: str
    size: int
    sha256: bytes
    mode: int
    modify_time: datetime
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecArtifacts:
    """What appeared where the globs of an exec look.

    Attributes:
        artifacts: The first of them, by path.
        count: How many there are.
        size: Of all of them, in bytes.
        failure_reason: Of the error for which they were not found. Empty: they were.
    """

    artifacts: tuple[Artifact, ...] = ()
    count: int = 0
    size: int = 0
    failure_reason: str = ""
