"""The images of a server's templates, made or found when it starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.images.store import Images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.images.store import HeldImage
    from sandbox_service.e2b_local.machine import Image, Machine


class ImportStoppedError(Exception):
    """Nobody waits any more for a root filesystem to be unpacked."""


class TemplateImages:
    """The images of some templates, which stay as long as this is not closed.

    Args:
        held: By the root filesystem that a template names.
    """

    def __init__(self, held: Mapping[Path, HeldImage] | None = None) -> None:
        self._held = dict(held or {})

    def image_of(self, template: Template) -> Image | None:
        """What sandboxes of a template are made of. None: the host's own files.

        Raises:
            KeyError: The template has an image, and it is not among these.
        """
        return None if template.rootfs is None else self._held[template.rootfs].image

    def describe(self, templates: Iterable[Template]) -> dict[str, dict[str, str]]:
        """Say of each template with an image where it is from: its path, its digest."""
        return {
            one.template_id: {
                "source": str(one.rootfs),
                "digest": self._held[one.rootfs].digest,
            }
            for one in templates
            if one.rootfs is not None
        }

    def close(self) -> None:
        """Let them be removed once their sources have changed. Idempotent."""
        for held in self._held.values():
            held.close()


async def take_images(
    templates: Iterable[Template],
    base: Path,
    machine: Machine,
    *,
    tell: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> TemplateImages:
    """Make ready for sandboxes of all templates that have a root filesystem of their own.

    Each image is booted once, so that none fails later for what can be known now.

    Args:
        templates: Those that are offered.
        base: Folder of the images.
        machine: What will boot them.
        tell: Called with lines for people, from another thread.
        stopped: Whether to give up; asked from another thread.

    Raises:
        ConfigError: A root filesystem cannot be used.
        IsolationUnavailableError: This machine cannot boot it.
        ImportStoppedError: It was given up.
    """
    sources = dict.fromkeys(one.rootfs for one in templates if one.rootfs is not None)
    if not sources:
        return TemplateImages()

    def check() -> None:
        if stopped():
            raise ImportStoppedError

    images = Images(base, machine.image_owners, tell=tell, check=check)
    held: dict[Path, HeldImage] = {}
    try:
        for source in sources:
            held[source] = await asyncio.to_thread(images.take, source)
        await machine.prepare_images(one.image for one in held.values())
    except BaseException:
        TemplateImages(held).close()
        raise
    return TemplateImages(held)
