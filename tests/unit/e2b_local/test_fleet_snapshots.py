"""Names of snapshots, and what becomes of those that are replaced or removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.fleet.snapshots import InvalidNameError, Reference, SnapshotStore

UUID = "00000000-0000-0000-0000-000000000000"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def discarded():
    return []


@pytest.fixture
def store(discarded):
    return SnapshotStore(Clock(), discarded.append)


def add(store, name=None, sandbox_id="ia", path="a.tar"):
    reference = None if name is None else Reference.parse(name)
    return store.add(
        reference,
        sandbox_id=sandbox_id,
        template=Template(template_id="base"),
        env={"KEY": "secret"},
        path=Path(path),
    )


def ids(page):
    return [one.snapshot_id for one in page.items]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("base", ("base", None, "default")),
        ("Team/My-Snap:V1.0", ("my-snap", "team", "v1.0")),
        (" a_b : default ", ("a_b", None, "default")),
    ],
)
def test_a_reference_is_read(text, parsed):
    """Clients write names as they like."""
    reference = Reference.parse(text)

    assert (reference.name, reference.namespace, reference.tag) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a/",
        "/a",
        "a:",
        "a:b c",
        "../x",
        "a/b/c",
        "a:00000000-0000-0000-0000-000000000000",
    ],
)
def test_what_cannot_be_a_name_is_refused(text):
    """It would never be found again."""
    with pytest.raises(InvalidNameError):
        Reference.parse(text)


def test_a_snapshot_is_found_by_all_it_is_called(store):
    """Clients keep the id of an answer, or the name they gave."""
    named, plain = add(store, "snap:v1"), add(store)

    assert (named.snapshot_id, named.names) == ("local/snap:v1", ("local/snap:v1",))
    assert (plain.snapshot_id, plain.names) == (f"{plain.template_id}:default", ())
    for text in ("snap:v1", "local/snap:v1", f"{named.template_id}:v1"):
        assert store.find(Reference.parse(text)) is named
    for text in (plain.template_id, plain.snapshot_id):
        assert store.find(Reference.parse(text)) is plain
    for text in ("snap", "snap:v2", "other/snap:v1", f"local/{named.template_id}:v1"):
        assert store.find(Reference.parse(text)) is None


def test_a_new_one_of_the_same_name_and_tag_takes_the_place(store, discarded):
    """Else the disk would fill with what nobody can name."""
    first = add(store, "snap", path="1.tar")
    other = add(store, "snap:v2", path="2.tar")
    second = add(store, "snap", path="3.tar")

    assert first.template_id == other.template_id == second.template_id
    assert store.find(Reference.parse("snap")) is second
    assert discarded == [Path("1.tar")]


def test_removing_takes_all_tags_and_their_files(store, discarded):
    """As the real service removes the template that the tags belong to."""
    add(store, "snap", path="1.tar")
    add(store, "snap:v2", path="2.tar")
    kept = add(store, "other", path="3.tar")

    assert store.remove(Reference.parse("local/snap:v2"))
    assert not store.remove(Reference.parse("snap"))
    assert discarded == [Path("1.tar"), Path("2.tar")]
    assert store.find(Reference.parse("other")) is kept


def test_pages_show_the_newest_first_and_filter(store):
    """A sandbox's own snapshots, or those of one name."""
    for number in range(5):
        add(store, f"snap:v{number}", sandbox_id="ia" if number % 2 else "ib")
    seen, token = [], None
    while True:
        page = store.page(limit=2, token=token)
        seen += ids(page)
        token = page.next_token
        if token is None:
            break

    assert seen == [f"local/snap:v{number}" for number in (4, 3, 2, 1, 0)]
    assert ids(store.page(sandbox_id="ia")) == ["local/snap:v3", "local/snap:v1"]
    assert ids(store.page(name=Reference.parse("other"))) == []
    assert len(ids(store.page(name=Reference.parse("snap")))) == 5


def test_a_snapshot_does_not_show_its_secrets(store):
    """Records end up in logs and tracebacks."""
    assert "secret" not in repr(add(store))
