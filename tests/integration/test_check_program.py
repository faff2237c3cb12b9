"""CheckProgram: what Exec would say of a program, without a sandbox."""

from __future__ import annotations

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, failure, program, source
from tests.support.service import served

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINER = "./xmrig -o pool.example:3333"


async def check(client, what, stdin=b""):
    request = pb.CheckProgramRequest(program=program(what), stdin_data=stdin)
    return (await client.call("CheckProgram", request)).verdict


@pytest.mark.parametrize(
    ("what", "line", "column"),
    [
        (f"cd /tmp\n{MINER}", 2, 1),
        (["bash", "-c", MINER], 1, 10),
        (source("bash", f"\n\n{MINER}\n"), 3, 1),
        (source("python", f"import os; os.system('{MINER}')"), 1, 23),
        (source("javascript", f"require('child_process').exec('{MINER}')"), 1, 32),
    ],
    ids=["shell", "argv", "bash", "python", "javascript"],
)
async def test_a_program_that_exec_would_refuse_is_an_answer(client, what, line, column):
    """With the rule, its words and the place."""
    verdict = await check(client, what)
    (finding,) = verdict.findings

    assert verdict.action == pb.POLICY_ACTION_DENY
    assert verdict.enforced_by == pb.POLICY_ENFORCER_SERVICE
    assert (finding.rule_id, finding.line, finding.column) == ("no-crypto-miner", line, column)
    assert finding.message == "This starts a crypto miner."


async def test_the_verdict_is_the_one_that_exec_comes_to(box):
    """To the letter, be it a warning or none."""
    for what in ("true", "cat /etc/shadow || true"):
        verdict = await check(box.client, what)
        assert verdict == (await box.run(what)).started.verdict
    refused = await failure(box.run(MINER))
    assert await check(box.client, MINER) == refused.details["PolicyVerdict"]


async def test_what_a_shell_would_read_is_looked_at_too(client):
    """Code may come by standard input."""
    assert (await check(client, "bash -s", MINER.encode())).action == pb.POLICY_ACTION_DENY
    assert (await check(client, "cat", MINER.encode())).action == pb.POLICY_ACTION_ALLOW


async def test_code_of_a_language_without_rules_is_allowed(client):
    """Whether a template runs it is another question."""
    verdict = await check(client, source("cobol", "STOP RUN."))

    assert (verdict.action, list(verdict.findings)) == (pb.POLICY_ACTION_ALLOW, [])


async def test_there_has_to_be_a_program(client):
    """An empty request asks nothing."""
    error = await failure(client.call("CheckProgram", pb.CheckProgramRequest()))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error.fields == ["program"]


async def test_each_tenant_gets_its_own_verdict():
    """As its mode says; where the policy is off, nobody enforces anything."""
    with served("--policy-tenants=mild=warn,free=off") as service:
        async with Client.connected(service.grpc_address) as client:
            mild, free = [await check(client.other(it), MINER) for it in ("mild", "free")]

    assert mild.action == pb.POLICY_ACTION_WARN
    assert (free.action, free.enforced_by) == (
        pb.POLICY_ACTION_ALLOW,
        pb.POLICY_ENFORCER_UNSPECIFIED,
    )


@pytest.mark.parametrize("mode", ["deny", "off"])
async def test_capabilities_tell_whether_there_is_a_policy(mode):
    """A caller that shows verdicts to people asks first."""
    with served(f"--policy-mode={mode}") as service:
        async with Client.connected(service.grpc_address) as client:
            told = await client.call("GetCapabilities", pb.GetCapabilitiesRequest())
    (it,) = [it for it in told.features if it.feature == pb.FEATURE_CODE_POLICY]

    assert it.supported is (mode == "deny")
    assert it.note
