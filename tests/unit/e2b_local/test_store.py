"""Records and lifetimes, with a clock in hand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.fleet.paging import PageTokenError
from sandbox_service.e2b_local.fleet.store import SandboxRecord, SandboxStore, new_sandbox_id


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return SandboxStore(clock)


def record(sandbox_id, *, started_at=1000.0, lives=60, template="base", **metadata):
    return SandboxRecord(
        sandbox_id=sandbox_id,
        template=Template(template_id=template),
        started_at=started_at,
        end_at=started_at + lives,
        metadata=metadata,
        access_token="secret-token",
        env={"KEY": "secret-value"},
    )


def ids(page):
    return [one.sandbox_id for one in page.items]


def test_ids_have_the_form_of_the_real_ones():
    """E2B's edge and its users' own checks take `i` and 20 of [a-z0-9]."""
    made = {new_sandbox_id() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"i[a-z0-9]{20}", one) for one in made)


def test_a_sandbox_expires_at_its_end_and_not_before(store, clock):
    """Killing early loses work; killing late holds a machine."""
    store.add(record("a", lives=60))

    clock.now = 1059.9
    assert store.expired() == []
    clock.now = 1060.0
    assert store.expired() == ["a"]


def test_end_in_may_shorten_and_extend_never_does(store):
    """`set_timeout` sets; `connect` and `refreshes` only ever add."""
    store.add(record("a", lives=600))

    assert store.extend("a", 10).end_at == 1600
    assert store.end_in("a", 10).end_at == 1010
    assert store.extend("a", 20).end_at == 1020
    assert store.next_end() == 1020


def test_a_paused_sandbox_has_no_end_and_gets_none(store, clock):
    """Paused ones are kept for ever; whoever gives them time believes that they run."""
    store.add(record("a", lives=60))
    store.add(replace(record("b", lives=10), state="paused"))
    clock.now = 1030.0

    assert store.expired() == []
    assert store.next_end() == 1060
    assert store.end_in("b", 10) is None
    assert store.extend("b", 10) is None
    assert store.next_end(besides={"a"}) is None


def test_what_is_gone_cannot_be_put_back(store):
    """A transition that ends after the sandbox was killed must not revive its record."""
    store.add(record("a"))
    kept = store.remove("a")
    store.put(replace(kept, state="paused"))

    assert store.get("a") is None


def test_changing_an_unknown_sandbox_changes_nothing(store):
    """A sandbox that has just ended must not come back as a record."""
    assert store.extend("gone", 10) is None
    assert store.end_in("gone", 10) is None
    assert len(store) == 0
    assert store.next_end() is None


def test_a_page_filters_by_metadata_template_and_start(store):
    """The service finds its own sandboxes by metadata after its store is lost."""
    store.add(record("a", owner="x", team="t"))
    store.add(record("b", owner="y", team="t", started_at=1010.0))
    store.add(record("c", owner="x", team="t", template="node", started_at=1020.0))

    assert ids(store.page(metadata={"owner": "x"})) == ["c", "a"]
    assert ids(store.page(metadata={"owner": "x", "team": "u"})) == []
    assert ids(store.page(metadata={}, template="node")) == ["c"]
    # Those that started at that very time belong to it.
    assert ids(store.page(metadata={}, started_after=1010.0, order="asc")) == ["b", "c"]
    assert ids(store.page(metadata={}, started_before=1010.0)) == ["b", "a"]


def test_a_page_shows_the_states_asked_for(store):
    """Most clients want to see only what runs, or only what they can resume."""
    store.add(record("a"))
    store.add(replace(record("b", started_at=1001.0), state="paused"))

    assert ids(store.page(metadata={})) == ["b", "a"]
    assert ids(store.page(metadata={}, states={"paused"})) == ["b"]
    assert ids(store.page(metadata={}, states={"running"})) == ["a"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_show_each_sandbox_once_though_others_come_and_go(store, order):
    """A page by count would skip one whenever a sandbox ends between two calls."""
    for number in range(7):
        store.add(record(f"s{number}", started_at=1000.0 + number // 2))
    seen, token = [], None
    while True:
        page = store.page(metadata={}, order=order, limit=2, token=token)
        seen += ids(page)
        store.remove(seen[0])
        token = page.next_token
        if token is None:
            break

    assert sorted(seen) == [f"s{number}" for number in range(7)]


def test_a_token_of_the_other_order_is_refused(store):
    """It would lead back over what was shown already."""
    store.add(record("a"))
    store.add(record("b"))
    token = store.page(metadata={}, limit=1).next_token

    with pytest.raises(PageTokenError):
        store.page(metadata={}, order="asc", token=token)


@pytest.mark.parametrize("token", ["x", "!!", "YQ==", "bm90IGE=", "é"])
def test_a_foreign_page_token_is_refused(store, token):
    """Guessing where to go on would show a wrong page as if it were right."""
    with pytest.raises(PageTokenError):
        store.page(metadata={}, token=token)


def test_a_record_does_not_show_its_secrets():
    """Records end up in logs and tracebacks."""
    shown = repr(record("a"))

    assert "secret-token" not in shown
    assert "secret-value" not in shown


def test_a_fork_shares_no_secret_with_its_origin():
    """Whoever may enter one of them may not enter the other."""
    origin = replace(record("a"), traffic_token="traffic", state="paused", pause_mode="full")
    fork = origin.fork(2000.0, 30)

    assert fork.sandbox_id != origin.sandbox_id
    assert not {fork.access_token, fork.traffic_token} & {"secret-token", "traffic", None}
    assert (fork.started_at, fork.end_at, fork.lifetime_seconds) == (2000.0, 2030.0, 30)
    assert (fork.state, fork.env, fork.template) == ("running", origin.env, origin.template)
