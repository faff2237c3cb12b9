"""What uploads, downloads and compositions of files have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from sandbox_service.e2b_local.envd.connect import READABLE
from sandbox_service.e2b_local.envd.paths import UnknownUserError, checked_user

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange


class TransferError(Exception):
    """A transfer that is refused, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return a request's query parameters, the first of each name.

    Raises:
        TransferError: 400: there are more of them than any client sends.
    """
    try:
        parsed = parse_qs(exchange.query, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise TransferError(400, "too many query parameters") from None
    return {name: values[0] for name, values in parsed.items()}


def known_user(name: str) -> str:
    """Return a user's name; an empty one means the default user.

    Raises:
        TransferError: 401: there is no such user.
    """
    try:
        return checked_user(name)
    except UnknownUserError:
        message = f"error looking up user '{name}': user: unknown user {name}"
        raise TransferError(401, message) from None


def answer_json(exchange: Exchange, status: int, document: object) -> None:
    """Answer with a JSON document."""
    headers = [("content-type", "application/json"), READABLE]
    exchange.respond(status, json.dumps(document).encode(), headers)


def answer_error(exchange: Exchange, status: int, message: str) -> None:
    """Answer with an error; an answer that has begun is cut off instead."""
    if exchange.started:
        exchange.wire.abort()
    else:
        answer_json(exchange, status, {"code": status, "message": message})
