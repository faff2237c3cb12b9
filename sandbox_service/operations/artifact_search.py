"""Finding what a program left: files that match globs and are new or changed since its start."""

from __future__ import annotations

import asyncio
import functools
import mimetypes
import posixpath
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sandbox_service.domain.artifacts import Artifact, ExecArtifacts
from sandbox_service.domain.errors import (
    BackendUnavailableError,
    DirectoryNotFoundError,
    InvalidPathError,
    InvalidRequestError,
    OutcomeUnknownError,
    SandboxError,
)
from sandbox_service.domain.execs import Cause, Exited
from sandbox_service.domain.files import RESERVED_NAME
from sandbox_service.domain.limits import KIB, MIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.scripts import script
from sandbox_service.operations.commands import CommandResult, run_command
from sandbox_service.operations.file_sync.excludes import Excludes

GLOBS_BYTES_MAX: Final = 16 * KIB
"""Of all globs of an exec together: a durable one's record holds them."""

ARTIFACTS_MAX: Final = 256
"""How many a result tells of."""

_FIELD: Final = "artifact_globs"
_HASHED_BYTES_MAX: Final = 1024 * MIB
_HASHING_S: Final = 15
_ANSWER_BYTES_MAX: Final = 4 * MIB
_ARGUMENT_BYTES_MAX: Final = 120_000
"""The kernel takes 131,071 bytes in one argument."""

_FIELDS_EACH: Final = 3
_NO_FOLDER: Final = 3
_NO_PROGRAMS: Final = 4

_LIMIT: Final = timedelta(seconds=30)
_ANSWERED: Final = timedelta(seconds=10)

# The clock that files are stamped by is as much as 10 ms behind: after that long,
# no file that changes bears this time or an earlier one.
_NOW: Final = 'printf %s "${EPOCHREALTIME/[^0-9]/.}"; read -rt 0.011 <> <(:)'
SCRIPT: Final = script(__package__, "find_artifacts.sh")

_MOMENT: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")

# How sha256sum writes a name that would break its line.
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}
_ESCAPE: Final = re.compile(rb"\\([nr\\])")

