"""Every rule of the contract is checked on every request: one negative case for each."""

from __future__ import annotations

import protovalidate
import pytest
from google.protobuf.message import Message
from miosa.sandbox import v1 as pb

from tests.support import rules
from tests.support.calls import failure
from tests.support.plans import plan_header
from tests.support.trees import header

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMED = {"Exec", "Attach", "ReadFile", "DownloadTree"}


def sent(box, method, request: Message):
    """Call a method with a request in which the test's own sandbox stands."""
    if method == "SyncFiles":
        messages = [request]
        if request.WhichOneof("part") == "header":
            if request.header.sandbox_id == rules.BOX:
                request.header.sandbox_id = box.sandbox_id
        else:
            messages.insert(0, header(box.sandbox_id, "/tmp/validation"))
        return box.client.sync(messages)
    if method == "PlanSync":
        messages = [request]
        if request.WhichOneof("part") != "header":
            messages.insert(0, plan_header(box.sandbox_id, "/tmp/validation"))
        return box.client.stub.PlanSync(iter(messages), metadata=box.client.metadata).read()
    if "sandbox_id" in request.DESCRIPTOR.fields_by_name and request.sandbox_id == rules.BOX:
        request.sandbox_id = box.sandbox_id
    call = box.client.call(method, request)
    return call.read() if method in STREAMED else call


async def test_there_is_a_case_for_every_rule():
    """A new rule without one is found here."""
    assert rules.MISSING == []
    assert len(rules.CASES) > 100


@pytest.mark.parametrize("place", rules.PLACES, ids=lambda it: it[1].name)
async def test_the_request_that_a_case_begins_with_is_valid(place):
    """So that what a case breaks is what is refused."""
    protovalidate.validate(place[2])


@pytest.mark.parametrize("case", rules.CASES, ids=lambda case: case.rule)
async def test_a_request_that_breaks_a_rule_is_refused_with_the_fields_path(box, case):
    """Exactly that one is told, and the service goes on."""
    request = type(case.request)()
    request.CopyFrom(case.request)
    error = await failure(sent(box, case.method, request))
    violations = error.details["BadRequest"].field_violations

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert [(it.field, it.reason) for it in violations] == [(case.field, case.rule_id)]
    assert all(it.description for it in violations)
    assert error.metadata["field"] == case.field
    assert error.metadata["rule"] == case.rule_id


async def test_every_broken_rule_of_a_request_is_told_at_once(box):
    """Who mends them need not come back for the next."""
    request = pb.ExecRequest(sandbox_id="a b", exec_id="!", user="A", env={"1": "x"})
    error = await failure(box.client.call("Exec", request).read())

    assert sorted(error.fields) == ['env["1"]', "exec_id", "program", "sandbox_id", "user"]


async def test_what_is_refused_never_shows_the_value(box, service):
    """It may be a secret; neither the answer nor the log has it."""
    secret = "hunter2-" + "x" * 32768
    request = pb.ExecRequest(
        sandbox_id=box.sandbox_id, program={"shell_command": "true"}, env={"TOKEN": secret}
    )
    error = await failure(box.client.call("Exec", request).read())

    assert error.fields == ['env["TOKEN"]']
    assert "hunter2" not in error.message + str(error.details)
    assert "hunter2" not in service.log()


async def test_a_status_with_many_violations_stays_small(box):
    """Trailers are limited to a few KiB."""
    request = pb.CreateRequest(
        env={f"{number} {'x' * 100}": "" for number in range(200)},
        setup_steps=[{} for _ in range(32)],
    )
    error = await failure(box.client.call("Create", request))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert len(error.trailing["grpc-status-details-bin"]) <= 4096
