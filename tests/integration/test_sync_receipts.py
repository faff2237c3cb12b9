"""Receipts of syncs with an id, which outlive the service that gave them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, failure, program, until
from tests.support.local import backend
from tests.support.service import served
from tests.support.trees import File, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = {"app.py": File(b"app"), "bin/run": File(b"run", 0o755)}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[dict[str, str]]:
    """A backend that outlives the service."""
    with backend() as environment:
        yield environment


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a service and its successor share."""
    folder = tmp_path_factory.mktemp("state")
    folder.chmod(0o711)
    return folder


async def sync(box: Box, tree: dict[str, File], **fields: object) -> pb.SyncFilesResponse:
    return await box.client.sync([header(box.sandbox_id, "project", **fields), *parts(tree)])


async def kept(box: Box, count: int) -> None:
    """Wait until that many reload results are kept, which happens after the answer."""

    async def looked() -> bool:
        return (await box.run("ls .sandbox-sync/receipts/*.reload | wc -l")).text == f"{count}\n"

    await until(looked)


async def test_a_retry_after_a_restart_gets_the_stored_receipt_and_reloads_nothing(
    elsewhere: dict[str, str], state: Any
) -> None:
    """The contract promises it for as long as the sandbox lives, not the service."""
    fields = {"sync_id": "rev-1", "reload": {"program": program("echo x >> ~/reloads; exit 3")}}
    with served(env=elsewhere, state=state) as service:
        async with Client.connected(service.grpc_address, "acme") as client:
            box = await client.sandbox()
            first = await sync(box, APP, **fields)
            await kept(box, 1)
    with served(env=elsewhere, state=state) as service:
        async with Client.connected(service.grpc_address, "acme") as client:
            box = Box(client, box.sandbox_id)
            again = await sync(box, APP, **fields)
            other = await failure(sync(box, {"app.py": File(b"other")}, **fields))
            ran = await box.run("cat reloads project/app.py")
            await client.destroy(box.sandbox_id)

    assert (first.reused, again.reused) == (False, True)
    assert first.reload.exit_code == 3
    for one in (first, again):
        one.ClearField("reused")
        # Where the time went outside of the sandbox is not kept.
        one.ClearField("timings")
    assert again == first
    assert other.seen == ("ALREADY_EXISTS", "SYNC_ID_REUSED")
    assert other.metadata["sync_id"] == "rev-1"
    assert ran.text == "x\napp"


async def test_a_reload_whose_result_was_lost_with_the_service_is_not_run_again(
    elsewhere: dict[str, str], state: Any
) -> None:
    """The sandbox itself knows that it ran."""
    fields = {"sync_id": "rev-1", "reload": {"program": program("echo x >> ~/reloads")}}
    with served(env=elsewhere, state=state) as service:
        async with Client.connected(service.grpc_address, "acme") as client:
            box = await client.sandbox()
            await sync(box, APP, **fields)
            await kept(box, 1)
            await box.run("rm .sandbox-sync/receipts/*.reload")
    with served(env=elsewhere, state=state) as service:
        async with Client.connected(service.grpc_address, "acme") as client:
            box = Box(client, box.sandbox_id)
            again = await sync(box, APP, **fields)
            ran = await box.run("cat reloads")
            await client.destroy(box.sandbox_id)

    assert again.reused
    assert again.added == 2
    assert ran.text == "x\n"


async def test_a_receipt_is_kept_for_a_day(box: Box) -> None:
    """Then its place is needed for others."""
    sync_id = f"rev-{secrets.token_hex(4)}"
    await sync(box, APP, sync_id=sync_id)
    again = await sync(box, APP, sync_id=sync_id)
    await box.run("touch -d '25 hours ago' .sandbox-sync/receipts/*")
    await sync(box, APP, sync_id=f"rev-{secrets.token_hex(4)}")

    async def gone() -> bool:
        found = await box.run("find .sandbox-sync/receipts -type f | wc -l")
        return int(found.text) == 1

    await until(gone)
    assert again.reused
    assert not (await sync(box, APP, sync_id=sync_id)).reused


async def test_a_receipt_that_was_tampered_with_is_no_failure_of_the_service(box: Box) -> None:
    """A program in the sandbox may write what it likes there."""
    sync_id = f"rev-{secrets.token_hex(4)}"
    await sync(box, APP, sync_id=sync_id)
    await box.run(
        "for it in .sandbox-sync/receipts/*; do "
        "read -r -d '' asked <$it; printf '%s\\0x\\0=end\\0' $asked >$it; done"
    )
    error = await failure(sync(box, APP, sync_id=sync_id))

    assert error.seen == ("INTERNAL", "BACKEND_PROTOCOL_ERROR")
