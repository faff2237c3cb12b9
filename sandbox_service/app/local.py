"""`sandbox-service local`: the embedded backend alone, for any client of E2B's SDK."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from sandbox_service.app import local_exports
from sandbox_service.app import local_options as options
from sandbox_service.app.settings import default_state_dir, images_dir

_EXIT_NO_BACKEND: Final = 1
_EXIT_CANNOT_START: Final = 2
# A line with \b keeps the lines below it as they are.
HELP: Final = """Run the embedded backend alone: a local E2B, with no account, Docker, KVM or root.

\b
In one terminal:   sandbox-service local
In another:        eval "$(sandbox-service local --env)"
                   python your_program_that_uses_e2b.py

With --env --tls the program sees what it sees in the cloud: https://api.DOMAIN and
https://PORT-ID.DOMAIN, through HTTPS_PROXY and a certificate of this machine alone. What
else it talks to is passed on.

\b
E2B's JavaScript SDK does not read HTTPS_PROXY; it takes the proxy as an option:
Sandbox.create({ proxy: process.env.HTTPS_PROXY })

Set SANDBOX_LOCAL_API_KEY for it, and clients must send that key; --env then needs it too.
All sandboxes end when it ends.
"""
_err = Console(stderr=True, soft_wrap=True)


def local(
    *,
    port: options.Port = options.DEFAULT_PORT,
    domain: options.Domain = "sbx.localhost",
    state_dir: options.StateDir = None,
    bwrap: options.Bwrap = None,
    isolation: options.Isolation = "auto",
    limits: options.Limits = "auto",
    templates: options.Templates = None,
    max_sandboxes: options.MaxSandboxes = None,
    warm: options.Warm = 2,
    egress: options.EgressMode = options.Egress.NONE,
    egress_allow: options.EgressAllow = "",
    egress_ports: options.EgressPorts = "80,443",
    egress_private: options.EgressPrivate = "",
    faults: options.Faults = False,
    faults_file: options.FaultsFile = None,
    log_level: options.Level = options.LogLevel.WARNING,
    env: options.Env = False,
    tls: options.Tls = False,
) -> None:
    """Run the embedded backend alone, or print what a client of a running one needs."""
    if env:
        _print_exports(port, tls=tls)
        return
    if tls:
        _err.print("[bold red]--tls goes with --env.[/] The port always takes TLS.")
        raise typer.Exit(_EXIT_CANNOT_START)
    # Imported late, and never under uvloop, which leaks descriptors into children.
    from sandbox_service import e2b_local

    if limits == "auto":
        e2b_local.enter_scope()
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        offered = e2b_local.load_templates(templates) if templates else None
        way_out = e2b_local.read_settings(egress, egress_allow, egress_ports, egress_private)
    except e2b_local.ConfigError as error:
        words = escape(f"{error.cause} {error.fix}")
        _err.print(f"[bold red]Cannot start.[/] {words}", highlight=False)
        raise typer.Exit(_EXIT_CANNOT_START) from None
    base = state_dir or default_state_dir()
    config = e2b_local.LocalConfig(
        state_dir=base / "local",
        images_dir=images_dir(base),
        port=port,
        domain=domain,
        bwrap=bwrap,
        isolation=isolation,
        limits=limits,
        templates=offered or e2b_local.default_templates(),
        max_sandboxes=max_sandboxes,
        warm_sandboxes=warm,
        egress=way_out,
        faults=faults,
        faults_file=faults_file,
        # Taken out, so that nothing started from here inherits it.
        api_key=os.environ.pop(local_exports.KEY_VARIABLE, None),
    )
    raise typer.Exit(asyncio.run(e2b_local.run(config, announce=_announce)))


def _announce(status: dict[str, Any]) -> None:
    """Tell a person on standard error, then a program on standard output."""
    from sandbox_service.e2b_local.server import print_status

    if status["ready"]:
        command = f"{_command(status['port'])} --env"
        lines = (
            f"Ready at {status['url']}, sandboxes isolated by {status['tier']}"
            f" ({status['tier_detail']}).",
            f"Limits: {status['limits_detail']}.",
            "For a client of E2B:",
            f'  eval "$({command})"',
            f'  eval "$({command} --tls)"    with https:// hosts as in the cloud',
            "Ctrl-C ends it and all its sandboxes.",
        )
        # As it is: these brackets and quotes are for a shell.
        _err.print("\n".join(lines), markup=False, highlight=False)
    if not sys.stdout.isatty():
        print_status(status)


def _command(port: int) -> str:
    """Return this command as a person here would type it."""
    program = "sandbox-service"
    if shutil.which(program) is None and Path(sys.argv[0]).name == program:
        program = shlex.quote(sys.argv[0])
    return f"{program} local" + (f" --port {port}" if port != options.DEFAULT_PORT else "")


def _print_exports(port: int, *, tls: bool) -> None:
    try:
        backend = local_exports.ask(f"http://127.0.0.1:{port}")
        lines = local_exports.shell_lines(backend, os.environ, tls=tls)
    except local_exports.NoBackendError as error:
        _err.print(f"[bold red]{error}[/] Start one: {escape(_command(port))}", highlight=False)
        raise typer.Exit(_EXIT_NO_BACKEND) from None
    except local_exports.KeyMissingError:
        _err.print(
            f"[bold red]The backend asks for a key.[/] Set {local_exports.KEY_VARIABLE} to the"
            " one it was started with.",
            highlight=False,
        )
        raise typer.Exit(_EXIT_NO_BACKEND) from None
    typer.echo("\n".join(lines))
