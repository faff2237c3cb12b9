"""The backend's process: from settings to a served port, and to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sandbox_service import __version__
from sandbox_service.e2b_local import lifeline
from sandbox_service.e2b_local.control import ControlApi, ControlPlane
from sandbox_service.e2b_local.edge import Acceptor, prepare_tls
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.fleet import Fleet
from sandbox_service.e2b_local.gateway import Gateway
from sandbox_service.e2b_local.gateway.routing import OwnHosts
from sandbox_service.e2b_local.http1 import Server
from sandbox_service.e2b_local.images import ImportStoppedError, TemplateImages, take_images
from sandbox_service.e2b_local.info import LocalInfo
from sandbox_service.e2b_local.machine import (
    IsolationUnavailableError,
    Machine,
    MachineConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_service.e2b_local.config import LocalConfig
    from sandbox_service.e2b_local.edge import TlsIdentity
    from sandbox_service.e2b_local.faults.injector import FaultInjector
    from sandbox_service.e2b_local.faults.rules import Rule

logger = logging.getLogger(__name__)

EXIT_OK: Final = 0
EXIT_CANNOT_START: Final = 2
_ADDRESS: Final = "127.0.0.1"
# After this long an end that does not come by itself is forced. The sandboxes
# end with the process in any case.
_SHUTDOWN_SECONDS: Final = 10.0


def print_status(status: dict[str, Any]) -> None:
    """Write a status as one JSON line to standard output, for the parent to read."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(status) + "\n")
        sys.stdout.flush()


async def run(
    config: LocalConfig, *, announce: Callable[[dict[str, Any]], None] = print_status
) -> int:
    """Serve until SIGTERM or SIGINT, or until the parent is gone.

    Args:
        config: Settings.
        announce: Called once: with `ready` true and `port`, `url`, `domain`,
            `tier`, `tier_detail`, `limits`, `limits_detail` and `pid`; or with `ready` false,
            `cause` and `fix`.

    Returns:
        The process's exit code: 0 after an orderly end, 2 when it cannot start.
    """
    stop = asyncio.Event()
    _end_on_signals(stop)
    try:
        rules = _load_rules(config)
        _check_egress(config)
        if config.parent_lifeline:
            _end_with_parent(stop)
        async with contextlib.AsyncExitStack() as undo:
            listening = undo.enter_context(contextlib.closing(_bind(config.port)))
            machine = await _start_machine(config)
            undo.push_async_callback(machine.close)
            images = await _take_images(config, machine, stop)
            undo.callback(images.close)
            tls = await asyncio.to_thread(
                prepare_tls, config.state_dir / "tls", _bare_domain(config)
            )
            undo.pop_all()
    except ImportStoppedError:
        return EXIT_OK
    except (ConfigError, IsolationUnavailableError) as error:
        announce({"ready": False, "cause": error.cause, "fix": error.fix})
        sys.stderr.write(f"The local backend cannot start. {error.cause} {error.fix}\n")
        return EXIT_CANNOT_START
    try:
        await _serve(config, machine, images, tls, rules, listening, stop, announce)
    finally:
        images.close()
    return EXIT_OK


def _load_rules(config: LocalConfig) -> list[Rule] | None:
    """Return the faults to begin with. None: nothing goes wrong on purpose."""
    if config.faults_file is not None:
        # Imported late here and below: it takes as long as the rest, and is seldom used.
        from sandbox_service.e2b_local.faults.rules import load_rules

        return load_rules(config.faults_file)
    return [] if config.faults else None


def _make_faults(fleet: Fleet, rules: list[Rule] | None) -> FaultInjector | None:
    if rules is None:
        return None
    from sandbox_service.e2b_local.faults.injector import FaultInjector

    return FaultInjector(fleet.kill, rules)


def _check_egress(config: LocalConfig) -> None:
    if config.isolation == "process-unsafe" and config.egress is not None:
        raise ConfigError(
            "Sandboxes of the isolation process-unsafe can make no sockets, so no proxy can be "
            "their way out.",
            "Choose another isolation, or no egress (SANDBOX_LOCAL_EGRESS=none).",
        )


