"""What follows a sync, when what it needs is not there."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    DirectoryNotFoundError,
    SandboxEndedError,
)
from sandbox_service.domain.execs import ExecSpec, ShellCommand
from sandbox_service.domain.files import SyncReceipt
from sandbox_service.domain.sandboxes import PortSeen, PreviewState
from sandbox_service.operations.reloads import After, Reloads, ReloadSignal
from tests.integration.bash_sandbox import record

NOTHING = timedelta(0)
RELOAD = ExecSpec(program=ShellCommand("true"))
SIGNAL = ReloadSignal("server", "HUP")


class Execs:
    """Answers with what it is told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls = 0

    async def signal(self, *_: object) -> bool:
        return bool(self._answer())

    async def start(self, *_: object) -> object:
        return self._answer()

    def _answer(self) -> object:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Previews:
    """Sees a port that listens, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def wait(self, *_: object) -> PortSeen:
        if self.failure is not None:
            raise self.failure
        return PortSeen(PreviewState.LISTENING)


def receipt(**fields: object) -> SyncReceipt:
    values = {
        "sync_id": "",
        "root": "/root",
        "added": ("a",),
        "modified": (),
        "deleted": (),
        "unchanged": 0,
        "content_bytes": 1,
        "written_bytes": 1,
        "root_digest": bytes(32),
        "others": 0,
        "user": "user",
        "timings": (),
    }
    return SyncReceipt(**{**values, **fields})  # type: ignore[arg-type]


def reloads(answer: object, failure: Exception | None = None) -> tuple[Reloads, Execs]:
    execs = Execs(answer)
    return Reloads(None, execs, Previews(failure)), execs  # type: ignore[arg-type]


async def after(made: Reloads, reload: ExecSpec | ReloadSignal | None, **fields: object) -> After:
    return await made.after(record(), receipt(**fields), reload, NOTHING)


async def test_what_cannot_start_is_told_and_tried_again_by_a_retry() -> None:
    """Once per receipt is about what ran."""
    made, execs = reloads(DirectoryNotFoundError("no folder"))
    first = await after(made, RELOAD, sync_id="1")
    execs.answer = True
    second = await after(made, SIGNAL, sync_id="1")
    third = await after(made, SIGNAL, sync_id="1")

    assert isinstance(first.reloaded.refusal, DirectoryNotFoundError)
    assert not first.reloaded.running
    assert first.preview_state is PreviewState.LISTENING
    assert second.reloaded.delivered is True
    assert third.reloaded == second.reloaded
    assert execs.calls == 2


async def test_retries_at_once_wait_for_one_and_the_same_reload() -> None:
    """Two callers with one sync id."""
    made, execs = reloads(True)
    both = await asyncio.gather(*(after(made, SIGNAL, sync_id="1") for _ in range(5)))

    assert len({id(it.reloaded) for it in both}) == 1
    assert execs.calls == 1


async def test_nothing_is_done_when_nothing_has_changed() -> None:
    """Neither a program nor a signal."""
    made, execs = reloads(True)
    for reload in (RELOAD, SIGNAL, None):
        done = await after(made, reload, added=())
        assert done == After(reloaded=None, preview_state=PreviewState.LISTENING)

    assert execs.calls == 0


async def test_the_look_that_the_sync_itself_has_taken_is_enough() -> None:
    """Nobody asks again whether a closed port is closed; one to be waited for, yes."""
    made, _ = reloads(True)
    closed = receipt(listening=False)
    quick = await made.after(record(), closed, None, NOTHING)
    waited = await made.after(record(), closed, None, timedelta(seconds=1))
    reloaded = await made.after(record(), closed, SIGNAL, NOTHING)

    assert quick.preview_state is PreviewState.NOT_LISTENING
    assert waited.preview_state is PreviewState.LISTENING
    assert reloaded.preview_state is PreviewState.LISTENING


async def test_a_look_at_the_preview_that_fails_costs_no_receipt() -> None:
    """The files are there."""
    made, _ = reloads(True, BackendUnavailableError("no contact"))
    done = await after(made, SIGNAL)

    assert done.preview_state is PreviewState.UNKNOWN
    assert done.reloaded.delivered is True


@pytest.mark.parametrize("where", ["reload", "preview"])
async def test_a_sandbox_that_is_gone_has_no_receipt(where: str) -> None:
    """Its files went with it."""
    gone = SandboxEndedError("gone")
    made, _ = reloads(gone if where == "reload" else True, gone)
    with pytest.raises(SandboxEndedError):
        await after(made, SIGNAL)
