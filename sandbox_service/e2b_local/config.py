"""Settings of one local backend, and the templates it offers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox_service.e2b_local.egress import EgressSettings
    from sandbox_service.e2b_local.machine import IsolationMode, LimitsMode

DEFAULT_DOMAIN: Final = "sbx.localhost"
DEFAULT_WARM_SANDBOXES: Final = 2
_GIB_IN_MIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a sandbox of that name is said to be, and the variables it starts with.

    A template without a root filesystem of its own shows the host's own `/usr`:
    those differ in name and variables, not in what is installed.

    Attributes:
        template_id: What a client asks for.
        cpu_count: How many CPUs its sandboxes may keep busy, as far as limits hold here.
        memory_mib: How much memory its programs may have.
        disk_mib: How much it may have on the disk.
        env: Variables of every program in such a sandbox.
        rootfs: Folder or tar of its root filesystem. None: the host's own `/usr`.
    """

    template_id: str
    cpu_count: int = 2
    memory_mib: int = 1024
    disk_mib: int = 10 * _GIB_IN_MIB
    env: Mapping[str, str] = field(default_factory=dict)
    rootfs: Path | None = None


def default_templates() -> dict[str, Template]:
    """Return the templates that need no configuration, by name."""
    names = ("base", "python", "node", "code-interpreter-v1")
    return {name: Template(template_id=name) for name in names}


def load_templates(path: Path) -> dict[str, Template]:
    """Read templates from a JSON file.

    The file maps a name to an object with any of `cpu_count`, `memory_mib`,
    `disk_mib` (integers), `env` (an object of strings) and `rootfs` (a path, from the
    folder of this file).

    Raises:
        ConfigError: The file cannot be read, or does not have that form.
    """
    fix = 'Write an object such as {"base": {"cpu_count": 2, "memory_mib": 1024}}.'
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"Cannot read the templates file {path}: {error.strerror}.", fix
        ) from None
    except ValueError as error:
        raise ConfigError(f"The templates file {path} is not JSON: {error}.", fix) from None
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"The templates file {path} holds no templates.", fix)
    return {name: _template(path, name, value, fix) for name, value in document.items()}


def _template(path: Path, name: str, value: object, fix: str) -> Template:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: template {name!r} is not an object.", fix)
    sizes: dict[str, int] = {}
    for key in ("cpu_count", "memory_mib", "disk_mib"):
        number = value.get(key)
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigError(f"{path}: {key} of template {name!r} is not a positive integer.", fix)
        sizes[key] = number
    env = value.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(item, str) for item in env.values()):
        raise ConfigError(f"{path}: env of template {name!r} is not an object of strings.", fix)
    rootfs = value.get("rootfs")
    if rootfs is not None and (not isinstance(rootfs, str) or not rootfs):
        raise ConfigError(f"{path}: rootfs of template {name!r} is not a path.", fix)
    unknown = value.keys() - {"cpu_count", "memory_mib", "disk_mib", "env", "rootfs"}
    if unknown:
        raise ConfigError(f"{path}: template {name!r} has unknown keys {sorted(unknown)}.", fix)
    root = None if rootfs is None else path.absolute().parent / rootfs
    return Template(template_id=name, env=env, rootfs=root, **sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Settings of one local backend.

    Attributes:
        state_dir: Folder for everything on disk; other backends may share it.
        images_dir: Folder for the root filesystems of templates as they are used; other
            backends may share it. None: one in `state_dir`.
        port: TCP port on 127.0.0.1. 0: any free one.
        domain: Domain of preview URLs (`{port}-{id}.{domain}`). The backend's
            port is added to it when it has none.
        api_key: What clients must send as `X-API-KEY`. None: anything, also nothing.
        templates: By name. Empty: `default_templates`.
        max_lifetime_seconds: Longest lifetime a client may ask for at once.
        max_sandboxes: How many sandboxes may run at the same time; paused ones do not
            count. None: any number.
        warm_sandboxes: How many sandboxes are kept booted for those who will ask, of the
            first template on the host's files and of every other with its sizes.
        max_connections_per_sandbox: Requests under way in one sandbox.
        egress: Where sandboxes may connect to, through a proxy. None: nowhere.
        faults: Whether `/local/faults` may make things go wrong.
        faults_file: JSON file with the faults to begin with, which also allows them.
        parent_lifeline: End when the parent process ends, and when standard
            input, a pipe that the parent holds, is closed.
        bwrap: The bubblewrap to use. None: the first that works.
        isolation: `auto`: the best that works here. A name: that one or none.
        limits: How the sizes of templates are kept, see `MachineConfig.limits`.
        process_limit: Processes and threads in one sandbox.
        tmp_size_bytes: Size of `/tmp` in a sandbox, which is memory.
    """

    state_dir: Path
    images_dir: Path | None = None
    port: int = 0
    domain: str = DEFAULT_DOMAIN
    api_key: str | None = field(default=None, repr=False)
    templates: Mapping[str, Template] = field(default_factory=default_templates)
    max_lifetime_seconds: int = 24 * 3600
    max_sandboxes: int | None = None
    warm_sandboxes: int = DEFAULT_WARM_SANDBOXES
    max_connections_per_sandbox: int = 20_000
    egress: EgressSettings | None = None
    faults: bool = False
    faults_file: Path | None = None
    parent_lifeline: bool = False
    bwrap: Path | None = None
    isolation: IsolationMode = "auto"
    limits: LimitsMode = "auto"
    process_limit: int = 4096
    tmp_size_bytes: int = 256 * 1024**2
