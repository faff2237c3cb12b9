"""A page of a sandbox's execs."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_service.domain.execs import ExecState, ExecSummary
from sandbox_service.operations import page_tokens

_PAGE: int = 100


def exec_page(
    sandbox_id: str,
    execs: Sequence[ExecSummary],
    state: ExecState | None,
    page_size: int,
    page_token: str,
) -> tuple[Sequence[ExecSummary], str]:
    """Return a page of a sandbox's execs, and the next page's token.

    Args:
        sandbox_id: Whose list it is.
        execs: All of them, in any order.
        state: Only those. None: all.
        page_size: 0 leaves it to the service.
        page_token: Of the page before. Empty: the first page.

    Returns:
        Those that started last first, and an empty token on the last page.

    Raises:
        InvalidPageTokenError: The token is none of this list's.
    """
    mark = f"{sandbox_id}/{state or ''}"
    before = page_tokens.decode(page_token, mark)
    found = sorted(
        (it for it in execs if state is None or it.state is state), key=_order, reverse=True
    )
    if before is not None:
        # A token's time has no more than microseconds, as every start has.
        found = [it for it in found if _order(it) < before]
    size = page_size or _PAGE
    page = found[:size]
    if len(found) <= size:
        return page, ""
    last = page[-1]
    return page, page_tokens.encode(last.start_time, last.exec_id, mark)


def _order(it: ExecSummary) -> tuple[object, str]:
    return it.start_time, it.exec_id
