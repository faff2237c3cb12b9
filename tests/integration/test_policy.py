"""The code policy through the service: what is refused, what is told, and for whom."""

from __future__ import annotations

import secrets

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, failure, program, source
from tests.support.service import served
from tests.support.trees import File, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINER = "nohup ./xmrig -o pool.example:3333 &"
SECRETS = "cat /etc/shadow || true"
RULE = """
id: no-hello
language: python
severity: error
message: Do not say hello.
rule: {pattern: print("hello")}
"""


@pytest.fixture(scope="module")
def other_service(tmp_path_factory):
    """A service with rules of its own, milder for some tenants."""
    rules = tmp_path_factory.mktemp("rules")
    (rules / "rules.yaml").write_text(RULE)
    arguments = (f"--policy-rules={rules}", "--policy-tenants=mild=warn,free=off")
    with served(*arguments, "--policy-bytes-max=2048", "--policy-unchecked=deny") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def as_tenant(other_service):
    """Return a caller of that service, as a tenant of the given name."""
    async with Client.connected(other_service.grpc_address) as client:
        others = []

        def of(tenant):
            others.append(client.other(tenant))
            return others[-1]

        yield of
        for other in others:
            await other.destroy_all()


def found(verdict):
    return [(it.rule_id, it.line, it.column) for it in verdict.findings]


@pytest.mark.parametrize(
    ("what", "place"),
    [
        (f"touch /tmp/ran; {MINER}", (1, 23)),
        (["bash", "-c", f"touch /tmp/ran; {MINER}"], (1, 32)),
        (source("bash", f"touch /tmp/ran\n{MINER}\n"), (2, 7)),
        (source("python", f"open('/tmp/ran', 'w')\nimport os; os.system('{MINER}')"), (2, 29)),
        (source("javascript", f"require('child_process').exec('{MINER}')"), (1, 38)),
    ],
    ids=["shell", "argv", "bash", "python", "javascript"],
)
async def test_a_denied_program_is_refused_and_nothing_was_started(box, service, what, place):
    """With the rule and the place, and without a word of the code."""
    error = await failure(box.run(what))
    ran = await box.run("test -e /tmp/ran")

    assert error.seen == ("PERMISSION_DENIED", "POLICY_DENIED")
    assert error.metadata["rule_ids"] == "no-crypto-miner"
    assert error.metadata["enforced_by"] == "SERVICE"
    assert "This starts a crypto miner." in error.message
    verdict = error.details["PolicyVerdict"]
    assert verdict.action == pb.POLICY_ACTION_DENY
    assert found(verdict) == [("no-crypto-miner", *place)]
    assert ran.exited.exit_code == 1
    logged = [it for it in service.log_since_mark().splitlines() if "policy.findings" in it]
    assert "no-crypto-miner" in logged[0]
    assert "xmrig" not in logged[0]


async def test_a_program_with_a_warning_runs_and_is_told(box, service):
    """`started` says what was found and where."""
    before = service.metric("sandbox_policy_findings_total", rule="reading-secrets", action="warn")
    ran = await box.run(f"echo fine\n{SECRETS}")
    verdict = ran.started.verdict

    assert ran.text.startswith("fine")
    assert (verdict.action, verdict.enforced_by) == (
        pb.POLICY_ACTION_WARN,
        pb.POLICY_ENFORCER_SERVICE,
    )
    assert found(verdict) == [("reading-secrets", 2, 1)]
    assert verdict.findings[0].message == "This reads a file of secrets."
    counted = service.metric("sandbox_policy_findings_total", rule="reading-secrets", action="warn")
    assert counted == before + 1


async def test_a_plain_program_is_told_to_be_allowed(box):
    """By this service, which has looked."""
    verdict = (await box.run("true")).started.verdict

    assert (verdict.action, verdict.enforced_by) == (
        pb.POLICY_ACTION_ALLOW,
        pb.POLICY_ENFORCER_SERVICE,
    )
    assert not verdict.findings


async def test_a_denied_exec_does_not_use_up_its_id(box):
    """It never ran."""
    exec_id = f"x-{secrets.token_hex(4)}"
    error = await failure(box.run(MINER, exec_id=exec_id))
    ran = await box.run("echo fine", exec_id=exec_id)

    assert error.reason == "POLICY_DENIED"
    assert ran.stdout == b"fine\n"


async def test_code_from_standard_input_is_code(box):
    """`bash` with a script in stdin is how many call it."""
    stdin = pb.Stdin(mode=pb.STDIN_MODE_BYTES, data=MINER.encode())

    assert (await failure(box.run("bash", stdin=stdin))).reason == "POLICY_DENIED"
    assert (await box.run("cat", stdin=stdin)).stdout == MINER.encode()


