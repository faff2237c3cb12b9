"""Which control groups this process may use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine.cgroups.v1 import CONTROLLERS, ControlGroupsV1
from sandbox_service.e2b_local.machine.cgroups.v2 import ControlGroupsV2

if TYPE_CHECKING:
    from sandbox_service.e2b_local.machine.cgroups.model import ControlGroups


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search.

    Attributes:
        groups: What can be used. None: nothing.
        reason: Why not, for people; empty when something was found.
    """

    groups: ControlGroups | None
    reason: str = ""


def find_control_groups(process: Path = Path("/proc/self")) -> Found:
    """Take what the kernel and whoever started this process allow.

    Version 2 comes first; a host with both gives its controllers to one of them.

    Args:
        process: The folder in `/proc` that says where this process is.
    """
    try:
        mounts = (process / "mountinfo").read_text()
        member = (process / "cgroup").read_text()
    except OSError as error:
        return Found(None, f"control groups cannot be looked up ({error.strerror})")
    reasons = []
    own = own_folders(mounts, member)
    if "" in own:
        try:
            return Found(ControlGroupsV2(own[""], os.getpid()))
        except OSError as error:
            reasons.append(f"version 2: {_said(error)}")
    parents: dict[str, Path] = {name: own[name] for name in CONTROLLERS if name in own}
    if parents:
        try:
            return Found(ControlGroupsV1(parents))
        except OSError as error:
            reasons.append(f"version 1: {_said(error)}")
    return Found(None, "; ".join(reasons) or "this host has no control groups")


def _said(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.strerror else str(error)


def own_folders(mounts: str, member: str) -> dict[str, Path]:
    """Say where this process's group lies in each hierarchy.

    Args:
        mounts: The text of `/proc/self/mountinfo`.
        member: The text of `/proc/self/cgroup`.

    Returns:
        Folder by controller; that of version 2 under the empty name.
    """
    places: dict[str, tuple[str, Path]] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, system = before.split(), after.split()
        if len(fields) < 5 or len(system) < 3 or system[0] not in {"cgroup", "cgroup2"}:
            continue
        names = [""] if system[0] == "cgroup2" else system[2].split(",")
        for name in names:
            places[name] = fields[3], Path(fields[4])
    folders = {}
    for line in member.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in places:
                root, mount = places[name]
                # In a container the mount may show only a part of the tree.
                inside = os.path.relpath(path, root)
                folders[name] = mount if inside.startswith("..") else mount / inside
    return folders
