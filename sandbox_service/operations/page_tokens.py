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
    raise InvalidPageTokenError(
        "The page token is none of this list's. Begin again without one, or with the same filters.",
        metadata={"field": "page_token"},
    )
