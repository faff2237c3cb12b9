"""Long lists in pages that stay right while their items come and go."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ItemT = TypeVar("ItemT")

Order = Literal["asc", "desc"]
Position = tuple[float, str]
"""A time, in seconds since 1970, and an id that tells apart what began together."""


class PageTokenError(ValueError):
    """A page token that is none of ours, or of a list in the other order."""


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Some items, and where the next ones begin.

    Attributes:
        items: In the order asked for.
        next_token: For the next call. None: this was the last page.
    """

    items: tuple[ItemT, ...]
    next_token: str | None


def cut_page(
    items: Iterable[ItemT],
    position: Callable[[ItemT], Position],
    *,
    order: Order,
    limit: int,
    token: str | None,
) -> Page[ItemT]:
    """Sort items by their position and return a page of them.

    Args:
        items: All of them.
        position: Where an item stands.
        order: The earliest first or last.
        limit: Size of the page, at least 1.
        token: Where to go on: `next_token` of the page before.

    Raises:
        PageTokenError: The token is no `next_token` of a list in that order.
    """
    descending = order == "desc"
    wanted = sorted(items, key=position, reverse=descending)
    if token is not None:
        # By position, not by count: items come and go between two pages.
        after = _decode(token, order)
        wanted = [
            item
            for item in wanted
            if (position(item) < after if descending else position(item) > after)
        ]
    more = len(wanted) > limit
    shown = tuple(wanted[:limit])
    return Page(shown, _encode(position(shown[-1]), order) if more else None)


def _encode(position: Position, order: Order) -> str:
    began_at, identifier = position
    text = f"{began_at!r} {identifier} {order}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def _decode(token: str, wanted: Order) -> Position:
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
        began_at, identifier, order = text.split(" ")
        position = float(began_at), identifier
    except ValueError:
        raise PageTokenError("the page token is not one of ours") from None
    if order != wanted:
        raise PageTokenError("the page token is of a list in the other order")
    return position
