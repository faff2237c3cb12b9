"""Records and lifetimes, with a clock in hand."""

from __future__ import annotations

import re

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.store import (
    PageTokenError,
    SandboxRecord,
    SandboxStore,
    new_sandbox_id,
)


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
    return [one.sandbox_id for one in page.records]


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
    assert ids(store.page(metadata={}, template_id="node")) == ["c"]
    assert ids(store.page(metadata={}, started_after=1000.0, order="asc")) == ["b", "c"]


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
