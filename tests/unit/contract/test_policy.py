"""Verdicts of the code policy, as messages."""

from __future__ import annotations

from google.protobuf.message import Message
from miosa.sandbox import v1 as pb

from sandbox_service.contract.errors import to_status
from sandbox_service.contract.policy import verdict
from sandbox_service.domain.errors import PolicyDeniedError
from sandbox_service.domain.policy import UNCHECKED, Action, Finding, Verdict


def finding(line: int, action: Action = Action.WARN) -> Finding:
    return Finding(rule_id=f"rule-{line}", action=action, message="m" * 200, line=line, column=7)


def test_a_verdict_tells_everything_that_was_found():
    """In the order of the code."""
    message = verdict(Verdict(findings=(finding(1), finding(2, Action.DENY))))

    assert message == pb.PolicyVerdict(
        action=pb.POLICY_ACTION_DENY,
        enforced_by=pb.POLICY_ENFORCER_SERVICE,
        findings=[
            pb.PolicyFinding(
                rule_id="rule-1", action=pb.POLICY_ACTION_WARN, message="m" * 200, line=1, column=7
            ),
            pb.PolicyFinding(
                rule_id="rule-2", action=pb.POLICY_ACTION_DENY, message="m" * 200, line=2, column=7
            ),
        ],
    )


def test_nothing_found_is_allowed_by_this_service():
    """Which is another thing than nobody having looked."""
    looked, not_looked = verdict(Verdict()), verdict(UNCHECKED)

    assert looked.action == not_looked.action == pb.POLICY_ACTION_ALLOW
    assert looked.enforced_by == pb.POLICY_ENFORCER_SERVICE
    assert not_looked.enforced_by == pb.POLICY_ENFORCER_UNSPECIFIED


def test_what_does_not_fit_is_left_out_and_what_denies_stays():
    """A refusal's trailers are small."""
    many = (*(finding(line) for line in range(1, 100)), finding(100, Action.DENY))
    message = verdict(Verdict(findings=many), bytes_max=2048)
    lines = [it.line for it in message.findings]

    assert message.ByteSize() <= 2048
    assert message.action == pb.POLICY_ACTION_DENY
    assert lines == [*range(1, len(lines)), 100]
    assert len(lines) > 5


def test_a_refusal_carries_its_verdict():
    """Rule, place and message, for whoever has to change the code."""
    denied = Verdict(findings=(finding(3, Action.DENY),))
    status = to_status(PolicyDeniedError.of(denied, "setup step 1"))
    told: Message = pb.PolicyVerdict()

    assert status.ByteSize() <= 4096
    assert [it.Unpack(told) for it in status.details].count(True) == 1
    assert told == verdict(denied)
    assert "setup step 1" in status.message
