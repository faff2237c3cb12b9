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
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine import bubblewrap, seccomp
from sandbox_service.e2b_local.machine.advice import explain
from sandbox_service.e2b_local.machine.guest import Guest
from sandbox_service.e2b_local.machine.launch import launch
from sandbox_service.e2b_local.machine.model import (
    BootFailedError,
    BootSpec,
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

if TYPE_CHECKING:
    from pathlib import Path

TIER_OWN_USER: Final = "bwrap-userns"
TIER_HOST_UID: Final = "bwrap-host-uid"


class Machine:
    """Boots sandboxes on this machine and owns them.

    Attributes:
        tier: How they are isolated. `bwrap-userns`: unprivileged bubblewrap under the
            server's own user. `bwrap-host-uid`: the same, but the server is root and gives
            each sandbox a host uid of its own.
        bwrap: The bubblewrap in use, for people.
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
        self._config = config
        self._folder = folder
        self._layout = layout
        self._uids = uids
        self._guests: dict[str, Guest] = {}
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
        """Start a sandbox.

        Raises:
            BootFailedError: It did not start, and nothing of it is left.
            ValueError: There is one of that id, or the machine is closed.
        """
        if self._closed or sandbox_id in self._guests or sandbox_id in self._booting:
            raise ValueError(f"sandbox {sandbox_id} exists, or the machine is closed")
        booted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._booting[sandbox_id] = booted
        try:
            guest = await self._boot(sandbox_id, spec or BootSpec())
            self._guests[sandbox_id] = guest
        finally:
            del self._booting[sandbox_id]
            booted.set_result(None)
        return guest

    async def _boot(self, sandbox_id: str, spec: BootSpec) -> Guest:
        uid = None if self._uids is None else self._uids.take()
        path = self._folder.path / "sandboxes" / sandbox_id
        clean_up = functools.partial(self._clean_up, sandbox_id, path, uid)
        try:
            make_folders(path, uid)
            launched = await launch(
                lambda control_fd, seccomp_fd: bubblewrap.build_arguments(
                    self._layout,
                    self._config,
                    spec,
                    path,
                    control_fd,
                    seccomp_fd,
                    self._limits,
                ),
                self._layout.guest_dir / "seccomp.bpf",
                uid,
                self._config.boot_timeout_seconds,
            )
        except OSError as error:
            await clean_up()
            raise BootFailedError(f"the host refused: {error}") from error
        except BaseException:
            await clean_up()
            raise
        return Guest(sandbox_id, launched, clean_up)

    async def close(self) -> None:
        """Kill every sandbox and remove everything from the disk. Idempotent."""
        self._closed = True
        if self._booting:
            await asyncio.wait(self._booting.values())
        await asyncio.gather(*(guest.kill() for guest in list(self._guests.values())))
        await asyncio.to_thread(self._folder.remove)
        if self._uids is not None:
            self._uids.close()

    async def _clean_up(self, sandbox_id: str, path: Path, uid: int | None) -> None:
        await asyncio.to_thread(remove_tree, path)
        self._guests.pop(sandbox_id, None)
        if uid is not None and self._uids is not None:
            self._uids.give_back(uid)


def make_folders(path: Path, owner: int | None) -> None:
    """Make a sandbox's own folders, open to its user alone."""
    path.mkdir(mode=0o700)
    for name, _ in bubblewrap.WRITABLE:
        (path / name).mkdir(mode=0o755)
        if owner is not None:
            os.chown(path / name, owner, owner)
    if owner is not None:
        os.chown(path, owner, owner)


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
