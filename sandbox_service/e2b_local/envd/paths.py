"""What a path in a request means, and for whom."""

from __future__ import annotations

import base64
import binascii
import posixpath
from contextlib import suppress
from typing import Final

from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.machine import HOME, USERS
from sandbox_service.e2b_local.machine.model import ROOT_HOME

DEFAULT_USER: Final = "user"
_HOMES: Final = {"user": HOME, "root": ROOT_HOME}


class UnknownUserError(Exception):
    """No such user in the sandbox. The message is its name."""


def checked_user(name: str) -> str:
    """Return a user's name; an empty one means the default user.

    Raises:
        UnknownUserError: There is no such user.
    """
    user = name or DEFAULT_USER
    if user not in USERS:
        raise UnknownUserError(user)
    return user


def user_of_authorization(value: str | None) -> str:
    """Return the user that a `Basic` authorization names.

    Without one, or when it cannot be read, that is the default user, as in envd.

    Raises:
        ConnectError: `unauthenticated`: there is no such user.
    """
    name = ""
    if value is not None and value[:6].lower() == "basic ":
        with suppress(binascii.Error, ValueError):
            decoded = base64.b64decode(value[6:], validate=True).decode()
            name, colon, _ = decoded.partition(":")
            name = name if colon else ""
    try:
        return checked_user(name)
    except UnknownUserError as error:
        raise ConnectError("unauthenticated", f"invalid username: '{error}'") from None


def resolve(path: str, user: str) -> str:
    """Make a request's path absolute.

    Nothing is the user's home, `~` too; a relative path starts there.

    Raises:
        ConnectError: `invalid_argument`: another user's home, or a NUL in it.
    """
    home = _HOMES[user]
    if "\0" in path:
        raise ConnectError("invalid_argument", "path contains a NUL byte")
    if path in {"", "~"}:
        return home
    if path.startswith("~"):
        if not path.startswith("~/"):
            raise ConnectError("invalid_argument", "cannot expand user-specific home dir")
        path = path[2:]
    return posixpath.normpath(posixpath.join(home, path)).replace("//", "/", 1)


def as_text(path: str) -> str:
    """Return a path, or a part of one, as it can be written into a message.

    Names are bytes; what is no UTF-8 in them is replaced.
    """
    if path.isascii():
        return path
    return path.encode(errors="surrogateescape").decode(errors="replace")