_UNKNOWN_TYPE: Final = "application/octet-stream"
_BEGINNINGS: Final = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b": "application/gzip",
    b"SQLite format 3": "application/vnd.sqlite3",
    b"<!DOCTYPE html": "text/html",
    b"<?xml": "application/xml",
    b"#!": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Globs:
    """Globs as the sandbox takes them.

    Attributes:
        expression: A POSIX extended expression over `./` and a path.
        starts: The folders outside of which nothing matches, `./` and a path each.
    """

    expression: bytes
    starts: tuple[str, ...]

    @classmethod
    def of(cls, globs: Sequence[str]) -> Globs:
        """Understand globs that are relative to a folder.

        Raises:
            InvalidPathError: One is absolute, leaves the folder, or makes no sense.
        """
        if sum(len(glob.encode()) for glob in globs) > GLOBS_BYTES_MAX:
            raise InvalidPathError.of(_FIELD, f"has more than {GLOBS_BYTES_MAX} bytes in all")
        for index, glob in enumerate(globs):
            if glob.startswith("/") or glob.endswith("/"):
                raise InvalidPathError.of(f"{_FIELD}[{index}]", "begins or ends with a slash")
        # Excludes drop spaces at their end, as .gitignore does; a glob means them.
        whole = ["**/*" if it == "**" else re.sub(r"(?<!\\) $", r"\\ ", it) for it in globs]
        try:
            # What begins with a slash is matched from the root.
            expression = Excludes([f"/{glob}" for glob in whole]).anything
        except InvalidRequestError as error:
            at = error.violations[0]
            field = at.field.replace("header.excludes", _FIELD)
            raise InvalidPathError.of(field, at.description) from None
        if len(_escaped(expression)) > _ARGUMENT_BYTES_MAX:
            raise InvalidPathError.of(_FIELD, "is too long in all; use `*`, or less")
        starts = {_literal_folder(glob) for glob in whole}
        return cls(expression, tuple(sorted(it for it in starts if not _has_parent(it, starts))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSearch:
    """What is looked for when an exec has ended.

    Attributes:
        since: The program's start, in seconds on the sandbox's clock.
        cwd: What the globs are relative to. Empty: the user's home.
    """

    globs: Globs
    since: str
    cwd: str
    user: str

    async def complete(self, provider: SandboxProvider, sandbox_id: str, exited: Exited) -> Exited:
        """Return a result with what appeared. It never fails: the result says why."""
        began = time.monotonic()
        if exited.cause is Cause.SANDBOX_LOST:
            found = ExecArtifacts(failure_reason="SANDBOX_ENDED")
        elif exited.cause is Cause.BACKEND:
            found = ExecArtifacts(failure_reason=BackendUnavailableError.reason)
        else:
            found = await self._found(provider, sandbox_id)
        phases = replace(exited.phases, artifacts=time.monotonic() - began)
        return replace(exited, artifacts=found, phases=phases)

    async def _found(self, provider: SandboxProvider, sandbox_id: str) -> ExecArtifacts:
        argv = (
            *("/bin/bash", "-c", SCRIPT, "artifacts", self.cwd, self.since),
            *(str(ARTIFACTS_MAX), str(_HASHED_BYTES_MAX), str(_HASHING_S)),
            *(_escaped(self.globs.expression), RESERVED_NAME, *self.globs.starts),
        )
        try:
            async with asyncio.timeout(_LIMIT.total_seconds()):
                result = await run_command(
                    provider,
                    sandbox_id,
                    argv,
                    user=self.user,
                    timeout=_LIMIT + _ANSWERED,
                    output_limit=_ANSWER_BYTES_MAX,
                )
            return _parsed(result)
        except TimeoutError:
            return ExecArtifacts(failure_reason="DEADLINE_EXCEEDED")
        except SandboxError as error:
            return ExecArtifacts(failure_reason=error.reason)


async def sandbox_time(provider: SandboxProvider, sandbox_id: str, user: str) -> str:
    """Return a moment that no file bears which changes from now on, on the sandbox's clock.

    Raises:
        SandboxError: The sandbox cannot run it, or has no such user.
    """
    argv = ("/bin/bash", "-c", _NOW)
    try:
        result = await run_command(provider, sandbox_id, argv, user=user, timeout=_ANSWERED)
    except OutcomeUnknownError as error:
        raise BackendUnavailableError("The sandbox does not answer. Repeat the call.") from error
    now = result.stdout.decode(errors="replace")
    if not is_moment(now):
        raise BackendUnavailableError("The sandbox does not tell its time. Repeat the call.")
    return now


def is_moment(text: str) -> bool:
    """Return whether a text is a time as `sandbox_time` gives it."""
    return _MOMENT.fullmatch(text) is not None


def _parsed(result: CommandResult) -> ExecArtifacts:
    if result.exit_code == _NO_FOLDER:
        return ExecArtifacts(failure_reason=DirectoryNotFoundError.reason)
    if result.exit_code == _NO_PROGRAMS:
        return ExecArtifacts(failure_reason="NOT_SUPPORTED_BY_BACKEND")
    fields = result.stdout.split(b"\0")
    try:
        root, totals = fields[0], fields[1].split()
        end = fields.index(b"", 2)
        while (end - 2) % _FIELDS_EACH:  # The beginning of an empty file is empty too.
            end = fields.index(b"", end + 1)
        told = fields[2:end]
        hashes = dict(_hash(line) for line in b"".join(fields[end + 1 :]).split(b"\n") if line)
        artifacts = [
            _artifact(root, path, about, first, hashes.get(path, b""))
            for path, about, first in zip(told[0::3], told[1::3], told[2::3], strict=True)
        ]
        return ExecArtifacts(
            artifacts=tuple(it for it in artifacts if it is not None),
            count=int(totals[0]),
            size=int(totals[1]),
        )
    except (ValueError, IndexError):
        return ExecArtifacts(failure_reason="BACKEND_PROTOCOL_ERROR")


def _hash(line: bytes) -> tuple[bytes, bytes]:
    """Return a path and the hash of its content, of a line of sha256sum."""
    escaped = line.startswith(b"\\")
    sha256, _, path = line.removeprefix(b"\\").partition(b"  ")
    if escaped:
        path = _ESCAPE.sub(lambda it: _ESCAPED[it[1]], path)
    return path, bytes.fromhex(sha256.decode())


def _artifact(
    root: bytes, path: bytes, about: bytes, first: bytes, sha256: bytes
) -> Artifact | None:
    """Return a file that is told of. None: its name is no UTF-8, and cannot be told."""
    size, mode, modified = about.split()
    try:
        whole = (root + path.removeprefix(b"./")).decode()
    except UnicodeDecodeError:
        return None
    return Artifact(
        path=whole,
        size=int(size),
        sha256=sha256,
        mode=int(mode, 8),
        modify_time=datetime.fromtimestamp(float(modified), UTC),
        media_type=_media_type(whole, first),
    )


def _media_type(path: str, first: bytes) -> str:
    """Return what a file is, by its name or else by its first bytes."""
    by_name, encoding = _types().guess_type(posixpath.basename(path))
    if encoding is not None:
        by_name = {"gzip": "application/gzip"}.get(encoding, _UNKNOWN_TYPE)
    if by_name is not None:
        return by_name
    for beginning, media_type in _BEGINNINGS.items():
        if first.startswith(beginning):
            return media_type
    return _UNKNOWN_TYPE


def _literal_folder(glob: str) -> str:
    """Return the folder below which all matches of a glob lie, `./` and its path, or `.`."""
    names = [".", *glob.split("/")[:-1]]
    for index, name in enumerate(names):
        if re.search(r"[*?\[\\]", name):
            return "/".join(names[:index])
    return "/".join(names)


def _has_parent(folder: str, others: set[str]) -> bool:
    return any(folder.startswith(f"{it}/") for it in others)


def _escaped(expression: bytes) -> str:
    r"""Return bytes as `printf %b` takes them: an argument has to be text."""
    text = expression.decode("latin-1").replace("\\", r"\\")
    return "".join(it if it.isascii() else f"\\x{ord(it):02x}" for it in text)


@functools.cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes(filenames=())
