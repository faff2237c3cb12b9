"""Where sandboxes come from: probed once, then booted one by one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import platform
import resource
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_service.e2b_local.machine import archives, bubblewrap, seccomp
from sandbox_service.e2b_local.machine.advice import explain
from sandbox_service.e2b_local.machine.guest import Guest
from sandbox_service.e2b_local.machine.launch import launch
from sandbox_service.e2b_local.machine.model import (
    BootFailedError,
    BootSpec,
    GuestLostError,
    IsolationUnavailableError,
    MachineConfig,
)
from sandbox_service.e2b_local.machine.staging import (
    InstanceFolder,
    choose_interpreter,
    link_python,
    remove_tree,
)
from sandbox_service.e2b_local.machine.uids import UidPool

TIER_OWN_USER: Final = "bwrap-userns"
TIER_HOST_UID: Final = "bwrap-host-uid"

_SAVED: Final = "saved.tar"
"""In a shelved sandbox's own folder: what it had in memory file systems."""


@dataclass(slots=True)
class _Place:
    """What a sandbox keeps between two boots.

    Attributes:
        path: Its own folder on the host.
        uid: Whom the host takes it for. None: the server's own user.
        kept: Whether it stays when the processes end.
    """

    path: Path
    uid: int | None
    kept: bool = False


class Machine:
    """Boots sandboxes on this machine and owns them.

    A sandbox sees the host's `/usr`, so what is installed there answers inside: `node`,
    `npm`, `git`, and both `python` and `python3` in any case. What somebody keeps in a
    home (`~/.nvm`, `~/.pyenv`) does not. `sudo` and `su` are stand-ins that change the name
    a command runs under.

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
    ) -> None:
        self.tier = TIER_OWN_USER if uids is None else TIER_HOST_UID
        self.bwrap = layout.bwrap
        self.snapshots_dir = folder.path / "snapshots"
        self._config = config
        self._folder = folder
        self._layout = layout
        self._uids = uids
        self._guests: dict[str, Guest] = {}
        self._places: dict[str, _Place] = {}
        self._shelved: dict[str, _Place] = {}
        self._booting: dict[str, asyncio.Future[None]] = {}
        self._closed = False
        self._limits = json.dumps(
            {
                "RLIMIT_NPROC": config.process_limit,
                "RLIMIT_NOFILE": config.open_files_limit,
                "RLIMIT_FSIZE": config.file_size_limit_bytes,
                "RLIMIT_CORE": 0,
            }
        )

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
        uids = None
        try:
            if os.geteuid() == 0:
                uids = UidPool.claim(config.uid_lock_dir)
            return await cls._probe(config, folder, uids)
        except BaseException:
            if uids is not None:
                uids.close()
            await asyncio.to_thread(folder.remove)
            raise

    @classmethod
    async def _probe(
        cls, config: MachineConfig, folder: InstanceFolder, uids: UidPool | None
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
                machine = cls(config, folder, layout, uids)
                guest = await machine.boot("probe", BootSpec())
                await guest.kill()
            except (BootFailedError, OSError) as error:
                failures.append((f"{candidate.origin} ({candidate.program})", str(error)))
                continue
            return machine
        raise explain(failures)

    async def boot(self, sandbox_id: str, spec: BootSpec | None = None) -> Guest:
        """Start a sandbox, a new one or one that was shelved.

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
        uid = None if self._uids is None else self._uids.take()
        place = _Place(self._folder.path / "sandboxes" / sandbox_id, uid)
        try:
            make_folders(place.path, uid)
        except OSError as error:
            await self._clean_up(sandbox_id, place)
            raise BootFailedError(f"the host refused: {error}") from error
        return await self._boot(sandbox_id, spec, place)

    async def _boot_again(self, sandbox_id: str, spec: BootSpec, place: _Place) -> Guest:
        guest = await self._boot(sandbox_id, spec, place)
        saved = place.path / _SAVED
        try:
            with open(saved, "rb") as archive:  # noqa: PTH123, ASYNC230 - Opened, not read.
                await guest.unpack(archive.fileno(), roots=self._volatile)
            saved.unlink()
        except (GuestLostError, OSError) as error:
            await guest.kill()
            raise BootFailedError(f"what it had in memory is not restored: {error}") from error
        except BaseException:
            await guest.kill()
            raise
        place.kept = False
        return guest

    async def _boot(self, sandbox_id: str, spec: BootSpec, place: _Place) -> Guest:
        boot_id = str(uuid.uuid4())
        clean_up = functools.partial(self._clean_up, sandbox_id, place)
        try:
            write_boot_id(place.path, boot_id)
            launched = await launch(
                lambda control_fd, seccomp_fd: bubblewrap.build_arguments(
                    self._layout,
                    self._config,
                    spec,
                    place.path,
                    control_fd,
                    seccomp_fd,
                    self._limits,
                ),
                self._layout.guest_dir / "seccomp.bpf",
                place.uid,
                self._config.boot_timeout_seconds,
            )
        except OSError as error:
            await clean_up()
            raise BootFailedError(f"the host refused: {error}") from error
        except BaseException:
            await clean_up()
            raise
        self._places[sandbox_id] = place
        return Guest(sandbox_id, boot_id, launched, clean_up)

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
        saved = place.path / _SAVED
        async with guest.programs_stopped():
            try:
                descriptor = archives.create(saved)
                try:
                    await guest.pack(descriptor, roots=self._volatile)
                finally:
                    os.close(descriptor)
            except BaseException:
                saved.unlink(missing_ok=True)
                raise
            if guest.ended.done():
                raise GuestLostError(guest.ended.result())
            place.kept = True
            await guest.kill("it was shelved")

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
        await asyncio.to_thread(self._folder.remove)
        if self._uids is not None:
            self._uids.close()

    @property
    def _volatile(self) -> tuple[str, ...]:
        """The folders of a sandbox that are memory."""
        return (archives.TMP,) if self._config.home_size_bytes is None else archives.ROOTS

    async def _clean_up(self, sandbox_id: str, place: _Place) -> None:
        self._places.pop(sandbox_id, None)
        if place.kept:
            self._guests.pop(sandbox_id, None)
            self._shelved[sandbox_id] = place
            return
        await asyncio.to_thread(remove_tree, place.path)
        self._guests.pop(sandbox_id, None)
        if place.uid is not None and self._uids is not None:
            self._uids.give_back(place.uid)


def make_folders(path: Path, owner: int | None) -> None:
    """Make a sandbox's own folders, open to its user alone."""
    path.mkdir(mode=0o700)
    for name, _ in bubblewrap.WRITABLE:
        (path / name).mkdir(mode=0o755)
        if owner is not None:
            os.chown(path / name, owner, owner)
    if owner is not None:
        os.chown(path, owner, owner)


def write_boot_id(path: Path, boot_id: str) -> None:
    """Write the file that a sandbox sees as the id of its boot."""
    file = path / bubblewrap.BOOT_ID
    file.unlink(missing_ok=True)  # Of the boot before; even its owner may not write to it.
    file.write_text(f"{boot_id}\n")
    file.chmod(0o444)


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
