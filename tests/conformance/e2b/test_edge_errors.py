"""What answers when nothing of the sandbox does: documents for programs, pages for people."""

from __future__ import annotations

import pytest

from tests.conformance.e2b.endpoint import modes
from tests.conformance.e2b.ports import PORT, serving
from tests.support.connect_wire import until

# Where all sandboxes have one address, a header says which is meant.
ONE_ADDRESS = [mode for mode in modes() if mode == "plain"]
BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
}
JSON_TYPE = "application/json; charset=utf-8"


async def gone(box):
    """End a sandbox, and wait until the edge has noticed."""
    await box.kill()

    async def is_gone():
        return (await box.request("GET", "/health")).status_code == 502

    await until(is_gone)


@pytest.mark.parametrize("port", [49983, PORT])
async def test_a_sandbox_that_is_gone_is_not_found(own_box, port):
    """The SDK reads this text to tell a dead sandbox from a busy one."""
    await gone(own_box)
    response = await own_box.request("GET", "/health", port=port)

    assert response.status_code == 502
    assert response.headers["content-type"] == JSON_TYPE
    assert response.json() == {
        "sandboxId": own_box.id,
        "message": "The sandbox was not found",
        "code": 502,
    }


async def test_a_port_that_nobody_listens_on_is_not_open(box):
    """The sandbox is fine."""
    response = await box.request("GET", "/", port=3999)

    assert response.status_code == 502
    assert response.headers["content-type"] == JSON_TYPE
    assert response.json() == {
        "sandboxId": box.id,
        "message": "The sandbox is running but port is not open",
        "port": 3999,
        "code": 502,
    }


async def test_people_get_pages(own_box, new_box):
    """Titles that say what is wrong, with the sandbox and the port."""
    closed = await own_box.request("GET", "/", port=3999, headers=BROWSER)
    await gone(own_box)
    missing = await own_box.request("GET", "/", port=PORT, headers=BROWSER)
    private = await new_box(network={"allowPublicTraffic": False})
    async with serving(private):
        untold = await private.request("GET", "/", port=PORT, headers=BROWSER)
        secret = {**BROWSER, "e2b-traffic-access-token": "x"}
        wrong = await private.request("GET", "/", port=PORT, headers=secret)
    pages = {
        "Closed Port Error": (closed, 502, own_box),
        "Sandbox Not Found": (missing, 502, own_box),
        "Missing Traffic Access Token": (untold, 403, private),
        "Invalid Traffic Access Token": (wrong, 403, private),
    }

    for title, (response, status, box) in pages.items():
        assert response.status_code == status, title
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert title in response.text
        assert box.id in response.text
    assert "3999" in closed.text


async def test_a_browsers_program_gets_documents(box):
    """It asks for them."""
    headers = {**BROWSER, "accept": "application/json"}
    response = await box.request("GET", "/", port=3999, headers=headers)

    assert response.headers["content-type"] == JSON_TYPE


@pytest.mark.parametrize("endpoint", ONE_ADDRESS, indirect=True)
async def test_one_of_two_routing_headers_is_refused(wire, endpoint, box):
    """It would be the control plane's answer to a sandbox's request."""
    for headers in (
        {"e2b-sandbox-id": box.id},
        {"e2b-sandbox-port": "3000"},
        {"e2b-sandbox-id": box.id, "e2b-sandbox-port": "x"},
        {"e2b-sandbox-id": "../x", "e2b-sandbox-port": "3000"},
    ):
        response = await wire.client.get(f"{endpoint.sandbox_url}/x", headers=headers)

        assert response.status_code == 400, headers


@pytest.mark.parametrize("endpoint", ONE_ADDRESS, indirect=True)
async def test_what_a_page_says_of_a_sandbox_is_escaped(endpoint, wire):
    """An id is a stranger's text."""
    headers = {**BROWSER, "e2b-sandbox-id": "<script>", "e2b-sandbox-port": "3000"}
    response = await wire.client.get(f"{endpoint.sandbox_url}/", headers=headers)

    assert response.status_code in {400, 502}
    assert "<script>" not in response.text
