"""What a person should know about root filesystems of templates before a server uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.images.templates import take_images
from sandbox_service.e2b_local.machine import Finding, IsolationUnavailableError, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sandbox_service.e2b_local.machine import MachineConfig


async def examine_images(
    roots: Mapping[str, Path], base: Path, config: MachineConfig, tell: Callable[[str], None]
) -> list[Finding]:
    """Unpack root filesystems as a server would at its start, and boot each.

    Never raises for what it finds. What was unpacked is there for the server.

    Args:
        roots: Folders or tars, by the template.
        base: Folder of the images, the server's.
        config: Of a machine for this alone.
        tell: Called with lines for people, from another thread.
    """
    if not roots:
        return []
    try:
        machine = await Machine.start(config)
    except IsolationUnavailableError as error:
        return [Finding("root filesystems", False, error.cause, error.fix)]
    findings = []
    try:
        for name, root in roots.items():
            template = Template(template_id=name, rootfs=root)
            try:
                images = await take_images([template], base, machine, tell=tell)
            except (ConfigError, IsolationUnavailableError) as error:
                findings.append(Finding(f"template {name}", False, error.cause, error.fix))
                continue
            digest = images.describe([template])[name]["digest"]
            images.close()
            findings.append(Finding(f"template {name}", True, f"{root} boots (image {digest})"))
    finally:
        await machine.close()
    return findings
