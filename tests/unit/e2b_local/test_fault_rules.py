"""Rules of what goes wrong, as people write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.faults.errors import RulesError
from sandbox_service.e2b_local.faults.injector import FaultInjector
from sandbox_service.e2b_local.faults.rules import load_rules, parse_rules


async def kill(sandbox_id):
    """Nobody dies of being read."""


def test_a_rule_alone_and_a_list_of_them_are_read():
    """Most tests need one, and a file holds several."""
    one = parse_rules(b'{"kind": "drop", "params": {"after_bytes": 7}}')
    two = parse_rules(b' [{"kind": "drop"}, {"kind": "delay", "params": {"seconds": 1}}]')

    assert [(rule.kind, rule.params.after_bytes) for rule in one] == [("drop", 7)]
    assert [rule.kind for rule in two] == ["drop", "delay"]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("nonsense", ""),
        ("[1]", "0"),
        ("{}", "kind"),
        ('{"kind": "explode"}', "kind"),
        ('{"kind": "drop", "times": true}', "times"),
        ('{"kind": "drop", "times": 0}', "times"),
        ('{"kind": "drop", "probability": 1.1}', "probability"),
        ('{"kind": "drop", "id": "a/b"}', "id"),
        ('{"kind": "drop", "after_bytes": 1}', "after_bytes"),
        ('{"kind": "drop", "params": {"after_bytes": -1}}', "params.after_bytes"),
        ('{"kind": "drop", "match": {"path": "("}}', "match.path"),
        ('{"kind": "drop", "match": {"methods": ["get"]}}', "match.methods.0"),
        ('{"kind": "drop", "match": {"port": 0}}', "match.port"),
        ('{"kind": "drop", "match": {"plane": "air"}}', "match.plane"),
        ('[{"kind": "drop"}, {"kind": "status", "params": {"status": 200}}]', "1.params.status"),
        ('{"kind": "status", "params": {"status": 499}}', "params.status"),
        ('{"kind": "stall", "params": {}}', "params.seconds"),
        ('{"kind": "delay", "params": {"seconds": NaN}}', "params.seconds"),
        ('{"kind": "delay"}', "params"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_by_its_place(document, place):
    """A typing error must not become a rule that never happens."""
    with pytest.raises(RulesError) as caught:
        parse_rules(document.encode())

    assert list(caught.value.problems) == [place]
    assert str(caught.value).startswith(f"{place}: " if place else "Invalid JSON")


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_nonsense = st.recursive(
    _scalars, lambda it: st.lists(it) | st.dictionaries(st.text(), it), max_leaves=5
)
_fields = ("id", "match", "times", "probability", "seed", "params")
_params = ("after_bytes", "seconds", "jitter_seconds", "status", "message", "body")
_match = ("methods", "path", "sandbox_id", "port", "plane")
_kinds = ("drop", "stall", "delay", "status", "late_list", "vanish", "kill_during_upload")


@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(_kinds) | _nonsense},
        optional={
            **dict.fromkeys(_fields, _nonsense),
            "params": st.dictionaries(st.sampled_from(_params), _nonsense),
            "match": st.dictionaries(st.sampled_from(_match), _nonsense),
        },
    )
    | _nonsense
)
def test_nonsense_is_refused_or_is_a_rule(document):
    """Whatever comes, the backend goes on, and what it took it can show again."""
    try:
        rules = parse_rules(json.dumps(document).encode())
    except RulesError:
        return

    shown = FaultInjector(kill, rules).views()
    again = FaultInjector(kill, parse_rules(json.dumps(_given(shown)).encode()))
    assert again.views() == shown


def _given(shown):
    return [{name: value for name, value in one.items() if name != "fired"} for one in shown]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused(document):
    """A request's body can be anything."""
    with pytest.raises(RulesError):
        parse_rules(b"{" + document)


def test_a_file_without_rules_stops_the_start(tmp_path):
    """A test suite that runs without its faults proves nothing."""
    file = tmp_path / "faults.json"
    with pytest.raises(ConfigError, match="Cannot read"):
        load_rules(file)
    file.write_text('[{"kind": "explode"}]')
    with pytest.raises(ConfigError, match=r"0\.kind: Input should be one of drop, stall"):
        load_rules(file)

    file.write_text('[{"kind": "drop"}]')
    assert [rule.kind for rule in load_rules(file)] == ["drop"]
