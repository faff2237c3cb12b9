"""Verdicts of the code policy as messages."""

from __future__ import annotations

from miosa.sandbox.v1 import policy_pb2

from sandbox_service.domain.policy import Verdict


def verdict(it: Verdict, bytes_max: int | None = None) -> policy_pb2.PolicyVerdict:
    """Return what the code policy says of a program.

    Args:
        it: What it says.
        bytes_max: How large the message may be: the last findings are left out,
            the strictest ones stay. None: as large as it gets.
    """
    message = policy_pb2.PolicyVerdict(
        action=f"POLICY_ACTION_{it.action.name}",
        enforced_by=(
            policy_pb2.POLICY_ENFORCER_SERVICE
            if it.enforced
            else policy_pb2.POLICY_ENFORCER_UNSPECIFIED
        ),
    )
    findings = [
        policy_pb2.PolicyFinding(
            rule_id=finding.rule_id,
            action=f"POLICY_ACTION_{finding.action.name}",
            message=finding.message,
            line=finding.line,
            column=finding.column,
        )
        for finding in it.findings
    ]
    if bytes_max is not None:
        findings = _fitting(findings, bytes_max - message.ByteSize())
    message.findings.extend(findings)
    return message


def _fitting(findings: list[policy_pb2.PolicyFinding], room: int) -> list[policy_pb2.PolicyFinding]:
    """Return those that fit into `room` bytes, in their order."""
    kept = []
    for index in sorted(range(len(findings)), key=lambda it: (-findings[it].action, it)):
        size = findings[index].ByteSize()
        room -= size + 3  # Its tag and its length.
        if room < 0:
            break
        kept.append(index)
    return [findings[index] for index in sorted(kept)]
