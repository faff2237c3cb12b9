"""Forking: more sandboxes that go on from where one is."""

from __future__ import annotations

import e2b
import pytest


async def test_a_fork_has_the_files_and_a_life_of_its_own(sdk):
    """The original does not notice."""
    sandbox = await sdk.create(metadata={"of": "fork"}, envs={"GIVEN": "yes"})
    await sandbox.files.write("n", "then")
    forks = [sdk.adopt(fork) for fork in await sandbox.fork(count=3, timeout=90)]
    for fork in forks:
        await fork.files.write("n", fork.sandbox_id)

    assert len({sandbox.sandbox_id, *(fork.sandbox_id for fork in forks)}) == 4
    assert [await fork.files.read("n") for fork in forks] == [fork.sandbox_id for fork in forks]
    assert await sandbox.files.read("n") == "then"
    for fork in forks:
        info = await fork.get_info()
        assert info.state == e2b.SandboxState.RUNNING
        assert info.template_id == (await sandbox.get_info()).template_id
        assert (await fork.commands.run("echo $GIVEN $E2B_SANDBOX_ID")).stdout == (
            f"yes {fork.sandbox_id}\n"
        )


async def test_one_fork_is_made_unless_asked(wire, own_box):
    """A list of results, each a sandbox or an error."""
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/fork", json={})
    (result,) = response.json()
    original = await wire.api("GET", f"/sandboxes/{own_box.id}")
    await wire.api("DELETE", f"/sandboxes/{result['sandbox']['sandboxID']}")

    assert response.status_code == 201
    assert result["sandbox"]["envdAccessToken"] != own_box.token
    assert result.get("error") is None
    assert original.json()["state"] == "running"


@pytest.mark.parametrize("count", [0, -1, 10_000, "2"])
async def test_a_count_that_cannot_be_is_refused(wire, own_box, count):
    """Nothing is made."""
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/fork", json={"count": count})

    assert response.status_code == 400
    assert response.json()["code"] == 400


async def test_a_paused_sandbox_is_not_forked(wire, own_box):
    """Its owner resumes it first."""
    await wire.api("POST", f"/sandboxes/{own_box.id}/pause")
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/fork", json={})

    assert response.status_code == 409
