"""`python -m sandbox_service.e2b_local`: the local backend as a process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from sandbox_service.e2b_local import lifeline
from sandbox_service.e2b_local.config import (
    DEFAULT_DOMAIN,
    DEFAULT_WARM_SANDBOXES,
    LocalConfig,
    default_templates,
    load_templates,
)
from sandbox_service.e2b_local.egress import read_settings
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.machine import ISOLATION_MODES, enter_scope
from sandbox_service.e2b_local.server import EXIT_CANNOT_START, print_status, run

API_KEY_VARIABLE = "SANDBOX_LOCAL_API_KEY"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox_service.e2b_local",
        description="Serve E2B's wire on this machine.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0: any free one")
    add("--domain", default=DEFAULT_DOMAIN, help="domain of preview URLs")
    add("--state-dir", type=Path, required=True, help="folder for everything on disk")
    add("--images-dir", type=Path, help="folder for root filesystems; others may share it")
    add("--api-key", help=f"what clients must send; better in ${API_KEY_VARIABLE}, which ps hides")
    add("--templates", type=Path, help="JSON file with the templates to offer")
    add(
        "--max-sandboxes",
        type=int,
        help="how many may run at the same time; any number, if not given",
    )
    add(
        "--warm",
        type=int,
        default=DEFAULT_WARM_SANDBOXES,
        help="sandboxes kept booted for those who will ask; 0: none",
    )
    add("--egress", default="none", help="none: no way out; proxy: to the hosts allowed")
    add("--egress-allow", default="", help="hosts, *.example.com, networks; *: any public host")
    add("--egress-ports", default="", help="TCP ports; 80,443, if not given")
    add("--egress-private", default="", help="networks, though not public, that are allowed")
    add(
        "--isolation",
        choices=ISOLATION_MODES,
        default="auto",
        help="what keeps sandboxes apart; auto: the best that works here",
    )
    add(
        "--limits",
        choices=["auto", "watch", "off"],
        default="auto",
        help="how memory, CPU and disk of sandboxes are limited; auto: by control groups if "
        "possible, else by watching them",
    )
    add("--bwrap", type=Path, help="bubblewrap to use; the first that works, if not given")
    add("--faults", action="store_true", help="let /local/faults make things go wrong")
    add("--faults-file", type=Path, help="JSON file with the faults to begin with")
    add("--parent-lifeline", action="store_true", help="end with the parent process")
    add("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the backend until it is told to end.

    Returns:
        The process's exit code.
    """
    options = _parse(arguments)
    if options.parent_lifeline:
        lifeline.die_with_parent()
    if options.limits == "auto":
        enter_scope()
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Taken out of the environment, so that nothing started from here inherits it.
    api_key = os.environ.pop(API_KEY_VARIABLE, None)
    try:
        templates = default_templates()
        if options.templates is not None:
            templates = load_templates(options.templates)
        egress = read_settings(
            options.egress, options.egress_allow, options.egress_ports, options.egress_private
        )
    except ConfigError as error:
        print_status({"ready": False, "cause": error.cause, "fix": error.fix})
        sys.stderr.write(f"The local backend cannot start. {error.cause} {error.fix}\n")
        return EXIT_CANNOT_START
    config = LocalConfig(
        state_dir=options.state_dir,
        images_dir=options.images_dir,
        port=options.port,
        domain=options.domain,
        api_key=options.api_key or api_key,
        templates=templates,
        max_sandboxes=options.max_sandboxes,
        warm_sandboxes=options.warm,
        egress=egress,
        isolation=options.isolation,
        limits=options.limits,
        bwrap=options.bwrap,
        faults=options.faults,
        faults_file=options.faults_file,
        parent_lifeline=options.parent_lifeline,
    )
    return asyncio.run(run(config))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
