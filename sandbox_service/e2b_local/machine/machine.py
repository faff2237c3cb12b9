"""Where sandboxes come from: probed once, then booted one by one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import platform
import resource
import sys
import uuid
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine import bubblewrap, keeping, seccomp
from sandbox_service.e2b_local.machine.advice import explain
from sandbox_service.e2b_local.machine.guest import Guest
from sandbox_service.e2b_local.machine.launch import launch
from sandbox_service.e2b_local.machine.limits import Limiter
from sandbox_service.e2b_local.machine.model import (
    BootFailedError,
    BootSpec,
    GuestLostError,
    IsolationUnavailableError,
    MachineConfig,
)
from sandbox_service.e2b_local.machine.places import Place
from sandbox_service.e2b_local.machine.roots import Roots
from sandbox_service.e2b_local.machine.staging import (
    InstanceFolder,
    choose_interpreter,
    link_python,
)
from sandbox_service.e2b_local.machine.uids import UidPool, claim_for_images

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from sandbox_service.e2b_local.machine.model import Image, Strength

TIER_OWN_USER: Final = "bwrap-userns"
TIER_HOST_UID: Final = "bwrap-host-uid"


class Machine:
    """Boots sandboxes on this machine and owns them.

    A sandbox stands on an image, a root filesystem of its own, or sees the host's `/usr`. In
    the latter what is installed there answers inside: `node`, `npm`, `git`, and both `python`
    and `python3` in any case. What somebody keeps in a home (`~/.nvm`, `~/.pyenv`) does not.
    `sudo` and `su` are stand-ins that change the name a command runs under.

    Attributes:
        tier: How they are isolated. `bwrap-userns`: unprivileged bubblewrap under the
            server's own user. `bwrap-host-uid`: the same, but the server is root and gives
            each sandbox a host uid of its own.
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
        self.tier = TIER_OWN_USER if uids is None else TIER_HOST_UID
        self.bwrap = layout.bwrap
        self.snapshots_dir = folder.path / "snapshots"
        self._config = config
        self._folder = folder
        self._roots = Roots(config, folder, layout)
        self._memory_roots = keeping.memory_roots(config)
        self._uids = uids
        self._limiter = limiter
        self._guests: dict[str, Guest] = {}
        self._places: dict[str, Place] = {}
        self._shelved: dict[str, Place] = {}
        self._booting: dict[str, asyncio.Future[None]] = {}
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
        _check_platform()
        folder = await asyncio.to_thread(InstanceFolder.create, config.state_dir)
        uids = limiter = None
        try:
            if os.geteuid() == 0:
                uids = UidPool.claim(config.uid_lock_dir)
            limiter = await asyncio.to_thread(Limiter, config, folder.path)
            return await cls._probe(config, folder, uids, limiter)
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
        folder: InstanceFolder,
        uids: UidPool | None,
        limiter: Limiter,
    ) -> Machine:
        guest_dir = folder.write_guest_files()
        chosen = choose_interpreter(config.python)
        python = await asyncio.to_thread(folder.stage_python, chosen)
        link_python(guest_dir / "bin", python)
        await asyncio.to_thread(folder.compile_agent, python)
        failures = []
        for candidate in bubblewrap.find_candidates(config.bwrap):
            try:
                program = folder.stage_bubblewrap(candidate)
                layout = bubblewrap.look_at_host(program, guest_dir, python)
                machine = cls(config, folder, layout, uids, limiter)
                guest = await machine.boot("probe", BootSpec())
                await guest.kill()
            except (BootFailedError, OSError) as error:
                failures.append((f"{candidate.origin} ({candidate.program})", str(error)))
                continue
            return machine
        raise explain(failures)

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
        image, archive = spec.image, spec.archive_fd
        if image is not None:
            uid = image.owner
        else:
            uid = None if self._uids is None else self._uids.take()
        place = Place(self._folder.path / "sandboxes" / sandbox_id, uid, image)
        try:
            place.make()
            if image is not None and archive is not None:
                await keeping.unpack(archive, place)
        except OSError as error:
            await self._clean_up(sandbox_id, place)
            raise BootFailedError(f"the host refused: {error}") from error
        except BaseException:
            await self._clean_up(sandbox_id, place)
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
        clean_up = functools.partial(self._clean_up, sandbox_id, place)
        # No group ever has the name of another, which may not be gone yet.
        name = f"{sandbox_id}-{boot_id[:8]}"
        try:
            place.make_ready(boot_id)
            async with contextlib.AsyncExitStack() as undo:
                confinement = self._limiter.confine(name, spec.limits, place.path)
                undo.push_async_callback(confinement.end)
                launched = await launch(
                    self._roots.command_of(place, spec, confinement.told),
                    self._roots.filter_of(place),
                    place.uid,
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
        return Guest(sandbox_id, boot_id, launched, clean_up, confinement, place.layer)

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
            GuestOSError: As `Guest.pack`. What was written is worthless then.
            GuestLostError: It has died, or was never there.
        """
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
            await self._clean_up(sandbox_id, place)

    async def close(self) -> None:
        """Kill every sandbox and remove everything from the disk. Idempotent."""
        self._closed = True
        if self._booting:
            await asyncio.wait(self._booting.values())
        await asyncio.gather(*(guest.kill() for guest in list(self._guests.values())))
        self._shelved.clear()
        await self._limiter.close()
        await asyncio.to_thread(self._folder.remove)
        if self._uids is not None:
            self._uids.close()

    async def _clean_up(self, sandbox_id: str, place: Place) -> None:
        self._places.pop(sandbox_id, None)
        if place.kept:
            self._guests.pop(sandbox_id, None)
            self._shelved[sandbox_id] = place
            return
        await asyncio.to_thread(place.remove)
        self._guests.pop(sandbox_id, None)
        if place.image is None and place.uid is not None and self._uids is not None:
            self._uids.give_back(place.uid)


def raise_open_files_limit() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; the limits before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def _check_platform() -> None:
    if sys.platform != "linux":
        raise IsolationUnavailableError(
            f"Sandboxes are made of Linux namespaces, and this is {sys.platform}.",
            "Use a Linux machine, WSL 2 or a virtual machine, or set E2B_API_KEY.",
        )
    if platform.machine() not in seccomp.ARCHITECTURES:
        raise IsolationUnavailableError(
            f"There is no system call filter for the processor {platform.machine()}.",
            f"Use one of {', '.join(seccomp.ARCHITECTURES)}, or set E2B_API_KEY.",
        )
