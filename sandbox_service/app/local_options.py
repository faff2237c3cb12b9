"""The options of `sandbox-service local`, as its help tells them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

DEFAULT_PORT: Final = 50080


class LogLevel(StrEnum):
    """What is logged, and what is worse than it."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Egress(StrEnum):
    """How sandboxes reach the network: not at all, or through a proxy."""

    NONE = "none"
    PROXY = "proxy"


Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")
]
Domain = Annotated[str, typer.Option(help="Domain of preview URLs.")]
StateDir = Annotated[
    Path | None, typer.Option(help="Folder for its state; certificates are kept in it.")
]
Bwrap = Annotated[Path | None, typer.Option(help="The bubblewrap to use.")]
Isolation = Annotated[
    Literal[
        "auto",
        "bwrap-userns",
        "bwrap-host-uid",
        "bwrap-given-userns",
        "bwrap-no-userns",
        "process-unsafe",
    ],
    typer.Option(
        envvar="SANDBOX_LOCAL_ISOLATION",
        help="What keeps sandboxes apart; auto: the best that works here."
        " process-unsafe is no boundary.",
    ),
]
Limits = Annotated[
    Literal["auto", "watch", "off"],
    typer.Option(help="What keeps sandboxes to their memory, CPU and disk."),
]
Templates = Annotated[Path | None, typer.Option(help="JSON file with the templates to offer.")]
MaxSandboxes = Annotated[
    int | None, typer.Option(min=1, help="How many may run at once; any number if not given.")
]
Warm = Annotated[
    int,
    typer.Option(
        min=0,
        max=100,
        envvar="SANDBOX_LOCAL_WARM",
        help="Sandboxes kept booted for those who will ask.",
    ),
]
EgressMode = Annotated[
    Egress, typer.Option(envvar="SANDBOX_LOCAL_EGRESS", help="The way out of sandboxes.")
]
EgressAllow = Annotated[
    str,
    typer.Option(
        envvar="SANDBOX_LOCAL_EGRESS_ALLOW",
        help="Hosts, *.example.com or networks that they may reach, comma-separated; *: any"
        " public host. Empty: the registries of PyPI, npm and Debian.",
    ),
]
EgressPorts = Annotated[
    str, typer.Option(envvar="SANDBOX_LOCAL_EGRESS_PORTS", help="On which ports.")
]
EgressPrivate = Annotated[
    str,
    typer.Option(
        envvar="SANDBOX_LOCAL_EGRESS_PRIVATE",
        help="Networks that are not public and may be reached all the same.",
    ),
]
Faults = Annotated[bool, typer.Option("--faults", help="Let /local/faults make things go wrong.")]
FaultsFile = Annotated[Path | None, typer.Option(help="JSON file with the faults to begin with.")]
Level = Annotated[LogLevel, typer.Option(help="What is logged.")]
Env = Annotated[
    bool, typer.Option("--env", help="Print a client's exports for a running one, and end.")
]
Tls = Annotated[bool, typer.Option("--tls", help="With --env: hosts and TLS as in E2B's cloud.")]
