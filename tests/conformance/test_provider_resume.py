"""What every provider does with a sandbox that was paused, on every backend."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from e2b import AsyncSandbox

from sandbox_service.domain.errors import SandboxEndedError
from sandbox_service.domain.execs import Argv, ShellCommand
from sandbox_service.providers.e2b.provider import E2BProvider
from tests.conformance.sandbox_backends import Box

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SLACK = timedelta(seconds=30)


async def _pause(provider: E2BProvider, box: Box) -> None:
    """Pause a sandbox as somebody else would: no port of ours does."""
    assert await AsyncSandbox.pause(box.id, **provider._endpoint.params())
    seen = await provider.get(box.id)
    assert seen is not None
    assert not seen.running


async def test_a_paused_sandbox_runs_again_with_its_files(provider: E2BProvider, own_box: Box):
    """For as long as was asked for, under the same id."""
    await own_box.run(ShellCommand("echo kept >file"))
    await _pause(provider, own_box)

    seen = await provider.resume(own_box.id, timedelta(minutes=20))
    ran = await own_box.run(Argv(("cat", "file")))

    assert (seen.sandbox_id, seen.running) == (own_box.id, True)
    assert abs(seen.end_time - datetime.now(UTC) - timedelta(minutes=20)) < _SLACK
    assert (ran.stdout, ran.end.exit_code) == (b"kept\n", 0)


async def test_a_sandbox_is_resumed_by_several_at_once(provider: E2BProvider, own_box: Box):
    """Two instances of the service may do so; none of them fails."""
    await _pause(provider, own_box)
    seen = await asyncio.gather(
        *(provider.resume(own_box.id, timedelta(minutes=5)) for _ in range(4))
    )

    assert [it.running for it in seen] == [True] * 4


async def test_a_running_sandbox_runs_on_and_lives_no_shorter(provider: E2BProvider, own_box: Box):
    """A resumption that comes late takes nothing away."""
    before = await provider.get(own_box.id)
    seen = await provider.resume(own_box.id, timedelta(seconds=5))

    assert seen.running
    assert before is not None
    assert before.end_time - seen.end_time < timedelta(seconds=2)


async def test_a_sandbox_that_is_gone_cannot_be_resumed(provider: E2BProvider, own_box: Box):
    """That is told as what it is."""
    await _pause(provider, own_box)
    await provider.destroy(own_box.id)

    with pytest.raises(SandboxEndedError):
        await provider.resume(own_box.id, timedelta(minutes=1))
