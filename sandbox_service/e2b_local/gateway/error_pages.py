"""What clients are told when no sandbox can answer them: JSON for programs, a page for people.

E2B's clients read the JSON: `sandboxId`, `message` and `code` are fixed, and the words
"was not found" and "port is not open" tell them a dead sandbox from a busy one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.http1 import Exchange

TRAFFIC_TOKEN_HEADER: Final = "e2b-traffic-access-token"  # noqa: S105 - a header's name.
_BROWSER: Final = re.compile(r"mozilla|chrome|safari|firefox|edge|opera|msie", re.IGNORECASE)
# A page of any origin may read an answer that no sandbox has a say in.
_READABLE: Final = ("access-control-allow-origin", "*")
_PREFLIGHT_SECONDS: Final = 24 * 3600

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 36rem; }}
h1 {{ font-size: 1.5rem; margin: 0; }}
small {{ opacity: .6; }}
code {{ overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16181c; color: #e8e8e8; }} }}
</style>
</head>
<body>
<small>{status}</small>
<h1>{title}</h1>
<p>{explanation}</p>
<dl>
{facts}</dl>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class EdgeError:
    """One reason why a request went no further than the edge.

    Attributes:
        status: HTTP status.
        title: For the page.
        message: For programs; E2B's own words.
        explanation: For people: what happened and what to do.
        facts: More fields of the JSON, before the message; the page shows them too.
        also: More fields of the JSON, after the message; the page shows them too.
    """

    status: int
    title: str
    message: str
    explanation: str
    facts: Mapping[str, str]
    also: Mapping[str, str | int] | None = None


def not_found(sandbox_id: str) -> EdgeError:
    """There is no such sandbox, or it does not run and nothing wakes it."""
    return EdgeError(
        502,
        "Sandbox Not Found",
        "The sandbox was not found",
        "No sandbox with this id runs here. It may have reached the end of its life.",
        {"sandboxId": sandbox_id},
    )


def port_closed(sandbox_id: str, port: int) -> EdgeError:
    """Nothing listens on the port."""
    return EdgeError(
        502,
        "Closed Port Error",
        "The sandbox is running but port is not open",
        f"The sandbox runs, but there is no service running on port {port}. Start one there,"
        " then load this page again.",
        {"sandboxId": sandbox_id},
        {"port": port},
    )


def no_answer(sandbox_id: str, port: int) -> EdgeError:
    """A program took the connection and closed it."""
    return EdgeError(
        502,
        "No Answer",
        "The program closed the connection without an answer",
        f"The program on port {port} of the sandbox took the request and closed the connection.",
        {"sandboxId": sandbox_id},
        {"port": port},
    )


def traffic_token(sandbox_id: str, *, given: bool) -> EdgeError:
    """The sandbox's ports are private."""
    what = "invalid" if given else "missing"
    subject = "Provided token in header" if given else "Token header"
    return EdgeError(
        403,
        f"{what.title()} Traffic Access Token",
        "Sandbox is secured with traffic access token."
        f" {subject} '{TRAFFIC_TOKEN_HEADER}' is {what}",
        "The ports of this sandbox are private. Send its traffic access token in the header"
        f" {TRAFFIC_TOKEN_HEADER}.",
        {"sandboxId": sandbox_id},
    )


def resume_denied(sandbox_id: str) -> EdgeError:
    """The sandbox is paused, and this client may not wake it."""
    return EdgeError(
        403,
        "Unable To Resume Sandbox",
        "This sandbox can't be resumed with the credentials provided."
        " Check your access token and try again.",
        "The sandbox is paused. It wakes for clients that send its access token.",
        {"sandboxId": sandbox_id},
    )


def transitioning(sandbox_id: str) -> EdgeError:
    """The sandbox is being paused or resumed, and that takes long."""
    return EdgeError(
        409,
        "Sandbox Still Transitioning",
        "The sandbox is still transitioning. Try again in a moment.",
        "The sandbox is being paused or resumed. Load this page again in a moment.",
        {"sandboxId": sandbox_id},
    )


def too_many_connections(sandbox_id: str, limit: int) -> EdgeError:
    """The sandbox has as many requests under way as it may."""
    return EdgeError(
        429,
        "Too Many Connections",
        f"The sandbox has too many concurrent incoming connections (limit: {limit})",
        f"The sandbox serves {limit} requests at once and no more. Load this page again when"
        " some have ended.",
        {"sandboxId": sandbox_id},
    )


def reserved(path: str) -> EdgeError:
    """The path is for whoever runs sandboxes; which sandbox was meant does not matter."""
    return EdgeError(
        404,
        "Endpoint Not Available",
        "This endpoint is reserved for the E2B control plane"
        " and is not reachable through the sandbox URL",
        "This address is for whoever runs the sandbox, not for its clients.",
        {},
        {"path": path},
    )


def refuse(exchange: Exchange, error: EdgeError) -> None:
    """Answer a request with an error, as its client can read it."""
    if _answered_preflight(exchange):
        return
    if _wants_page(exchange):
        body, kind = _page(error), "text/html"
    else:
        fields = {**error.facts, "message": error.message, **(error.also or {})}
        body, kind = json.dumps({**fields, "code": error.status}), "application/json"
    headers = [("content-type", f"{kind}; charset=utf-8"), _READABLE]
    exchange.respond(error.status, body.encode(), headers)


def refuse_in_words(exchange: Exchange, status: int, message: str) -> None:
    """Answer a request that does not even say whom it is for."""
    if not _answered_preflight(exchange):
        headers = [("content-type", "text/plain; charset=utf-8"), _READABLE]
        exchange.respond(status, f"{message}\n".encode(), headers)


def _answered_preflight(exchange: Exchange) -> bool:
    """Let a browser's page send the request whose error it shall then read."""
    fields = exchange.headers
    if exchange.method != "OPTIONS" or b"access-control-request-method" not in fields:
        return False
    headers = [
        _READABLE,
        ("access-control-allow-methods", "*"),
        ("access-control-max-age", str(_PREFLIGHT_SECONDS)),
    ]
    wanted = fields.get(b"access-control-request-headers")
    if wanted and wanted.isascii():
        headers.append(("access-control-allow-headers", wanted))
    exchange.respond(204, headers=headers)
    return True


def _wants_page(exchange: Exchange) -> bool:
    """Whether a person looks at the answer: a browser that opens a page, not its scripts."""
    fields = exchange.headers
    if _BROWSER.search(fields.get(b"user-agent") or "") is None:
        return False
    mode = fields.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    if (fields.get(b"x-requested-with") or "").lower() == "xmlhttprequest":
        return False
    return "application/json" not in (fields.get(b"accept") or "").lower()


def _page(error: EdgeError) -> str:
    shown = {**error.facts, **(error.also or {})}
    names = {"sandboxId": "Sandbox", "port": "Port", "path": "Path"}
    facts = "".join(
        f"<dt>{names[name]}</dt><dd><code>{escape(str(value))}</code></dd>\n"
        for name, value in shown.items()
    )
    return _PAGE.format(
        title=escape(error.title),
        status=f"{error.status} {HTTPStatus(error.status).phrase}",
        explanation=escape(error.explanation),
        facts=facts,
    )
