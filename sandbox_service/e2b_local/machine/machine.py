"""Where sandboxes come from: probed once, then booted one by one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine import keeping
from sandbox_service.e2b_local.machine.guest import Guest
from sandbox_service.e2b_local.machine.host import check_platform, raise_open_files_limit
from sandbox_service.e2b_local.machine.launch import launch
from sandbox_service.e2b_local.machine.limits import Limiter
from sandbox_service.e2b_local.machine.model import (
    BootFailedError,
    BootSpec,
    GuestLostError,
    GuestOSError,
    MachineConfig,
)
from sandbox_service.e2b_local.machine.roots.places import Place
from sandbox_service.e2b_local.machine.roots.roots import Roots
from sandbox_service.e2b_local.machine.roots.staging import (
    InstanceFolder,
    choose_interpreter,
    link_python,
)
from sandbox_service.e2b_local.machine.tiers import bubblewrap
from sandbox_service.e2b_local.machine.tiers.advice import explain
from sandbox_service.e2b_local.machine.tiers.probing import find_best
from sandbox_service.e2b_local.machine.tiers.tier import tiers_to_try
from sandbox_service.e2b_local.machine.tiers.uids import UidPool, claim_for_images
from sandbox_service.e2b_local.machine.tiers.unsafe.arguments import stage as stage_keeper
from sandbox_service.e2b_local.machine.warm import WarmSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from sandbox_service.e2b_local.machine.model import Image, Strength
    from sandbox_service.e2b_local.machine.tiers.tier import Tier


class Machine:
    """Boots sandboxes on this machine and owns them.

    A sandbox stands on an image, a root filesystem of its own, or sees the host's `/usr`. In
    the latter what is installed there answers inside: `node`, `npm`, `git`, and both `python`
    and `python3` in any case. What somebody keeps in a home (`~/.nvm`, `~/.pyenv`) does not.
    `sudo` and `su` are stand-ins that change the name a command runs under.

    Attributes:
        tier: How they are isolated; see `tiers`.
        bwrap: The bubblewrap in use, for people.
        snapshots_dir: A folder for archives of sandboxes, private to this process' user;
            it goes when the machine is closed.
    """

    def __init__(
        self,
        config: MachineConfig,
        folder: InstanceFolder,
        layout: bubblewrap.Layout,
        uids: UidPool | None,
        limiter: Limiter,
    ) -> None:
        self.tier = layout.tier
        self.bwrap = layout.bwrap
        self.snapshots_dir = folder.path / "snapshots"
        self._config = config
        self._folder = folder
        self._roots = Roots(config, folder, layout)
        # Without a boundary, all that it has lies on the disk.
        self._memory_roots = keeping.memory_roots(config) if layout.tier.boundary else ()
        self._uids = uids
        self._limiter = limiter
        self._guests: dict[str, Guest] = {}
        self._places: dict[str, Place] = {}
        self._shelved: dict[str, Place] = {}
        self._booting: dict[str, asyncio.Future[None]] = {}
        self._warm = WarmSet(self._boot_ahead, self._until_nothing_boots)
        self._closed = False

    @classmethod
    async def start(cls, config: MachineConfig) -> Machine:
        """Find out what works here, by booting a sandbox for real, and prepare the rest.

        Also raises this process' soft limit of open files to the hard one: a sandbox
        costs four descriptors and a program three.

        Raises:
            IsolationUnavailableError: Nothing that isolates works here. Nothing is left.
        """
        raise_open_files_limit()
        check_platform()
        tiers = tiers_to_try(config.isolation)
        folder = await asyncio.to_thread(InstanceFolder.create, config.state_dir)
        uids = limiter = None
        try:
            if os.geteuid() == 0:
                uids = UidPool.claim(config.uid_lock_dir)
            limiter = await asyncio.to_thread(Limiter, config, folder.path)
            return await cls._probe(config, tiers, folder, uids, limiter)
        except BaseException:
            if limiter is not None:
                await limiter.close()
            if uids is not None:
                uids.close()
            await asyncio.to_thread(folder.remove)
            raise

    @classmethod
    async def _probe(
        cls,
        config: MachineConfig,
        tiers: Sequence[Tier],
        folder: InstanceFolder,
        uids: UidPool | None,
        limiter: Limiter,
    ) -> Machine:
        guest_dir = folder.write_guest_files()
        chosen = choose_interpreter(config.python)
        python = await asyncio.to_thread(folder.stage_python, chosen)
        link_python(guest_dir / "bin", python)
        await asyncio.to_thread(folder.compile_agent, python)

        async def attempt(tier: Tier, candidate: bubblewrap.Candidate) -> Machine:
            if tier.boundary:
                program = folder.stage_bubblewrap(candidate)
            else:
                program = stage_keeper(guest_dir, python.host_program)
            layout = bubblewrap.look_at_host(tier, program, guest_dir, python)
            machine = cls(config, folder, layout, uids, limiter)
            guest = await machine.boot("probe", BootSpec())
            await guest.kill()
            return machine

        candidates = bubblewrap.find_candidates(config.bwrap)
        if not any(tier.boundary for tier in tiers):
            candidates = [bubblewrap.Candidate(python.host_program, "Python")]
        return await find_best(tiers, candidates, attempt)

    @property
    def limits(self) -> Mapping[str, Strength]:
        """How well the limits of `BootSpec` hold: memory, processes, cpu, disk, open_files."""
        return self._limiter.strengths

    @property
    def limits_detail(self) -> str:
        """The same in a line for people, and what keeps them."""
        return self._limiter.detail

    @property
    def disk_low(self) -> bool:
        """Whether the host needs what its disk has left, so that nothing new should begin."""
        return self._limiter.disk_low

    @property
    def image_owners(self) -> range:
        """Uids that images may belong to. Empty: they belong to this process' user.

        Raises:
            IsolationUnavailableError: This process is root, and there are none.
        """
        return range(0) if self._uids is None else claim_for_images()

    async def prepare_images(self, images: Iterable[Image]) -> None:
        """Make ready for sandboxes of images, and boot each image for a moment.

        Raises:
            IsolationUnavailableError: No sandbox could be made of them, and why.
        """
        await self._roots.prepare_images()
        for image in images:
            try:
                guest = await self.boot("probe", BootSpec(image=image))
            except BootFailedError as error:
                raise explain([(f"an image in {image.root.parent}", str(error))]) from error
            await guest.kill()

    def keep_warm(self, spec: BootSpec, count: int) -> None:
        """Keep some sandboxes booted ahead of those who will ask for them. Call it once.

        Args:
            spec: What they are; without files to begin with.
            count: How many. 0: none.
        """
        self._warm.keep(spec, count)

    async def boot(self, sandbox_id: str, spec: BootSpec | None = None) -> Guest:
        """Start a sandbox, a new one or one that was shelved.

        One on an image needs `prepare_images` before, and a shelved one starts on what it
        stood on before, whatever the spec says.

        Raises:
            BootFailedError: It did not start. Nothing of a new one is left; a shelved one
                is as it was.
            ValueError: One of that id runs, or the machine is closed.
        """
        if self._closed or sandbox_id in self._guests or sandbox_id in self._booting:
            raise ValueError(f"sandbox {sandbox_id} exists, or the machine is closed")
        booted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._booting[sandbox_id] = booted
        try:
            place = self._shelved.pop(sandbox_id, None)
            if place is None:
                guest = await self._boot_new(sandbox_id, spec or BootSpec())
            else:
                guest = await self._boot_again(sandbox_id, spec or BootSpec(), place)
            self._guests[sandbox_id] = guest
        finally:
            del self._booting[sandbox_id]
            booted.set_result(None)
        return guest

    async def _boot_new(self, sandbox_id: str, spec: BootSpec) -> Guest:
        guest = self._warm.take(replace(spec, archive_fd=None))
        if guest is None:
            return await self._boot_cold(sandbox_id, spec)
        del self._guests[guest.sandbox_id]
        place = self._places.pop(guest.sandbox_id)
        place.sandbox_id = guest.sandbox_id = sandbox_id
        self._places[sandbox_id] = place
        if spec.archive_fd is not None:
            await self._fill(guest, guest.unpack(spec.archive_fd))
        return guest

    async def _boot_ahead(self, spec: BootSpec) -> Guest:
        if self.disk_low:
            raise BootFailedError("the disk of this host is nearly full")
        guest = await self._boot_cold(uuid.uuid4().hex, spec)
        self._guests[guest.sandbox_id] = guest
        return guest

    async def _until_nothing_boots(self) -> None:
        while self._booting:
            await asyncio.wait(self._booting.values())

    async def _boot_cold(self, sandbox_id: str, spec: BootSpec) -> Guest:
        image, archive = spec.image, spec.archive_fd
        if image is not None:
            uid = image.owner
        else:
            uid = None if self._uids is None else self._uids.take()
        # Seen inside. It must not tell who was booted ahead of being asked for.
        name = uuid.uuid4().hex if self._warm.size else sandbox_id
        place = Place(sandbox_id, self._folder.path / "sandboxes" / name, uid, image)
        try:
            place.make()
            if image is not None and archive is not None:
                await keeping.unpack(archive, place)
        except OSError as error:
            await self._clean_up(place)
            raise BootFailedError(f"the host refused: {error}") from error
        except BaseException:
            await self._clean_up(place)
            raise
        if image is not None and archive is not None:
            return await self._boot_again(sandbox_id, spec, place)
        guest = await self._boot(sandbox_id, spec, place)
        if archive is not None:
            await self._fill(guest, guest.unpack(archive))
        return guest

    async def _boot_again(self, sandbox_id: str, spec: BootSpec, place: Place) -> Guest:
        guest = await self._boot(sandbox_id, spec, place)
        await self._fill(guest, keeping.restore(guest, place, self._memory_roots))
        place.kept = False
        return guest

    async def _fill(self, guest: Guest, filling: Awaitable[None]) -> None:
        """Wait until a sandbox that has just booted has its files, or end it."""
        try:
            await filling
        except (GuestLostError, OSError) as error:
            await guest.kill()
            raise BootFailedError(f"its files could not be restored: {error}") from error
        except BaseException:
            await guest.kill()
            raise

    async def _boot(self, sandbox_id: str, spec: BootSpec, place: Place) -> Guest:
        boot_id = str(uuid.uuid4())
        clean_up = functools.partial(self._clean_up, place)
        # No group ever has the name of another, which may not be gone yet.
        name = f"{place.path.name}-{boot_id[:8]}"
        try:
            place.make_ready(boot_id)
            async with contextlib.AsyncExitStack() as undo:
                confinement = self._limiter.confine(name, spec.limits, place.path)
                undo.push_async_callback(confinement.end)
                launched = await launch(
                    self._roots.command_of(place, spec, confinement.told),
                    self._roots.filter_of(place),
                    self._roots.entry_of(place),
                    self._config.boot_timeout_seconds,
                    confinement,
                )
                undo.pop_all()
        except OSError as error:
            await clean_up()
            raise BootFailedError(f"the host refused: {error}") from error
        except BaseException:
            await clean_up()
            raise
        self._places[sandbox_id] = place
        layer = place.layer if self.tier.boundary else place.path
        return Guest(sandbox_id, boot_id, launched, clean_up, confinement, layer)

    async def shelve(self, sandbox_id: str) -> None:
        """End a sandbox's processes and keep its files, until `boot` or `discard`.

        What it had in `/tmp` is kept too. Its guest ends.

        Raises:
            GuestOSError: Not all could be saved; it goes on as before.
            GuestLostError: It has died, and nothing of it is left.
            ValueError: None of that id runs.
        """
        guest = self._guests.get(sandbox_id)
        if guest is None:
            raise ValueError(f"sandbox {sandbox_id} does not run")
        place = self._places[sandbox_id]
        async with guest.programs_stopped():
            await keeping.save(guest, place, self._memory_roots)
            if guest.ended.done():
                raise GuestLostError(guest.ended.result())
            place.kept = True
            await guest.kill("it was shelved")

    async def archive(self, sandbox_id: str, writer_fd: int) -> None:
        """Write all files of a sandbox, for others to begin with.

        Its programs stand still meanwhile. One on the host's files must run for that, or
        be frozen; one on an image may be shelved.

        Args:
            sandbox_id: Whose.
            writer_fd: Open for writing on a regular file of the host, not for appending.

        Raises:
            GuestOSError: As `Guest.pack`; EOPNOTSUPP: the tier cannot. What was written is
                worthless then.
            GuestLostError: It has died, or was never there.
        """
        if not self.tier.boundary:
            words = f"there are no archives in the isolation {self.tier.name}"
            raise GuestOSError(errno.EOPNOTSUPP, words)
        guest = self._guests.get(sandbox_id)
        if guest is not None:
            await keeping.copy(guest, self._places[sandbox_id], writer_fd, self._memory_roots)
            return
        place = self._shelved.get(sandbox_id)
        if place is None or place.image is None:
            raise GuestLostError(f"sandbox {sandbox_id} does not run")
        await keeping.copy_shelved(place, writer_fd)

    async def discard(self, sandbox_id: str) -> None:
        """Remove a shelved sandbox for good. None of that id is fine."""
        place = self._shelved.pop(sandbox_id, None)
        if place is not None:
            place.kept = False
            await self._clean_up(place)

    async def close(self) -> None:
        """Kill every sandbox and remove everything from the disk. Idempotent."""
        self._closed = True
        if self._booting:
            await asyncio.wait(self._booting.values())
        await self._warm.close()
        await asyncio.gather(*(guest.kill() for guest in list(self._guests.values())))
        self._shelved.clear()
        await self._limiter.close()
        await asyncio.to_thread(self._roots.close)
        await asyncio.to_thread(self._folder.remove)
        if self._uids is not None:
            self._uids.close()

    async def _clean_up(self, place: Place) -> None:
        sandbox_id = place.sandbox_id
        self._places.pop(sandbox_id, None)
        if place.kept:
            self._guests.pop(sandbox_id, None)
            self._shelved[sandbox_id] = place
            return
        await asyncio.to_thread(place.remove)
        self._guests.pop(sandbox_id, None)
        if place.image is None and place.uid is not None and self._uids is not None:
            self._uids.give_back(place.uid)
