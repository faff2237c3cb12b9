"""The code policy's engine: places, code within code, bounds, and nonsense of every kind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.domain.execs import Argv, ShellCommand, SourceCode
from sandbox_service.domain.policy import FINDINGS_MAX, Action
from sandbox_service.operations.policy.engine import Code, Engine, TooNestedError, code_of
from sandbox_service.operations.policy.rules import RuleSet

SHIPPED = RuleSet.load(None)
ENGINE = Engine(SHIPPED)
BAD = "rm -rf /"


def places(language, text, stdin=""):
    return [(it.line, it.column) for it in ENGINE.findings(Code(language, text, stdin))]


def test_a_shell_command_is_bash_and_an_argv_the_line_that_it_would_be():
    """So that `bash -c` and `python -c` are looked into, however they are called."""
    assert code_of(ShellCommand(BAD)) == Code("bash", BAD)
    assert code_of(Argv(("rm", "-rf", "a b"))) == Code("bash", "rm -rf 'a b'")
    assert code_of(SourceCode("js", b"x")) == Code("javascript", "x")
    assert code_of(SourceCode("python", b"\xff"), b"in") == Code("python", "\ufffd", "in")
    assert code_of(SourceCode("klingon", b"x")) is None


@pytest.mark.parametrize(
    ("language", "text", "place"),
    [
        ("bash", BAD, (1, 1)),
        ("bash", f"echo é𝄞\n  {BAD}", (2, 3)),
        ("bash", f"echo 'é𝄞'; {BAD}", (1, 12)),
        ("bash", f"sudo -n {BAD}", (1, 9)),
        ("bash", f"bash -c '{BAD}'", (1, 10)),
        ("bash", f"bash -c '\n {BAD}'", (2, 2)),
        ("bash", f"cat <<E | sh\ntrue\n{BAD}\nE\n", (3, 1)),
        # With escapes in between, where the code within begins.
        ("bash", f'bash -c "echo \\"a\\"; {BAD}"', (1, 10)),
        ("python", f"import os\nos.system('{BAD}')", (2, 12)),
        ("python", f'os.system("""\n{BAD}\n""")', (2, 1)),
        ("python", "f(['rm', 1])\nrun(['rm', '-rf', '/'])", (2, 7)),
    ],
)
def test_a_finding_tells_where_it_begins(language, text, place):
    """In characters from 1, also in code within code."""
    assert places(language, text) == [place]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("bash", "bash -o pipefail -ec 'sudo rm -rf /'"),
        ("bash", """bash -c "python3 -c 'import os; os.system(\\"rm -rf /\\")'" """),
        ("bash", "env -i A=b timeout -s KILL 5 nice -n 3 rm -rf /"),
        ("bash", "find . -name x | xargs -n 1 rm -rf /"),
        ("bash", "x=$(echo a; sh -c 'rm -rf /')"),
        ("bash", "python3.11 - <<'END'\nimport shutil\nshutil.rmtree('/')\nEND\n"),
        ("bash", "node -e \"require('fs').rmSync('/')\""),
        ("bash", "bash <<< 'rm -rf /'"),
        ("bash", "printf 'rm -rf /' | bash -s -- x"),
        ("python", "subprocess.run(['bash', '-lc', 'rm -rf /'])"),
        ("python", "exec('import os\\nos.system(\"rm -rf /\")')"),
        ("python", "os.execvp('rm', ['rm', '-rf', '/'])"),
        ("python", "os.system('rm' ' -rf /')"),
        ("javascript", "cp.spawnSync('sh', ['-c', 'rm -rf /'])"),
        ("typescript", "new Function('eval(`fs.rmSync(\"/\")`)')"),
    ],
)
def test_code_within_code_is_looked_into(language, text):
    """As far as it stands there."""
    assert [it.rule_id for it in ENGINE.findings(Code(language, text))] == [
        "no-removing-the-system"
    ]


@pytest.mark.parametrize("line", ["bash", "sh -s", "python3 -", "cat x; bash"])
def test_code_that_comes_by_standard_input_is_looked_into(line):
    """`python -` with the program in stdin is how many call it."""
    code = "shutil.rmtree('/')" if "python" in line else BAD

    assert [it.rule_id for it in ENGINE.findings(Code("bash", line, code))] == [
        "no-removing-the-system"
    ]


@pytest.mark.parametrize("line", ["cat", "bash script.sh", "python3 -m json.tool", "cat x | bash"])
def test_input_that_is_no_program_is_not_code(line):
    """Data may say what it likes."""
    assert places("bash", line, BAD) == []


def test_code_is_looked_into_only_so_deep():
    """Somebody who nests deeper than that wants to be found by the isolation."""
    assert len(places("bash", "sudo " * 4 + BAD)) == 1
    assert places("bash", "sudo " * 5 + BAD) == []


def test_more_code_within_code_than_is_looked_into_is_said():
    """It is not passed over in silence."""
    with pytest.raises(TooNestedError):
        ENGINE.findings(Code("bash", "sudo true\n" * 1001 + BAD))
    with pytest.raises(TooNestedError):
        ENGINE.findings(Code("bash", "sudo x $(" * 500 + BAD + ")" * 500))


def test_findings_are_in_order_and_the_strictest_stay_when_there_are_too_many():
    """A denial does not hide behind a hundred warnings."""
    text = "cat /etc/shadow\n" * 150 + BAD
    found = ENGINE.findings(Code("bash", text))

    assert len(found) == FINDINGS_MAX
    assert found[-1].action is Action.DENY
    assert [it.line for it in found] == sorted(it.line for it in found)


def test_what_no_rule_can_be_about_is_not_parsed():
    """The plain case costs a search for some words."""
    assert not ENGINE.worth_parsing(Code("bash", "npm install && npm run build"))
    assert not ENGINE.worth_parsing(Code("python", "for i in range(3): print(i)"))
    assert ENGINE.worth_parsing(Code("bash", "rm -rf build"))
    assert ENGINE.worth_parsing(Code("python", 'os.system("cd /tmp\\nrm -rf /")'))
    assert ENGINE.worth_parsing(Code("bash", "python3 -", "shutil.rmtree('/')"))


_HINTS = sorted({hint for rule in SHIPPED for group in rule.hints for hint in group})
_OPENING = (
    "$( ${ <<A\n (( [[ if do while case def lambda f' ''' => `${ function sudo eval exec( run([ "
    "os.system( bash\t-c\t'"
)
_PIECES = st.sampled_from(
    [*_HINTS, *"()[]{}<>|&;'\"`$\\\n\t #=:,./-*@\0", *_OPENING.split(" "), BAD, "é", "\U0001d11e"]
)
_TEXTS = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200).map(lambda it: it.decode(errors="replace")),
    st.lists(_PIECES, max_size=60).map("".join),
    st.tuples(_PIECES, _PIECES, st.integers(1, 400)).map(
        lambda it: it[0] * it[2] + BAD + it[1] * it[2]
    ),
)


@settings(max_examples=400, deadline=None)
@given(language=st.sampled_from(["bash", "python", "javascript", "typescript"]), text=_TEXTS)
def test_no_text_brings_the_engine_down(language, text):
    """Whatever a model writes, and whatever somebody makes it write."""
    try:
        found = ENGINE.findings(Code(language, text, text))
    except TooNestedError:
        return
    lines = text.count("\n") + 1

    assert len(found) <= FINDINGS_MAX
    assert all(1 <= it.line <= lines and it.column >= 1 for it in found)


@settings(max_examples=200, deadline=None)
@given(before=st.text(alphabet="ab \n\t#.é", max_size=40))
def test_what_stands_before_it_does_not_hide_a_finding(before):
    """And its place is the one where it stands."""
    text = f"{before}\n{BAD}"

    assert (text.count("\n") + 1, 1) in places("bash", text)


@pytest.mark.parametrize(
    ("language", "opening", "closing"),
    [
        ("python", "(", ")"),
        ("python", "not ", ""),
        ("python", "[", "]"),
        ("javascript", "[", "]"),
        ("javascript", "`${", "}`"),
        ("bash", "$(", ")"),
        ("bash", '"$(', ')"'),
        ("bash", "{ ", ";}"),
        ("bash", "a |", ""),
        ("bash", "if ", ""),
    ],
)
def test_depth_is_no_danger(language, opening, closing):
    """A parser that calls itself would end the process."""
    text = opening * 1_500 + " rm " + closing * 1_500

    assert ENGINE.worth_parsing(Code("bash", "rm -rf /"))
    assert isinstance(ENGINE.findings(Code(language, text)), tuple)
