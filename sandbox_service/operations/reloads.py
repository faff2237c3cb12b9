"""What follows a sync: the reload action, and a look at the preview."""

from __future__ import annotations

import asyncio
import posixpath
import secrets
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.exec_errors import ExecIdReusedError
from sandbox_service.domain.execs import ExecSpec, Exited
from sandbox_service.domain.files import SyncReceipt
from sandbox_service.domain.policy import UNCHECKED, Verdict
from sandbox_service.domain.sandboxes import PreviewState, SandboxRecord
from sandbox_service.operations.execs import Execs
from sandbox_service.operations.previews import Previews

_TAIL_BYTES: Final = 2048
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """How a reload action went."""

    exited: Exited
    output_tail: bytes
    took: timedelta
    verdict: Verdict = UNCHECKED


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What followed a sync.

    Attributes:
        reloaded: None when nothing changed, or nothing was to be run.
    """

    reloaded: Reloaded | None
    preview_state: PreviewState


class Reloads:
    """Runs what is to be run after a sync, once per receipt."""

    def __init__(self, execs: Execs, previews: Previews) -> None:
        self._execs = execs
        self._previews = previews
        self._runs: dict[tuple[str, int, str], asyncio.Task[Reloaded]] = {}

    async def checked(self, record: SandboxRecord, reload: ExecSpec | None) -> ExecSpec | None:
        """Return the reload action with what the code policy says of it.

        Raises:
            PolicyDeniedError: It must not run.
        """
        if reload is None:
            return None
        return await self._execs.checked(record.tenant, reload, "the reload action")

    def refusal(self, record: SandboxRecord, reload: ExecSpec | None) -> SandboxError | None:
        """Return why a sync must not change anything, because what follows could not be run.

        An id that was used is none of a sync's business that changes nothing: so
        ends a retry of one that has run the reload action.

        Raises:
            LanguageNotSupportedError: It could never be run.
        """
        if reload is None:
            return None
        try:
            self._execs.check(record, reload)
        except ExecIdReusedError as error:
            return error
        return None

    async def after(
        self,
        record: SandboxRecord,
        receipt: SyncReceipt,
        reload: ExecSpec | None,
        preview_wait: timedelta,
    ) -> After:
        """Run the reload action if something changed, then look at the preview.

        A retry of a sync gets the result of the first reload, or waits for it: a
        caller that leaves ends it only when the sync has no id to find it by.
        """
        reloaded = None
        if reload is not None and receipt.changed:
            where = replace(reload, cwd=posixpath.join(receipt.root, reload.cwd).rstrip("/") or "/")
            if receipt.sync_id:
                reloaded = await asyncio.shield(self._once(record, receipt.sync_id, where))
            else:
                reloaded = await self._run(record, where)
        port = record.preview.port
        state = await self._previews.wait(record, port, preview_wait)
        return After(reloaded=reloaded, preview_state=state)

    def _once(
        self, record: SandboxRecord, sync_id: str, reload: ExecSpec
    ) -> asyncio.Task[Reloaded]:
        """Return the run of a sync's reload action, which may have ended long ago."""
        key = (record.sandbox_id, record.generation, sync_id)
        if key not in self._runs:
            run = asyncio.create_task(self._run(record, reload))
            self._runs[key] = run
            run.add_done_callback(lambda it: self._ended(key, it))
            if len(self._runs) > _KEPT:
                del self._runs[next(iter(self._runs))]
        return self._runs[key]

    def _ended(self, key: tuple[str, int, str], run: asyncio.Task[Reloaded]) -> None:
        # What never ran may be tried again by a retry.
        if run.cancelled() or run.exception() is not None:
            self._runs.pop(key, None)

    async def _run(self, record: SandboxRecord, reload: ExecSpec) -> Reloaded:
        if not reload.exec_id:
            reload = replace(reload, exec_id=f"reload-{secrets.token_hex(6)}")
        began = time.monotonic()
        exited, tail = await self._execs.run_to_end(record, reload, _TAIL_BYTES)
        took = timedelta(seconds=time.monotonic() - began)
        return Reloaded(
            exited=exited, output_tail=tail, took=took, verdict=reload.verdict or UNCHECKED
        )