async def test_a_denied_setup_step_leaves_no_sandbox_and_runs_no_step(client):
    """It is refused before there is anything to run it in."""
    steps = [
        pb.SetupStep(program=program("echo fine")),
        pb.SetupStep(program=program(MINER), name="mine"),
    ]
    error = await failure(client.create(setup_steps=steps))

    assert error.seen == ("PERMISSION_DENIED", "POLICY_DENIED")
    assert "setup step 1 'mine'" in error.message
    assert not (await client.list()).sandboxes


async def test_setup_steps_tell_their_verdicts(client):
    """At once, and whenever somebody asks."""
    steps = [pb.SetupStep(program=program("true")), pb.SetupStep(program=program(SECRETS))]
    answer = await client.create(setup_steps=steps)
    status = await client.status(answer.sandbox.sandbox_id)

    verdicts = [it.verdict for it in answer.setup_results]
    assert [it.action for it in verdicts] == [pb.POLICY_ACTION_ALLOW, pb.POLICY_ACTION_WARN]
    assert found(verdicts[1]) == [("reading-secrets", 1, 1)]
    assert [it.verdict for it in status.sandbox.setup_results] == verdicts


async def test_a_create_that_only_validates_is_a_dry_run_of_its_setup(client):
    """Nothing is made, nothing runs, and everything is said."""
    steps = [pb.SetupStep(program=program(SECRETS), name="look")]
    answer = await client.create(setup_steps=steps, validate_only=True)
    denied = await failure(
        client.create(setup_steps=[pb.SetupStep(program=program(MINER))], validate_only=True)
    )

    [result] = answer.setup_results
    assert (result.name, result.exec_id) == ("look", "setup-1")
    assert result.state == pb.SETUP_STATE_PENDING
    assert not result.HasField("exit_code")
    assert found(result.verdict) == [("reading-secrets", 1, 1)]
    assert denied.reason == "POLICY_DENIED"
    assert not (await client.list()).sandboxes


async def test_a_denied_reload_writes_nothing(box):
    """The sync is refused as a whole."""
    root = f"/tmp/policy-{secrets.token_hex(4)}"
    reload = pb.ReloadAction(program=program(MINER))
    error = await failure(
        box.client.sync([header(box.sandbox_id, root, reload=reload), *parts({"a": File(b"a")})])
    )
    left = await box.run(f"ls {root}")

    assert error.seen == ("PERMISSION_DENIED", "POLICY_DENIED")
    assert "the reload action" in error.message
    assert left.outcome[1] != 0


async def test_a_reload_tells_its_verdict(box):
    """In the receipt."""
    root = f"/tmp/policy-{secrets.token_hex(4)}"
    reload = pb.ReloadAction(program=program(SECRETS))
    receipt = await box.client.sync(
        [header(box.sandbox_id, root, reload=reload), *parts({"a": File(b"a")})]
    )

    assert receipt.added == 1
    assert found(receipt.reload.verdict) == [("reading-secrets", 1, 1)]


async def test_a_folder_of_rules_replaces_the_shipped_ones(as_tenant):
    """They are this deployment's policy."""
    box = await as_tenant("some").sandbox()
    error = await failure(box.run(source("python", 'x = 1\nprint("hello")')))
    ran = await box.run(SECRETS)

    assert error.metadata["rule_ids"] == "no-hello"
    assert found(error.details["PolicyVerdict"]) == [("no-hello", 2, 1)]
    assert ran.started.verdict.action == pb.POLICY_ACTION_ALLOW


async def test_a_tenants_mode_is_its_own(as_tenant):
    """What is denied to one is told to another, and not looked at for a third."""
    code = source("python", 'print("hello")')
    mild = await (await as_tenant("mild").sandbox()).run(code)
    free = await (await as_tenant("free").sandbox()).run(code)

    assert mild.stdout == free.stdout == b"hello\n"
    assert [it.action for it in mild.started.verdict.findings] == [pb.POLICY_ACTION_WARN]
    assert mild.started.verdict.action == pb.POLICY_ACTION_WARN
    assert free.started.verdict.enforced_by == pb.POLICY_ENFORCER_UNSPECIFIED
    assert not free.started.verdict.findings


async def test_code_that_is_too_large_is_what_the_operator_says(as_tenant):
    """Here: denied, but only warned of where the tenant's mode says no more."""
    large = source("python", "x = 1\n" * 400)
    some = await as_tenant("some").sandbox()
    mild = await as_tenant("mild").sandbox()

    assert (await failure(some.run(large))).metadata["rule_ids"] == "too-large-to-check"
    verdict = (await mild.run(large)).started.verdict
    assert [(it.rule_id, it.action) for it in verdict.findings] == [
        ("too-large-to-check", pb.POLICY_ACTION_WARN)
    ]
