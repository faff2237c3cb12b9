"""The code policy's rules: what each finds, what it leaves alone, and how bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sandbox_service.domain.policy import Action
from sandbox_service.operations.policy.engine import Code, Engine
from sandbox_service.operations.policy.rules import LANGUAGES, RulesError, RuleSet

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parents[2]
_SUFFIXES = {".py": "python", ".sh": "bash", ".js": "javascript", ".mjs": "javascript"}

SHIPPED = RuleSet.load(None)
ENGINE = Engine(SHIPPED)


def _examples(key):
    for file in sorted((_HERE / "policy_examples").glob("*.yaml")):
        for rule in yaml.safe_load_all(file.read_text()):
            for index, code in enumerate(rule[key]):
                name = f"{file.stem}-{rule['id']}-{index}"
                yield pytest.param(file.stem, rule["id"], code, id=name)


@pytest.mark.parametrize(("language", "rule", "code"), list(_examples("invalid")))
def test_a_rule_finds_what_it_is_for(language, rule, code):
    """In plain sight, or in code that other code runs."""
    assert rule in [it.rule_id for it in ENGINE.findings(Code(language, code))]


@pytest.mark.parametrize(("language", "rule", "code"), list(_examples("valid")))
def test_no_rule_minds_what_only_looks_like_it(language, rule, code):
    """A policy that denies honest work is switched off."""
    assert ENGINE.findings(Code(language, code)) == ()


def test_every_shipped_rule_has_examples_of_both_kinds():
    """A rule that nobody tried is a rule that does not work."""
    tried = {
        (file.stem, rule["id"])
        for file in (_HERE / "policy_examples").glob("*.yaml")
        for rule in yaml.safe_load_all(file.read_text())
        if rule["invalid"] and rule["valid"]
    }

    assert {(it.language, it.id) for it in SHIPPED} == tried


def test_the_shipped_rules_cover_what_they_are_said_to():
    """Both kinds of rules, and the three languages."""
    actions = {it.language: set() for it in SHIPPED}
    for rule in SHIPPED:
        actions[rule.language].add(rule.action)

    assert actions == {
        language: {Action.WARN, Action.DENY} for language in ("bash", "javascript", "python")
    }
    assert all(it.hints for it in SHIPPED)


def test_the_rules_for_javascript_hold_for_typescript():
    """Their trees are alike where it matters."""
    code = "const url: string = 'http://169.254.169.254/latest';\nfs.rmSync('/', {} as Options);\n"

    found = ENGINE.findings(Code("typescript", code))

    assert [(it.rule_id, it.line) for it in found] == [
        ("no-metadata-access", 1),
        ("no-removing-the-system", 2),
    ]


def test_the_shipped_rules_find_nothing_in_this_project():
    """Some hundred files of honest code, many of them about processes, shells and networks."""
    files = [
        file
        for folder in ("sandbox_service", "tests", "protos", "deploy", ".ci")
        for file in (_REPOSITORY / folder).rglob("*")
        if file.is_file() and "node_modules" not in file.parts
    ]
    seen = 0
    found = []
    for file in files:
        language = _SUFFIXES.get(file.suffix)
        if language is None and file.read_bytes()[:30].startswith(
            (b"#!/bin/", b"#!/usr/bin/env ba")
        ):
            language = "bash"
        if language is None or file.name == Path(__file__).name:
            continue
        seen += 1
        code = Code(language, file.read_text(errors="replace"))
        found += [(str(file), it.line, it.rule_id) for it in ENGINE.findings(code)]

    assert seen > 100
    assert [
        it for it in found if "test_policy" not in it[0] and "test_code_policy" not in it[0]
    ] == []


RULE = {
    "id": "no-print",
    "language": "python",
    "severity": "error",
    "message": "Do not print.",
    "rule": {"pattern": "print($$$ARGUMENTS)"},
}


def _written(folder, *documents):
    (folder / "rules.yaml").write_text(yaml.safe_dump_all(documents))
    return folder


def test_a_folder_replaces_the_shipped_rules(tmp_path):
    """It is this deployment's policy then, and no other."""
    _written(tmp_path, RULE, {**RULE, "id": "off", "severity": "off"}, None)
    rules = RuleSet.load(tmp_path)

    assert [(it.id, it.action, it.hints) for it in rules] == [("no-print", Action.DENY, ())]
    assert [it.line for it in Engine(rules).findings(Code("python", "x = 1\nprint(x)"))] == [2]
    assert Engine(rules).findings(Code("bash", "rm -rf /")) == ()


def test_rules_may_lie_in_folders_and_files_of_either_name(tmp_path):
    """And one id may be used once per language."""
    (tmp_path / "a").mkdir()
    _written(tmp_path / "a", RULE)
    (tmp_path / "b.yml").write_text(
        yaml.safe_dump({**RULE, "language": "JavaScript", "rule": {"pattern": "print($A)"}})
    )

    assert [it.language for it in RuleSet.load(tmp_path)] == ["python", "javascript"]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_rules_may_be_about_any_language_that_can_be_parsed(language):
    """A wrong name here would bring the parser down, not the rule."""
    rules = RuleSet([("x", {**RULE, "language": language, "rule": {"regex": "zzz"}})])

    assert Engine(rules).findings(Code(language, "aaa")) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": ""}, "id has to be"),
        ({"id": "No Spaces"}, "id has to be"),
        ({"id": 5}, "id has to be"),
        ({"language": "klingon"}, "language has to be one of bash"),
        ({"language": None}, "language has to be one of bash"),
        ({"severity": "fatal"}, "severity has to be"),
        ({"message": ""}, "message has to be"),
        ({"message": "x" * 301}, "message has to be"),
        ({"rule": None}, "rule no-print"),
        ({"rule": {"kind": "no_such_kind"}}, "Kind `no_such_kind` is invalid"),
        ({"rule": {"regex": "("}}, "regex parse error"),
        ({"rule": {"patern": "x"}}, "unknown field `patern`"),
        ({"rule": {"matches": "nothing"}}, "Rule `nothing` is not defined"),
        ({"constraints": {"A": {"regex": "("}}}, "regex parse error"),
        ({"metadata": {"hints": "rm"}}, "metadata.hints"),
        ({"metadata": {"hints": ["rm"]}}, "metadata.hints"),
        ({"metadata": {"hints": [[169]]}}, "metadata.hints"),
        ({"metadata": {"hints": [[]]}}, "metadata.hints"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_the_start(tmp_path, change, told):
    """And the message says which, where, and why, in one line."""
    _written(tmp_path, {**RULE, "id": "fine"}, {**RULE, **change})

    with pytest.raises(RulesError) as caught:
        RuleSet.load(tmp_path)

    message = str(caught.value)
    assert told in message
    assert message.startswith(f"{tmp_path}/rules.yaml, document 2")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [", "is not YAML"), ("- a\n", "a rule is a mapping"), ("# nothing\n", "holds no rules")],
)
def test_a_file_that_holds_no_rules_is_refused(tmp_path, text, told):
    """An empty policy would be one that was lost."""
    (tmp_path / "rules.yaml").write_text(text)

    with pytest.raises(RulesError, match=told):
        RuleSet.load(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """As is one rule twice."""
    with pytest.raises(RulesError, match="is no folder"):
        RuleSet.load(tmp_path / "missing")
    _written(tmp_path, RULE, RULE)
    with pytest.raises(RulesError, match="has a rule 'no-print' already"):
        RuleSet.load(tmp_path)
