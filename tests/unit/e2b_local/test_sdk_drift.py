"""The SDK's interface is the one that this backend was written for."""

from __future__ import annotations

import difflib
import json

import pytest
from e2b.api import pool_idle_timeout

from sandbox_service.e2b_local.envd import connect
from sandbox_service.e2b_local.envd.service import Envd
from sandbox_service.e2b_local.http1.server import IDLE_TIMEOUT_SECONDS
from tests.unit.e2b_local import sdk_interface
from tests.unit.e2b_local.wire_double import exchange_of

COMMITTED = json.loads(sdk_interface.COMMITTED.read_text())
METHODS = [
    (f"/{service}/{method}", said.partition(":")[0])
    for service, methods in COMMITTED["services"].items()
    for method, said in methods.items()
]
# What this backend knows and refuses. Each is a decision, with its reason.
REFUSED: frozenset[str] = frozenset()


def difference(before, after):
    """Return what changed, as lines of a patch."""
    pair = sdk_interface.as_lines(before), sdk_interface.as_lines(after)
    return "\n".join(difflib.unified_diff(*pair, "committed", "installed", lineterm="", n=2))


def test_the_installed_sdk_says_what_the_backend_was_written_for():
    """An upgrade that changes the wire must be met with open eyes, not in production."""
    changed = difference(COMMITTED, sdk_interface.interface())

    assert changed == "", f"{changed}\n{sdk_interface.__doc__}"


def test_a_change_of_the_interface_is_readable():
    """Whoever upgrades the SDK reads one line for a field, not a blob."""
    messages = COMMITTED["messages"]
    moved = {**messages["process.ProcessSelector"], "pid": "7: uint32"}
    after = {**COMMITTED, "messages": {**messages, "process.ProcessSelector": moved}}
    lines = [it for it in difference(COMMITTED, after).splitlines()[2:] if it[0] in "+-"]

    assert lines == [
        '-   "pid": "1: uint32, one of selector",',
        '+   "pid": "7: uint32",',
    ]


def test_idle_connections_outlive_those_of_the_sdk():
    """Else a request is sent just as its connection is closed, and is lost."""
    assert IDLE_TIMEOUT_SECONDS >= 640 > pool_idle_timeout


async def answered(path, kind):
    """Send what is no message; returns the code that the backend answers with."""
    envd = Envd(None, {}, None, 1)
    nonsense = b"\xff"
    if kind == "unary":
        exchange, wire = exchange_of("POST", path, nonsense, content_type="application/proto")
        await envd(exchange)
        return wire.json()["code"]
    body = connect.envelope(nonsense)
    exchange, wire = exchange_of("POST", path, body, content_type="application/connect+proto")
    await envd(exchange)
    return json.loads(wire.body[wire.body.index(b"{") : wire.body.rindex(b"}") + 1])["error"][
        "code"
    ]


@pytest.mark.parametrize(("path", "kind"), METHODS, ids=[path for path, _ in METHODS])
async def test_every_call_of_envd_is_served_or_refused_on_purpose(path, kind):
    """A call that the SDK has and the backend does not is found here, not by a user."""
    code = await answered(path, kind)

    assert code == ("unimplemented" if path in REFUSED else "invalid_argument")


async def test_a_call_that_nobody_has_is_told_apart():
    """Else the test above would pass whatever is served."""
    assert await answered("/process.Process/Teleport", "unary") == "unimplemented"
