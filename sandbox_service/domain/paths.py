"""Paths inside a sandbox: always POSIX, always checked before they are used."""

from __future__ import annotations

import posixpath

from sandbox_service.domain.errors import FieldViolation, InvalidPathError
from sandbox_service.domain.limits import NAME_BYTES_MAX, PATH_BYTES_MAX


def _refuse(field: str, path: str, rule: str, why: str) -> InvalidPathError:
    shown = path if len(path) <= 100 else path[:100] + "..."
    return InvalidPathError(
        f"{field}: the path {shown!r} {why}",
        (FieldViolation(field, why, rule),),
        metadata={"field": field, "path": shown, "rule": rule},
    )


def _check_text(path: str, field: str) -> None:
    if not path:
        raise _refuse(field, path, "not_empty", "is empty")
    if "\0" in path:
        raise _refuse(field, path, "no_nul", "contains a NUL")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _refuse(field, path, "utf8", "is not valid UTF-8") from None
    if size > PATH_BYTES_MAX:
        raise _refuse(field, path, "path_length", f"is longer than {PATH_BYTES_MAX} bytes")
    for name in path.split("/"):
        if len(name.encode()) > NAME_BYTES_MAX:
            raise _refuse(
                field, path, "name_length", f"has a name longer than {NAME_BYTES_MAX} bytes"
            )


def relative_inside(path: str, field: str) -> str:
    """Return `path`, known to be relative and to stay below whatever it is joined to.

    Args:
        path: A relative path with `/` between names.
        field: The request's field that it comes from, for the error.

    Raises:
        InvalidPathError: It is empty, absolute, has a NUL, an empty, `.` or
            `..` component, or is too long.
    """
    _check_text(path, field)
    if path.startswith("/"):
        raise _refuse(field, path, "relative", "is absolute; give one relative to the root")
    for name in path.split("/"):
        if name in ("", ".", ".."):
            rule = "no_parent" if name == ".." else "no_empty_part"
            raise _refuse(field, path, rule, f"has the component {name!r}")
    return path


def absolute(path: str, field: str) -> str:
    """Return `path` normalised, known to be absolute and free of `..`.

    Args:
        path: An absolute path.
        field: The request's field that it comes from, for the error.

    Raises:
        InvalidPathError: It is empty, relative, has a NUL or `..`, or is too long.
    """
    _check_text(path, field)
    if not path.startswith("/"):
        raise _refuse(field, path, "absolute", "is not absolute")
    if ".." in path.split("/"):
        raise _refuse(field, path, "no_parent", "has the component '..'")
    return "/" + posixpath.normpath(path).lstrip("/")


def link_stays_inside(link: str, target: str, field: str) -> str:
    """Return `target`, known to point from `link` to somewhere below the root.

    Args:
        link: The link's own path, relative to the root and already checked.
        target: What it points to: relative to the link's folder.
        field: The request's field that it comes from, for the error.

    Raises:
        InvalidPathError: The target is absolute or leaves the root.
    """
    _check_text(target, field)
    if target.startswith("/"):
        raise _refuse(
            field, target, "relative", "is absolute; a link's target is relative to its folder"
        )
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
    if resolved == ".." or resolved.startswith("../"):
        raise _refuse(field, target, "inside_root", "points outside the root")
    return target


def in_sandbox(path: str, field: str) -> str:
    """Return a path that is absolute, or relative to the home folder and stays in it.

    Raises:
        InvalidPathError: It is neither.
    """
    return absolute(path, field) if path.startswith("/") else relative_inside(path, field)
