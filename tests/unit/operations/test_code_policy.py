"""The code policy as a deployment has it: modes, tenants, what cannot be checked, counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from sandbox_service.domain.errors import PolicyDeniedError
from sandbox_service.domain.execs import ExecSpec, ShellCommand, SourceCode
from sandbox_service.domain.policy import UNCHECKED, Action, Finding, Mode, PolicyTerms, Verdict
from sandbox_service.operations.policy.code_policy import CodePolicy, UncheckedError
from sandbox_service.operations.policy.engine import Code, Engine
from sandbox_service.operations.policy.rules import RuleSet
from sandbox_service.telemetry.metrics import Metrics

SHIPPED = RuleSet.load(None)
DENIED = ShellCommand("true\nrm -rf /; cat /etc/shadow")
WARNED = ShellCommand("cat /etc/shadow")
FINE = ShellCommand("npm test")


class Here:
    """A checker in this process, which tells what it was given."""

    def __init__(self, failure: str = "") -> None:
        self.seen: list[Code] = []
        self._failure = failure

    async def findings(self, code: Code) -> Sequence[Finding]:
        self.seen.append(code)
        if self._failure:
            raise UncheckedError(self._failure)
        return Engine(SHIPPED).findings(code)


class Bench:
    def __init__(self, failure: str = "", **terms) -> None:
        self.checker = Here(failure)
        self.metrics = Metrics(CollectorRegistry())
        self.policy = CodePolicy(SHIPPED, self.checker, PolicyTerms(**terms), self.metrics)

    async def verdict(self, program, tenant="acme", **spec) -> Verdict:
        checked = await self.policy.checked(tenant, ExecSpec(program=program, **spec))
        assert checked.verdict is not None
        return checked.verdict

    def counted(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels) or 0


async def test_a_program_that_a_rule_denies_is_refused_with_all_that_was_found():
    """So that whoever wrote it can change all of it at once."""
    bench = Bench()
    with pytest.raises(PolicyDeniedError) as caught:
        await bench.verdict(DENIED)
    error = caught.value

    assert [(it.rule_id, it.action, it.line, it.column) for it in error.verdict.findings] == [
        ("no-removing-the-system", Action.DENY, 2, 1),
        ("reading-secrets", Action.WARN, 2, 11),
    ]
    assert error.metadata == {"rule_ids": "no-removing-the-system", "enforced_by": "SERVICE"}
    assert "the program: This removes the system's own files. (rule no-removing-the-system" in str(
        error
    )
    assert "rm -rf" not in str(error)


async def test_a_finding_that_only_warns_is_told_and_the_program_runs():
    """The verdict is its strictest finding's."""
    verdict = await Bench().verdict(WARNED)

    assert verdict.action is Action.WARN
    assert verdict.enforced
    assert verdict.rule_ids == ("reading-secrets",)


async def test_a_plain_program_is_never_parsed():
    """It costs a search for some words, and no other process."""
    bench = Bench()

    assert await bench.verdict(FINE) == Verdict()
    assert bench.checker.seen == []


@pytest.mark.parametrize(
    ("mode", "actions"),
    [
        (Mode.ALLOW, [Action.ALLOW, Action.ALLOW]),
        (Mode.WARN, [Action.WARN, Action.WARN]),
    ],
)
async def test_a_mode_is_the_strictest_action_that_is_taken(mode, actions):
    """A new policy can be watched before it denies anything."""
    verdict = await Bench(mode=mode).verdict(DENIED)

    assert [it.action for it in verdict.findings] == actions
    assert verdict.enforced


async def test_off_looks_at_nothing():
    """And says that nobody enforces anything."""
    bench = Bench(mode=Mode.OFF)

    assert await bench.verdict(DENIED) == UNCHECKED
    assert bench.checker.seen == []
    assert bench.counted("sandbox_policy_verdicts_total", action="allow") == 0


async def test_a_tenant_can_have_a_mode_of_its_own():
    """Stricter or milder than the others'."""
    bench = Bench(mode=Mode.WARN, tenants={"strict": Mode.DENY, "free": Mode.OFF})

    assert (await bench.verdict(DENIED)).action is Action.WARN
    assert await bench.verdict(DENIED, tenant="free") == UNCHECKED
    with pytest.raises(PolicyDeniedError):
        await bench.verdict(DENIED, tenant="strict")


async def test_code_that_is_too_large_is_not_checked_and_said():
    """The operator decides what that means."""
    large = SourceCode("python", b"x = 1\n" * 200)
    bench = Bench(bytes_max=1024)
    [finding] = (await bench.verdict(large)).findings

    assert finding.rule_id == "too-large-to-check"
    assert finding.action is Action.WARN
    assert "1200 bytes" in finding.message
    assert bench.checker.seen == []
    with pytest.raises(PolicyDeniedError):
        await Bench(bytes_max=1024, unchecked=Action.DENY).verdict(large)
    assert (await Bench(bytes_max=1200).verdict(large)).findings == ()


async def test_the_size_is_counted_in_bytes():
    """As every limit of the contract is."""
    assert (await Bench(bytes_max=1024).verdict(ShellCommand("é" * 513))).rule_ids == (
        "too-large-to-check",
    )


async def test_long_code_is_not_even_searched_in_this_process():
    """That would hold up every other call."""
    bench = Bench()
    await bench.verdict(ShellCommand("echo fine\n" * 7000))

    assert len(bench.checker.seen) == 1


async def test_code_that_could_not_be_checked_is_told_as_such():
    """A policy that failed is not one that found nothing."""
    bench = Bench("it takes too long")
    [finding] = (await bench.verdict(DENIED)).findings

    assert (finding.rule_id, finding.action) == ("not-checked", Action.WARN)
    assert "it takes too long" in finding.message
    with pytest.raises(PolicyDeniedError):
        await Bench("it failed", unchecked=Action.DENY).verdict(DENIED)
    assert (await Bench("it failed", mode=Mode.WARN, unchecked=Action.DENY).verdict(DENIED)).action


async def test_source_code_of_a_language_without_rules_passes():
    """There is nothing to find in it."""
    assert await Bench().verdict(SourceCode("cobol", b"rm -rf /")) == Verdict()


async def test_what_a_program_is_given_as_input_counts_when_it_is_code():
    """`python -` with the program in stdin is how many call it."""
    with pytest.raises(PolicyDeniedError):
        await Bench().verdict(ShellCommand("bash -s"), stdin=b"rm -rf /")
    assert (await Bench().verdict(ShellCommand("cat"), stdin=b"rm -rf /")).findings == ()


async def test_verdicts_and_findings_are_counted():
    """By rule, so that a noisy one is seen."""
    bench = Bench()
    await bench.verdict(FINE)
    await bench.verdict(WARNED)
    with pytest.raises(PolicyDeniedError):
        await bench.verdict(DENIED)

    verdicts = [
        bench.counted("sandbox_policy_verdicts_total", action=it)
        for it in ("allow", "warn", "deny")
    ]
    assert verdicts == [1, 1, 1]
    assert (
        bench.counted("sandbox_policy_findings_total", rule="reading-secrets", action="warn") == 2
    )
    assert bench.counted("sandbox_policy_seconds_count") == 3
