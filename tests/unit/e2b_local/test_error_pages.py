"""What a client is told at the edge: programs read it, and people should understand it."""

from __future__ import annotations

import html.parser

import pytest

from sandbox_service.e2b_local.gateway import error_pages
from tests.unit.e2b_local.wire_double import exchange_of

ID = "i0123456789abcdefghij"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"
EVERY = {
    "not_found": error_pages.not_found(ID),
    "port_closed": error_pages.port_closed(ID, 3000),
    "no_answer": error_pages.no_answer(ID, 3000),
    "token_missing": error_pages.traffic_token(ID, given=False),
    "token_invalid": error_pages.traffic_token(ID, given=True),
    "resume_denied": error_pages.resume_denied(ID),
    "transitioning": error_pages.transitioning(ID),
    "too_many": error_pages.too_many_connections(ID, 7),
    "reserved": error_pages.reserved("/init"),
}


def refused(error, **headers):
    exchange, wire = exchange_of("GET", "/", **headers)
    error_pages.refuse(exchange, error)
    return wire


class Document(html.parser.HTMLParser):
    """Collects a page's texts, its tags, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in {"src", "href"}]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize(
    ("name", "status", "document"),
    [
        ("not_found", 502, {"sandboxId": ID, "message": "The sandbox was not found"}),
        (
            "port_closed",
            502,
            {
                "sandboxId": ID,
                "message": "The sandbox is running but port is not open",
                "port": 3000,
            },
        ),
        (
            "token_missing",
            403,
            {
                "sandboxId": ID,
                "message": "Sandbox is secured with traffic access token."
                " Token header 'e2b-traffic-access-token' is missing",
            },
        ),
        (
            "token_invalid",
            403,
            {
                "sandboxId": ID,
                "message": "Sandbox is secured with traffic access token."
                " Provided token in header 'e2b-traffic-access-token' is invalid",
            },
        ),
        (
            "transitioning",
            409,
            {
                "sandboxId": ID,
                "message": "The sandbox is still transitioning. Try again in a moment.",
            },
        ),
        (
            "too_many",
            429,
            {
                "sandboxId": ID,
                "message": "The sandbox has too many concurrent incoming connections (limit: 7)",
            },
        ),
        (
            "reserved",
            404,
            {
                "path": "/init",
                "message": "This endpoint is reserved for the E2B control plane"
                " and is not reachable through the sandbox URL",
            },
        ),
    ],
)
def test_programs_get_e2bs_own_words_as_json(name, status, document):
    """The SDK reads the words, and a dead sandbox is told from a busy one by them alone."""
    wire = refused(EVERY[name])

    assert wire.status == status
    assert wire.json() == {**document, "code": status}
    assert "content-type: application/json; charset=utf-8" in wire.head


@pytest.mark.parametrize("name", EVERY)
def test_people_get_a_page_that_says_what_to_do(name):
    """One page for each error, whole, and nothing in it is loaded from elsewhere."""
    error = EVERY[name]
    wire = refused(error, user_agent=CHROME)
    page = Document(wire.body.decode())
    text = " ".join(page.texts)

    assert wire.status == error.status
    assert "content-type: text/html; charset=utf-8" in wire.head
    assert page.loads == []
    assert "script" not in page.tags
    assert page.texts.count(error.title) == 2
    assert (ID in text) == (name != "reserved")
    assert ("port 3000" in text) == ("port" in (error.also or {}))


def test_a_path_cannot_write_a_page():
    """The path is the client's own text, and may come from a link that somebody sent."""
    hostile = "/init<script>alert(1)</script>&\"'"
    body = refused(error_pages.reserved(hostile), user_agent=CHROME).body.decode()

    assert "<script" not in body
    assert hostile in Document(body).texts


@pytest.mark.parametrize(
    ("fields", "page"),
    [
        ({}, False),
        ({"user_agent": "e2b-python-sdk/2.63.0"}, False),
        ({"user_agent": "curl/8.5.0", "accept": "text/html"}, False),
        ({"user_agent": CHROME}, True),
        ({"user_agent": CHROME, "accept": "text/html,*/*", "sec_fetch_mode": "navigate"}, True),
        ({"user_agent": CHROME, "accept": "application/json"}, False),
        ({"user_agent": CHROME, "accept": "*/*", "sec_fetch_mode": "cors"}, False),
        ({"user_agent": CHROME, "accept": "*/*", "sec_fetch_mode": "websocket"}, False),
        ({"user_agent": CHROME, "x_requested_with": "XMLHttpRequest"}, False),
        (
            {
                "user_agent": CHROME,
                "x_requested_with": "XMLHttpRequest",
                "sec_fetch_mode": "navigate",
            },
            True,
        ),
    ],
)
def test_a_page_is_for_people_and_not_for_their_scripts(fields, page):
    """A script in a page has the browser's name, and parses what it gets as JSON."""
    wire = refused(EVERY["not_found"], **fields)

    assert wire.body.startswith(b"<!DOCTYPE html>") is page


def test_a_script_of_any_page_may_read_why():
    """Without these fields a browser shows its script a network error and nothing else."""
    exchange, preflight = exchange_of(
        "OPTIONS",
        "/",
        origin="https://app.example",
        access_control_request_method="POST",
        access_control_request_headers="x-access-token",
    )
    error_pages.refuse(exchange, EVERY["not_found"])
    refusal = refused(EVERY["not_found"], origin="https://app.example")

    assert preflight.status == 204
    assert "access-control-allow-headers: x-access-token" in preflight.head
    assert "access-control-allow-methods: *" in preflight.head
    for wire in (preflight, refusal):
        assert "access-control-allow-origin: *" in wire.head


def test_who_names_nobody_is_told_in_plain_words():
    """A request that cannot be routed has no sandbox to speak of."""
    exchange, wire = exchange_of("GET", "/")
    error_pages.refuse_in_words(exchange, 400, "Invalid host")

    assert (wire.status, wire.body) == (400, b"Invalid host\n")
    assert "content-type: text/plain; charset=utf-8" in wire.head
