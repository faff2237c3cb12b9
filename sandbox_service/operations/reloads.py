"""What follows a sync: the reload action, and a look at the preview."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import secrets
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import (
    DirectoryNotFoundError,
    SandboxEndedError,
    SandboxError,
    UserNotFoundError,
)
from sandbox_service.domain.exec_errors import (
    ExecIdReusedError,
    ExecNotFoundError,
    TooManyExecsError,
)
from sandbox_service.domain.execs import ExecSpec, Exited, Fault, Retention
from sandbox_service.domain.files import SyncHeader, SyncReceipt
from sandbox_service.domain.policy import UNCHECKED, Verdict
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import PortSeen, PreviewState, SandboxRecord
from sandbox_service.operations.commands import run_command
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.previews import Previews

_TAIL_BYTES: Final = 2048
_KEPT: Final = 10_000
_LOOK_TIMEOUT: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ReloadSignal:
    """A signal to an exec, its name without SIG."""

    exec_id: str
    name: str


Reload = ExecSpec | ReloadSignal
"""What to do after a sync. A program that is DETACHED is left running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """How a reload action went.

    Attributes:
        exec_id: Its own, or the one that got the signal.
        running: Whether that exec runs.
        exited: How it ended. None: it runs, or never ran, or was sent a signal.
        took: From its start to its end.
        delivered: Whether the signal was sent. None: it was a program.
        refusal: Why it could not start. None: it did.
    """

    exec_id: str
    running: bool = False
    exited: Exited | None = None
    output_tail: bytes = b""
    took: timedelta | None = None
    verdict: Verdict = UNCHECKED
    delivered: bool | None = None
    refusal: SandboxError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What followed a sync.

    Attributes:
        reloaded: None when nothing changed, or nothing was to be done.
    """

    reloaded: Reloaded | None
    preview_state: PreviewState


@dataclass(slots=True)
class _Run:
    """A reload action under way.

    Attributes:
        result: What is known of it so far.
        ending: Ends as the exec does that was left running. None: none was.
    """

    result: Reloaded
    ending: asyncio.Task[tuple[Exited, bytes]] | None = None
    began: float = 0.0


class Reloads:
    """Does what is to be done after a sync, once per receipt."""

    def __init__(self, provider: SandboxProvider, execs: Execs, previews: Previews) -> None:
        self._provider = provider
        self._execs = execs
        self._previews = previews
        self._runs: dict[tuple[str, int, str], asyncio.Task[_Run]] = {}

    async def checked(self, record: SandboxRecord, reload: Reload | None) -> Reload | None:
        """Return the reload action with what the code policy says of it.

        Raises:
            PolicyDeniedError: It must not run.
        """
        if not isinstance(reload, ExecSpec):
            return reload
        return await self._execs.checked(record.tenant, reload, "the reload action")

    async def refusal(
        self, record: SandboxRecord, reload: Reload | None, header: SyncHeader
    ) -> SandboxError | None:
        """Return why a sync must not change anything, because what follows could not be done.

        It is none of a sync's business that changes nothing: so ends a retry of
        one that has done the reload action, and so used its id.

        Raises:
            LanguageNotSupportedError: It could never be run.
        """
        if reload is None:
            return None
        if isinstance(reload, ReloadSignal):
            return await self._unknown(record, reload.exec_id)
        try:
            self._execs.check(record, reload)
        except (ExecIdReusedError, TooManyExecsError) as error:
            return error
        return await self._without_place(record, reload, header)

    async def after(
        self,
        record: SandboxRecord,
        receipt: SyncReceipt,
        reload: Reload | None,
        preview_wait: timedelta,
    ) -> After:
        """Do the reload action if something changed, then look at the preview.

        A retry of a sync gets the result of the first reload, or waits for it: a
        caller that leaves ends it only when the sync has no id to find it by.
        What goes wrong from here on is told beside the receipt, for the files are
        there.

        Raises:
            SandboxEndedError: The sandbox is gone, or paused, and so are they.
        """
        run = None
        done = reload is not None and receipt.changed
        if receipt.listening is False and not done and not preview_wait:
            # The sync itself has looked, in the sandbox and at no cost.
            return After(reloaded=None, preview_state=PreviewState.NOT_LISTENING)
        if reload is not None and receipt.changed:
            if isinstance(reload, ExecSpec):
                cwd = posixpath.join(receipt.root, reload.cwd).rstrip("/") or "/"
                reload = replace(reload, cwd=cwd)
            if receipt.sync_id:
                run = await asyncio.shield(self._once(record, receipt.sync_id, reload))
            else:
                run = await self._run(record, reload)
        try:
            seen = await self._seen(record, run, preview_wait)
        finally:
            if run is not None:
                _settle(run)
        return After(reloaded=None if run is None else run.result, preview_state=seen.state)

    async def _unknown(self, record: SandboxRecord, exec_id: str) -> SandboxError | None:
        """Return the error for an exec that a signal cannot reach. None: there is one."""
        if any(it.exec_id == exec_id for it in await self._execs.list(record)):
            return None
        if await self._provider.find_exec(record.sandbox_id, exec_id) is not None:
            return None
        return ExecNotFoundError(
            f"The sandbox has had no exec {exec_id!r} to reload by a signal.",
            metadata={"sandbox_id": record.sandbox_id, "exec_id": exec_id},
        )

    async def _without_place(
        self, record: SandboxRecord, reload: ExecSpec, header: SyncHeader
    ) -> SandboxError | None:
        """Return the error for a user or folder that is not there and that the sync cannot make.

        The sandbox is asked only when the action has a user of its own, or a
        folder that lies outside the root for certain.
        """
        outside = header.root.startswith("/") and reload.cwd.startswith("/")
        if outside and f"{reload.cwd}/".startswith(f"{header.root.rstrip('/')}/"):
            outside = False
        if not outside and reload.user == header.user:
            return None
        cwd = reload.cwd if outside else "/"
        try:
            entered = await run_command(
                self._provider,
                record.sandbox_id,
                ("/bin/bash", "-c", 'cd -- "$1"', "reload", cwd),
                user=reload.user,
                timeout=_LOOK_TIMEOUT,
            )
        except UserNotFoundError as error:
            return error
        if entered.exit_code == 0:
            return None
        return DirectoryNotFoundError(
            f"The sandbox has no folder {cwd!r} to run the reload action in.",
            metadata={"cwd": cwd},
        )

    def _once(self, record: SandboxRecord, sync_id: str, reload: Reload) -> asyncio.Task[_Run]:
        """Return the run of a sync's reload action, which may have ended long ago."""
        key = (record.sandbox_id, record.generation, sync_id)
        if key not in self._runs:
            # After a restart of this service the sandbox itself knows the id as used.
            exec_id = f"reload-{hashlib.sha256(sync_id.encode()).hexdigest()[:24]}"
            run = asyncio.create_task(self._run(record, reload, exec_id))
            self._runs[key] = run
            run.add_done_callback(lambda it: self._ended(key, it))
            if len(self._runs) > _KEPT:
                del self._runs[next(iter(self._runs))]
        return self._runs[key]

    def _ended(self, key: tuple[str, int, str], run: asyncio.Task[_Run]) -> None:
        # What never ran may be tried again by a retry.
        failed = run.cancelled() or run.exception() is not None
        if failed or run.result().result.refusal is not None:
            self._runs.pop(key, None)

    async def _run(self, record: SandboxRecord, reload: Reload, exec_id: str = "") -> _Run:
        exec_id = reload.exec_id or exec_id or f"reload-{secrets.token_hex(6)}"
        try:
            if isinstance(reload, ReloadSignal):
                sent = await self._execs.signal(record, exec_id, reload.name)
                return _Run(Reloaded(exec_id=exec_id, running=sent, delivered=sent))
            return await self._start(record, replace(reload, exec_id=exec_id))
        except SandboxEndedError:
            raise
        except SandboxError as error:
            return _Run(Reloaded(exec_id=exec_id, refusal=error))

    async def _start(self, record: SandboxRecord, reload: ExecSpec) -> _Run:
        running = Reloaded(
            exec_id=reload.exec_id, running=True, verdict=reload.verdict or UNCHECKED
        )
        run = _Run(running, began=time.monotonic())
        program = await self._execs.start(record, reload)
        if reload.retention is Retention.DETACHED:
            run.ending = asyncio.create_task(self._execs.to_end(program, _TAIL_BYTES))
        else:
            _has_ended(run, *await self._execs.to_end(program, _TAIL_BYTES))
        return run

    async def _seen(self, record: SandboxRecord, run: _Run | None, wait: timedelta) -> PortSeen:
        """Wait for the preview, but not once what was to serve it has failed."""
        port = record.preview.port
        waiting = asyncio.create_task(self._previews.wait(record, port, wait))
        tasks: set[asyncio.Task[object]] = {waiting}
        if run is not None and run.ending is not None:
            tasks.add(asyncio.create_task(_failure(run.ending)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            return await self._previews.look(record, port)
        except SandboxEndedError:
            raise
        except SandboxError:
            return PortSeen(PreviewState.UNKNOWN)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _failure(ending: asyncio.Task[tuple[Exited, bytes]]) -> None:
    """Return when an exec has failed. One that ended well may have left a server behind."""
    await asyncio.wait([ending])
    if ending.cancelled() or ending.exception() or ending.result()[0].fault is Fault.NONE:
        await asyncio.Event().wait()


def _settle(run: _Run) -> None:
    """Note how an exec that was left running has ended, if it has; else stop reading it."""
    ending = run.ending
    if ending is None or not run.result.running:
        return
    if not ending.done():
        ending.cancel()
    elif not ending.cancelled() and ending.exception() is None:
        _has_ended(run, *ending.result())


def _has_ended(run: _Run, exited: Exited, tail: bytes) -> None:
    took = timedelta(seconds=time.monotonic() - run.began)
    run.result = replace(run.result, running=False, exited=exited, output_tail=tail, took=took)
