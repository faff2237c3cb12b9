"""Where the next page of a list begins, as text that callers hand back."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta

from sandbox_service.domain.errors import InvalidPageTokenError


def encode(time: datetime, name: str, mark: str) -> str:
    """Return the token of the page after an entry.

    Args:
        time, name: What the list is sorted by, of the page's last entry.
        mark: Tells this list from others: a page of one is none of another.
    """
    micros = round(time.timestamp() * 1_000_000)
    return base64.urlsafe_b64encode(json.dumps([micros, name, mark]).encode()).decode()


def decode(token: str, mark: str) -> tuple[datetime, str] | None:
    """Return after which time and name the page begins. None: it is the first page.

    Raises:
        InvalidPageTokenError: The token is none of the list that `mark` names.
    """
    if not token:
        return None
    try:
        micros, name, marked = json.loads(base64.urlsafe_b64decode(token.encode()))
        time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(micros))
        if marked == mark:
            return time, str(name)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    raise _invalid()


def encode_path(path: bytes, mark: str) -> str:
    """Return the token of the page after a path, which need not be UTF-8.

    Args:
        path: What the list is sorted by, of the page's last entry. Without NUL.
        mark: As in `encode`. Without NUL.
    """
    return base64.urlsafe_b64encode(mark.encode() + b"\0" + path).decode()


def decode_path(token: str, mark: str) -> bytes:
    """Return after which path the page begins. Nothing: it is the first page.

    Raises:
        InvalidPageTokenError: The token is none of the list that `mark` names.
    """
    if not token:
        return b""
    try:
        marked, _, path = base64.b64decode(token.encode(), altchars=b"-_", validate=True).partition(
            b"\0"
        )
    except ValueError:
        raise _invalid() from None
    if marked != mark.encode() or not path or b"\0" in path:
        raise _invalid()
    return path


def _invalid() -> InvalidPageTokenError:
    return InvalidPageTokenError(
        "The page token is none of this list's. Begin again without one, or with the same filters.",
        metadata={"field": "page_token"},
    )
