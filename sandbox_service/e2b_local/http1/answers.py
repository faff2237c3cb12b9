"""Answers that many handlers give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox_service.e2b_local.http1.exchange import Exchange

_JSON: Final = (("content-type", "application/json; charset=utf-8"),)


def send_json(
    exchange: Exchange, status: int, document: object, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Answer with a JSON document."""
    exchange.respond(status, json.dumps(document).encode(), [*_JSON, *headers])
