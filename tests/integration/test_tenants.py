"""Who calls, and what they may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, failure, program

pytestmark = pytest.mark.asyncio(loop_scope="session")


def later():
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    return time


def on(client, sandbox_id):
    """Every RPC that names a sandbox, as a coroutine that makes the call."""
    header = pb.SyncFilesRequest(header=pb.SyncFilesHeader(sandbox_id=sandbox_id, root="app"))
    named = {"sandbox_id": sandbox_id}
    return {
        "Status": lambda: client.call("Status", pb.StatusRequest(**named)),
        "ExtendLifetime": lambda: client.call(
            "ExtendLifetime", pb.ExtendLifetimeRequest(**named, expire_time=later())
        ),
        "Exec": lambda: client.call(
            "Exec", pb.ExecRequest(**named, program=program("touch /tmp/trespass"))
        ).read(),
        "SyncFiles": lambda: client.sync([header]),
        "ReadFile": lambda: client.call(
            "ReadFile", pb.ReadFileRequest(**named, path="/etc/passwd")
        ).read(),
        "ListFiles": lambda: client.call("ListFiles", pb.ListFilesRequest(**named, path="/")),
        "DownloadTree": lambda: client.call(
            "DownloadTree", pb.DownloadTreeRequest(**named, root="/etc")
        ).read(),
        "GetPreview": lambda: client.call("GetPreview", pb.GetPreviewRequest(**named)),
        "Destroy": lambda: client.call("Destroy", pb.DestroyRequest(**named)),
    }


METHODS = list(on(None, ""))


@pytest.mark.parametrize("method", METHODS)
async def test_another_tenants_sandbox_is_not_found(client, box, method):
    """As if it were not there: not even its existence is told."""
    foreign = await failure(on(client, box.sandbox_id)[method]())
    unknown = await failure(on(client, "i00000000000000000000")[method]())

    assert foreign.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")
    assert foreign.metadata["sandbox_id"] == box.sandbox_id
    assert foreign.message.replace(box.sandbox_id, "") == unknown.message.replace(
        "i00000000000000000000", ""
    )
    assert set(foreign.metadata) == set(unknown.metadata)
    assert foreign.details["ResourceInfo"].resource_name == box.sandbox_id


async def test_another_tenants_sandbox_is_untouched_by_all_those_calls(client, box):
    """Refused means that nothing was done."""
    before = await box.client.status(box.sandbox_id)
    for call in on(client, box.sandbox_id).values():
        await failure(call())
    after = await box.client.status(box.sandbox_id)

    assert after.sandbox == before.sandbox
    assert (await box.run("test -e /tmp/trespass")).outcome == ("EXIT", 1)


async def test_a_tenant_lists_only_its_own(client, box):
    """Whatever filter it sends."""
    mine = await client.create()
    everything = await client.list()
    theirs = await client.list(metadata={"x": "y"}, tenant_id=client.tenant)

    assert [it.sandbox_id for it in everything.sandboxes] == [mine.sandbox.sandbox_id]
    assert list(theirs.sandboxes) == []


async def test_a_tenant_that_names_another_one_in_list_is_told_that_it_may_not(client, box):
    """An empty page would say that there is nothing."""
    error = await failure(client.list(tenant_id=box.client.tenant))

    assert error.seen == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert error.metadata["required_role"] == "fleet"


async def test_the_fleet_role_sees_all_tenants(client, box):
    """For the people who operate it."""
    mine = await client.create()
    fleet = client.other("operator", x_miosa_role="fleet")
    tenants = {it.tenant_id for it in (await fleet.list(page_size=1000)).sandboxes}
    one = await fleet.list(tenant_id=client.tenant)
    status = await fleet.status(mine.sandbox.sandbox_id)

    assert {client.tenant, box.client.tenant} <= tenants
    assert [it.sandbox_id for it in one.sandboxes] == [mine.sandbox.sandbox_id]
    assert status.sandbox.tenant_id == client.tenant


async def test_another_role_is_no_fleet_role(client, box):
    """Roles are matched, not guessed."""
    other = client.other("operator", x_miosa_role="fleets")

    assert list((await other.list()).sandboxes) == []
    assert (await failure(other.status(box.sandbox_id))).reason == "SANDBOX_NOT_FOUND"


async def test_the_user_is_remembered(client):
    """Who made it is told to whoever looks."""
    person = client.other(client.tenant, x_miosa_user_id="alice@example.com")
    answer = await person.create()
    status = await client.status(answer.sandbox.sandbox_id)
    await person.destroy_all()

    assert answer.sandbox.user_id == "alice@example.com"
    assert status.sandbox.user_id == "alice@example.com"


@pytest.mark.parametrize("method", ["Create", "List", "GetCapabilities", *METHODS])
async def test_a_call_without_a_tenant_is_unauthenticated(client, method):
    """Before anything of it is read."""
    nobody = Client.on(client.channel, "")
    calls = {
        **on(nobody, "i00000000000000000000"),
        "Create": lambda: nobody.create(),
        "List": lambda: nobody.list(),
        "GetCapabilities": lambda: nobody.call("GetCapabilities", pb.GetCapabilitiesRequest()),
    }
    error = await failure(calls[method]())

    assert error.seen == ("UNAUTHENTICATED", "TENANT_REQUIRED")


@pytest.mark.parametrize("tenant", ["a b", "x" * 129])
async def test_a_tenant_that_is_no_name_is_told_as_one_that_is_missing(client, tenant):
    """What the contract says of TENANT_REQUIRED: or what they say is no tenant's name."""
    error = await failure(Client.on(client.channel, tenant).list())

    assert error.seen == ("UNAUTHENTICATED", "TENANT_REQUIRED")


async def test_a_key_of_another_tenant_is_no_key_of_mine(client):
    """Nor is its exec's id."""
    other = client.other()
    mine = await client.create(idempotency_key="same")
    theirs = await other.create(idempotency_key="same")
    await other.destroy_all()

    assert mine.sandbox.sandbox_id != theirs.sandbox.sandbox_id
