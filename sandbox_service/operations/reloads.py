"""What follows a sync: the reload action, and a look at the preview."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain.execs import ExecSpec, Exited
from sandbox_service.domain.files import SyncReceipt
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
        self._done: dict[tuple[str, str], Reloaded] = {}

    async def after(
        self,
        record: SandboxRecord,
        receipt: SyncReceipt,
        reload: ExecSpec | None,
        preview_wait: timedelta,
    ) -> After:
        """Run the reload action if something changed, then look at the preview.

        A retry of a sync gets the result of the first reload again.
        """
        key = (record.sandbox_id, receipt.sync_id)
        reloaded = self._done.get(key) if receipt.repeated else None
        changed = receipt.added or receipt.modified or receipt.deleted
        folders = receipt.folders_added or receipt.folders_modified or receipt.folders_deleted
        if reload is not None and reloaded is None and (changed or folders):
            reloaded = await self._run(record, reload)
            if receipt.sync_id:
                self._done[key] = reloaded
                if len(self._done) > _KEPT:
                    del self._done[next(iter(self._done))]
        port = record.preview.port
        state = await self._previews.wait(record, port, preview_wait)
        return After(reloaded=reloaded, preview_state=state)

    async def _run(self, record: SandboxRecord, reload: ExecSpec) -> Reloaded:
        if not reload.exec_id:
            reload = replace(reload, exec_id=f"reload-{secrets.token_hex(6)}")
        began = time.monotonic()
        exited, tail = await self._execs.run_to_end(record, reload, _TAIL_BYTES)
        took = timedelta(seconds=time.monotonic() - began)
        return Reloaded(exited=exited, output_tail=tail, took=took)