async def _start_machine(config: LocalConfig) -> Machine:
    machine = await Machine.start(
        MachineConfig(
            state_dir=config.state_dir,
            bwrap=config.bwrap,
            isolation=config.isolation,
            limits=config.limits,
            process_limit=config.process_limit,
            tmp_size_bytes=config.tmp_size_bytes,
        )
    )
    if not machine.tier.boundary:
        # Whatever the log's level.
        _tell(f"WARNING: isolation {machine.tier.name}: {machine.tier.worth}.")
    return machine


async def _take_images(
    config: LocalConfig, machine: Machine, stop: asyncio.Event
) -> TemplateImages:
    return await take_images(
        config.templates.values(),
        config.images_dir or config.state_dir / "images",
        machine,
        tell=_tell,
        stopped=stop.is_set,
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _bare_domain(config: LocalConfig) -> str:
    return config.domain.partition(":")[0].lower().rstrip(".")


async def _serve(
    config: LocalConfig,
    machine: Machine,
    images: TemplateImages,
    tls: TlsIdentity,
    rules: list[Rule] | None,
    listening: socket.socket,
    stop: asyncio.Event,
    announce: Callable[[dict[str, Any]], None],
) -> None:
    port: int = listening.getsockname()[1]
    url = f"http://{_ADDRESS}:{port}"
    own = OwnHosts(_bare_domain(config), port)
    domain = config.domain if ":" in config.domain else f"{own.domain}:{port}"
    fleet = Fleet(
        machine,
        time.time,
        max_sandboxes=config.max_sandboxes,
        max_lifetime_seconds=config.max_lifetime_seconds,
        egress=config.egress,
        images=images,
    )
    info = LocalInfo(
        url=url,
        domain=domain,
        tier=machine.tier.name,
        tier_detail=machine.tier.worth,
        limits=machine.limits,
        limits_detail=machine.limits_detail,
        version=__version__,
        api_key_required=config.api_key is not None,
        ca=str(tls.authority),
        ca_bundle=str(tls.bundle),
        faults=rules is not None,
        egress="none" if config.egress is None else "proxy",
        images=images.describe(config.templates.values()),
    )
    faults = _make_faults(fleet, rules)
    control = ControlApi(ControlPlane(fleet, config, domain, faults))
    server = Server(
        Gateway(
            fleet,
            control,
            own,
            info,
            connection_limit=config.max_connections_per_sandbox,
            any_host=config.api_key is not None,
            faults=faults,
        )
    )
    acceptor = Acceptor(server, tls.context, own.serve)
    try:
        server.begin()
        acceptor.listen(listening)
        fleet.begin()
        fleet.keep_warm(config.templates.values(), config.warm_sandboxes)
        logger.info("serving on %s, isolation %s (%s)", url, machine.tier.name, machine.tier.worth)
        announce(_ready_status(machine, port, url, domain))
        await stop.wait()
    finally:
        _force_end_later()
        await acceptor.close()
        await server.close()
        await fleet.close()


def _ready_status(machine: Machine, port: int, url: str, domain: str) -> dict[str, Any]:
    return {
        "ready": True,
        "port": port,
        "url": url,
        "domain": domain,
        "tier": machine.tier.name,
        "tier_detail": machine.tier.worth,
        "limits": dict(machine.limits),
        "limits_detail": machine.limits_detail,
        "pid": os.getpid(),
    }


def _bind(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Only past connections of that port are overlooked, never a listener.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_ADDRESS, port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        listening.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            cause = f"Port {port} on {_ADDRESS} is taken by another process."
        else:
            cause = f"Cannot listen on {_ADDRESS}:{port} ({error})."
        raise ConfigError(cause, "Choose another port, or 0 for any free one.") from None
    return listening


def _end_with_parent(stop: asyncio.Event) -> None:
    try:
        lifeline.watch_standard_input(stop.set)
    except PermissionError:
        cause = "Standard input is no pipe, so the end of the parent could not be seen."
        fix = "Start it with a pipe that the parent keeps open, or without the lifeline."
        raise ConfigError(cause, fix) from None


def _end_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _force_end_later() -> None:
    timer = threading.Timer(_SHUTDOWN_SECONDS, os._exit, args=[1])
    timer.daemon = True
    timer.start()
