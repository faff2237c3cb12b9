"""All sandboxes of this backend: making them, pausing them, ending them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from sandbox_service.e2b_local.fleet import copies
from sandbox_service.e2b_local.fleet.activity import Activities
from sandbox_service.e2b_local.fleet.life import AlreadyPausedError, SandboxGoneError, StateError
from sandbox_service.e2b_local.fleet.limits import limits_of
from sandbox_service.e2b_local.fleet.metering import Meter
from sandbox_service.e2b_local.fleet.reaper import Reaper
from sandbox_service.e2b_local.fleet.room import Room
from sandbox_service.e2b_local.fleet.sandbox import Sandbox
from sandbox_service.e2b_local.fleet.snapshots import SnapshotStore
from sandbox_service.e2b_local.fleet.store import SandboxRecord, SandboxStore
from sandbox_service.e2b_local.fleet.transitions import Transitions
from sandbox_service.e2b_local.fleet.ways_out import WaysOut, lead_out, rules_of
from sandbox_service.e2b_local.images import TemplateImages
from sandbox_service.e2b_local.machine import BootFailedError, BootSpec, GuestLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.egress import EgressCounts, EgressSettings
    from sandbox_service.e2b_local.fleet.snapshots import Reference, Snapshot
    from sandbox_service.e2b_local.machine import Machine

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

# A sandbox whose end of life failed is tried again after this time.
_RETRY_SECONDS: Final = 5.0
_FORKS_AT_ONCE: Final = 8


class Fleet:
    """All sandboxes of this backend.

    A sandbox changes its state (see `life`) for one caller at a time; whoever comes
    meanwhile waits. Only its end does not wait for anybody.

    Args:
        machine: Makes them.
        clock: Returns seconds since 1970.
        max_sandboxes: How many may run at the same time. None: any number.
        max_lifetime_seconds: Longest lifetime that traffic gives a sandbox it wakes.
        egress: Where sandboxes may connect to. None: nowhere.
        images: Those of all templates. They must stay as long as this is not closed.

    Attributes:
        store: The records of all sandboxes.
        snapshots: Their files that were kept.
        activities: Their logs.
    """

    def __init__(
        self,
        machine: Machine,
        clock: Callable[[], float],
        *,
        max_sandboxes: int | None = None,
        max_lifetime_seconds: int = 24 * 3600,
        egress: EgressSettings | None = None,
        images: TemplateImages | None = None,
    ) -> None:
        self._machine = machine
        self._images = images or TemplateImages()
        self._ways_out = WaysOut(egress)
        self._room = Room(max_sandboxes, self._count_running)
        self.store = SandboxStore(clock)
        self.snapshots = SnapshotStore(clock, self._discard_archive)
        self.activities = Activities(clock)
        self._transitions = Transitions(self.store, self._room.hold, max_lifetime_seconds)
        self._reaper = Reaper(self.store, self._end_of_life)
        self._sandboxes: dict[str, Sandbox] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[Sandbox]:
        return (one for one in list(self._sandboxes.values()) if one.life.state == "running")

    def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox that runs."""
        sandbox = self._sandboxes.get(sandbox_id)
        return sandbox if sandbox is not None and sandbox.life.state == "running" else None

    def meter(self, sandbox_id: str) -> Meter | None:
        """Return what measures a sandbox, be it paused or not."""
        sandbox = self._sandboxes.get(sandbox_id)
        return None if sandbox is None else sandbox.meter

    def begin(self) -> None:
        """Start to end sandboxes in time."""
        self._spawn(self._reaper.run())

    def ends_changed(self) -> None:
        """Look again when the next sandbox ends: a lifetime was changed."""
        self._reaper.look_again()

    def keep_warm(self, templates: Iterable[Template], count: int) -> None:
        """Keep sandboxes booted for those who will ask.

        Args:
            templates: They will be of the first that stands on the host's files, and of the
                others with its sizes.
            count: How many.
        """
        usual = next((one for one in templates if one.rootfs is None), None)
        if usual is not None:
            self._machine.keep_warm(self._spec_of(usual), count)

    # --- The beginning and the end --------------------------------------------------------

    async def create(self, record: SandboxRecord, archive: Path | None = None) -> Sandbox:
        """Boot a sandbox.

        Args:
            record: What clients are told of it.
            archive: Files it has from the beginning.

        Raises:
            QuotaExceededError: Too many run already.
            BootFailedError: It did not start; repeating may help.
            FileNotFoundError: The archive is gone.
        """
        if self._machine.disk_low:
            raise BootFailedError("the disk of this host is nearly full")
        with self._room.hold(), copies.opened(archive) as descriptor:
            sandbox_id = record.sandbox_id
            spec = self._spec_of(record.template)
            guest = await self._machine.boot(sandbox_id, replace(spec, archive_fd=descriptor))
            egress = self._ways_out.make(record)
            try:
                await lead_out(guest, egress)
            except BaseException:
                await guest.kill()
                raise
            activity = self.activities.open(sandbox_id)
            activity.record("info", "Sandbox created", template_id=record.template.template_id)
            meter = Meter(self.store.now, record.template.cpu_count)
            sandbox = Sandbox(
                self._machine, record, spec, guest, activity, meter, self._forget, egress
            )
            self.store.add(replace(record, boot_id=guest.boot_id))
            self._sandboxes[sandbox_id] = sandbox
        self._reaper.look_again()
        return sandbox

    def _count_running(self) -> int:
        states = [sandbox.life.state for sandbox in self._sandboxes.values()]
        return states.count("running") + states.count("pausing")

    def _spec_of(self, template: Template) -> BootSpec:
        return BootSpec(image=self._images.image_of(template), limits=limits_of(template))

    async def kill(self, sandbox_id: str, cause: str = "it was killed") -> bool:
        """End a sandbox, paused or not; returns when nothing of it is left.

        Args:
            sandbox_id: Which one.
            cause: Why, for its log.

        Returns:
            False: there is none of that id.
        """
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return False
        self._forget(sandbox, cause)
        await self._whole(sandbox.kill())
        return True

    def _forget(self, sandbox: Sandbox, cause: str) -> None:
        """Cut whoever is in it. By then a probe must already be told that it is gone."""
        if not sandbox.life.end():
            return
        del self._sandboxes[sandbox.sandbox_id]
        self.store.remove(sandbox.sandbox_id)
        sandbox.tell_traffic()
        self.activities.end(sandbox.sandbox_id, f"Sandbox ended: {cause}")
        sandbox.close()

    async def _end_of_life(self, sandbox_id: str) -> None:
        record = self.store.get(sandbox_id)
        if record is None:
            return
        logger.info("sandbox %s has reached its end of life", sandbox_id)
        try:
            if record.on_timeout == "kill":
                await self.kill(sandbox_id, "its time was over")
            else:
                await self._whole(self._transitions.pause_in_time(self._find(sandbox_id)))
        except GuestLostError:
            return
        except (OSError, StateError) as error:
            logger.warning("sandbox %s cannot be paused at its end: %s", sandbox_id, error)
            self.store.end_in(sandbox_id, _RETRY_SECONDS)

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        for sandbox in list(self._sandboxes.values()):
            self._forget(sandbox, "the server ends")
        await self._machine.close()

    # --- Pauses ---------------------------------------------------------------------------

    async def pause(self, sandbox_id: str, *, memory: bool = True, strict: bool = False) -> None:
        """Stop a sandbox until it is resumed; see `Transitions.pause`.

        Raises:
            SandboxGoneError: There is none of that id.
        """
        sandbox = self._find(sandbox_id)
        await self._whole(self._transitions.pause(sandbox, memory=memory, strict=strict))

    async def resume(
        self,
        sandbox_id: str,
        seconds: float,
        *,
        memory: bool = True,
        on_timeout: Literal["kill", "pause"] | None = None,
    ) -> Sandbox:
        """Let a paused sandbox go on; see `Transitions.resume`.

        Raises:
            SandboxGoneError: There is none of that id.
        """
        sandbox = self._find(sandbox_id)
        work = self._transitions.resume(sandbox, seconds, memory=memory, on_timeout=on_timeout)
        await self._whole(work)
        return sandbox

    async def connect(self, sandbox_id: str, seconds: float, *, memory: bool = True) -> bool:
        """Make sure that a sandbox runs; see `Transitions.connect`.

        Raises:
            SandboxGoneError: There is none of that id.
        """
        sandbox = self._find(sandbox_id)
        return await self._whole(self._transitions.connect(sandbox, seconds, memory=memory))

    async def wake(self, sandbox_id: str) -> Sandbox:
        """Resume a sandbox because somebody talks to it; see `Transitions.wake`.

        Raises:
            SandboxGoneError: There is none of that id.
        """
        sandbox = self._find(sandbox_id)
        if sandbox.life.state != "running":
            await self._whole(self._transitions.wake(sandbox))
        return sandbox

    # --- Copies ---------------------------------------------------------------------------

    async def snapshot(self, sandbox_id: str, name: Reference | None = None) -> Snapshot:
        """Keep a sandbox's files, be it paused or not, to make others of them.

        Its programs stand still meanwhile. What they hold in memory is not kept.

        Args:
            sandbox_id: Whose files.
            name: What to call the snapshot; one of that name and tag is replaced.

        Raises:
            SandboxGoneError: There is none of that id.
            GuestOSError: They could not be archived, as when the disk is full.
            TransitionBusyError: Others have been changing its state for too long.
        """
        path, record = await self._whole(self._archive(self._find(sandbox_id)))
        template, env = record.template, record.env
        return self.snapshots.add(
            name, sandbox_id=sandbox_id, template=template, env=env, path=path
        )

    async def fork(
        self, sandbox_id: str, count: int, seconds: int
    ) -> list[SandboxRecord | BaseException]:
        """Make sandboxes with the files of one that runs.

        What its programs hold in memory is not copied: the new ones start without any.

        Args:
            sandbox_id: Whose files.
            count: How many.
            seconds: The lifetime of each.

        Returns:
            Of each the record, or why it did not start; see `create`.

        Raises:
            As `snapshot`.
            AlreadyPausedError: It does not run.
        """
        sandbox = self._find(sandbox_id)
        if sandbox.life.state != "running":
            raise AlreadyPausedError(sandbox_id)
        at_once = asyncio.Semaphore(_FORKS_AT_ONCE)

        async def start(parent: SandboxRecord, archive: Path) -> SandboxRecord:
            async with at_once:
                child = parent.fork(self.store.now(), seconds)
                await self.create(child, archive)
                return child

        async def work() -> list[SandboxRecord | BaseException]:
            archive, parent = await self._archive(sandbox)
            try:
                forks = (start(parent, archive) for _ in range(count))
                return await asyncio.gather(*forks, return_exceptions=True)
            finally:
                self._discard_archive(archive)

        return await self._whole(work())

    async def _archive(self, sandbox: Sandbox) -> tuple[Path, SandboxRecord]:
        async with sandbox.life.turn():
            path = await sandbox.archive(self._machine.snapshots_dir)
            record = self.store.get(sandbox.sandbox_id)
            if record is None:
                self._discard_archive(path)
                raise SandboxGoneError(sandbox.sandbox_id)
        sandbox.activity.record("info", "Snapshot taken")
        return path, record

    def _discard_archive(self, path: Path) -> None:
        async def remove() -> None:
            await asyncio.to_thread(path.unlink, missing_ok=True)

        self._spawn(remove())

    # --- The way out ----------------------------------------------------------------------

    def put_network(self, record: SandboxRecord) -> None:
        """Change a sandbox's network settings to those of a record.

        Connections that they do not allow are cut.
        """
        self.store.put(record)
        sandbox = self._sandboxes.get(record.sandbox_id)
        if sandbox is not None and sandbox.egress is not None:
            sandbox.egress.rules = rules_of(record)

    def traffic(self) -> dict[str, EgressCounts]:
        """Return what went out of each sandbox that has a way out, and came back."""
        return {
            sandbox_id: sandbox.egress.counts
            for sandbox_id, sandbox in self._sandboxes.items()
            if sandbox.egress is not None
        }

    # --- The rest -------------------------------------------------------------------------

    def _find(self, sandbox_id: str) -> Sandbox:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise SandboxGoneError(sandbox_id)
        return sandbox

    def _spawn(self, work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _whole(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Do a work to its end, though whoever asked for it may be gone meanwhile."""
        task = self._spawn(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        finally:
            self._reaper.look_again()
