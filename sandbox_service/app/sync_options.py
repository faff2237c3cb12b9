"""What `sandbox-service sync` can be asked for, and as which request it goes to the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from miosa.sandbox import v1 as pb

_TARGET: Final = "SANDBOX[:ROOT]"
_HOME: Final = "."
_PREVIEW_S_MAX: Final = 600
_TENANT_MAX: Final = 128

# The options that the fields of the request come from, for what is refused later.
_OPTIONS: Final[Mapping[str, str]] = {
    "header.sandbox_id": _TARGET,
    "header.root": _TARGET,
    "header.excludes": "--exclude",
    "header.user": "--user",
    "header.reload.program": "--reload",
    "header.reload.timeout": "--reload-timeout",
    "header.reload.signal": "--reload-signal",
}

FolderName = Annotated[
    str, typer.Argument(metavar="DIR", help="The folder to sync.", show_default=False)
]
Target = Annotated[
    str,
    typer.Argument(
        metavar=_TARGET,
        help="The sandbox's id, and the folder there: absolute, or relative to the user's "
        "home. Without ROOT, the home itself; --delete wants it said: SANDBOX:.",
        show_default=False,
    ),
]
Delete = Annotated[
    bool,
    typer.Option(
        "--delete/--patch",
        help="--delete: also delete what only the sandbox has. --patch: leave it alone.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be done; change nothing.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Leave out what matches, as a line of .gitignore would; without '!'. Repeatable.",
        show_default=False,
    ),
]
Gitignore = Annotated[
    bool, typer.Option("--gitignore/--no-gitignore", help="Heed .gitignore files.")
]
Full = Annotated[
    bool, typer.Option("--full", help="Hash every file, here and there, and trust no times.")
]
Reload = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Run this in the root when something changed, and wait for its end.",
        show_default=False,
    ),
]
ReloadDetach = Annotated[
    bool,
    typer.Option(
        "--reload-detach",
        help="Leave --reload's command running, as a server is, and do not wait for its end. "
        "With --watch every change starts another one: let the command end the last one.",
    ),
]
ReloadTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        help="How long --reload's command may run before it is killed: 30 s, and with "
        "--reload-detach as long as the sandbox lives, unless this is given.",
        show_default=False,
    ),
]
ReloadSignal = Annotated[
    str | None,
    typer.Option(
        metavar="EXEC[:SIGNAL]",
        help="Send a signal, HUP unless another is named, to a running exec when something "
        "changed. Instead of --reload.",
        show_default=False,
    ),
]
PreviewWait = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        max=_PREVIEW_S_MAX,
        help="Wait at last, so long at most, until something listens on the sandbox's preview "
        "port.",
        show_default=False,
    ),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Stay, and sync again when something changes here.")
]
User = Annotated[
    str, typer.Option(help="Who owns the files there. Empty: the template's own user.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Tell what came of each sync as a line of JSON; see above.")
]
Address = Annotated[
    str, typer.Option(envvar="SANDBOX_GRPC", help="Where the service is: host:port.")
]
Tenant = Annotated[
    str, typer.Option(envvar="SANDBOX_TENANT", help="Whose sandbox it is. Required.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOptions:
    """What to do when something changed; None where nothing was said.

    Attributes:
        command: A shell command.
        signal: An exec's id; with a signal's name behind a colon, or HUP.
        detach: Whether to leave the command running.
        timeout_s: How long the command may run.
        preview_wait_s: How long to wait for the preview.
    """

    command: str | None
    signal: str | None
    detach: bool
    timeout_s: float | None
    preview_wait_s: float | None


def check_call(address: str, tenant: str) -> None:
    """Check what is no part of the request, but of the call.

    Raises:
        typer.BadParameter: It could not be made.
    """
    if ":" not in address:
        raise _refused("--address", "names no port; say host:port, or set SANDBOX_GRPC")
    if not tenant:
        raise _refused("--tenant", "is required; or set SANDBOX_TENANT")
    if not all("!" <= it <= "~" for it in tenant) or len(tenant) > _TENANT_MAX:
        raise _refused("--tenant", f"is not 1 to {_TENANT_MAX} visible ASCII characters")


def folder_named(name: str) -> Path:
    """Return the folder to sync.

    Raises:
        typer.BadParameter: The name is empty: so is a variable that was never set.
    """
    if not name:
        raise _refused("DIR", "is empty; say '.' for the current folder")
    return Path(name)


def target_named(target: str, *, delete: bool) -> tuple[str, str]:
    """Return which sandbox, and which folder in it.

    Args:
        target: As the caller wrote it.
        delete: Whether what only the sandbox has is to go.

    Raises:
        typer.BadParameter: A part of it is not there that has to be.
    """
    sandbox_id, colon, root = target.partition(":")
    if not sandbox_id:
        raise _refused(_TARGET, "names no sandbox; say SANDBOX:ROOT")
    if colon and not root:
        raise _refused(_TARGET, "has an empty ROOT; say SANDBOX:. for the home")
    if delete and not root:
        raise _refused(
            _TARGET,
            "names no ROOT, which --delete wants to be told; say SANDBOX:. for the whole home",
        )
    return sandbox_id, root or _HOME


def add_reload(header: pb.SyncFilesHeader, asked: ReloadOptions) -> None:
    """Add to a request what is to be done when something changed.

    Raises:
        typer.BadParameter: It makes no sense.
    """
    if asked.preview_wait_s is not None:
        header.preview_wait.FromTimedelta(timedelta(seconds=asked.preview_wait_s))
    _check_combinations(asked)
    if asked.command is not None:
        header.reload.program.shell_command = asked.command
        header.reload.detach = asked.detach
        if asked.timeout_s is not None:
            header.reload.timeout.FromTimedelta(timedelta(seconds=asked.timeout_s))
    elif asked.signal is not None:
        exec_id, _, name = asked.signal.partition(":")
        header.reload.signal.exec_id = exec_id
        header.reload.signal.signal = name.upper().removeprefix("SIG") or "HUP"
    else:
        return
    # The service would refuse it, too, but only when there is something to send.
    _check_rules(header)


def _check_combinations(asked: ReloadOptions) -> None:
    if asked.command == "":
        raise _refused("--reload", "is empty; leave it out when nothing is to run")
    if asked.signal == "":
        raise _refused("--reload-signal", "is empty; leave it out when no signal is to be sent")
    if asked.signal is not None and asked.command is not None:
        raise _refused("--reload-signal", "goes with no --reload: say which of them")
    if asked.detach and asked.command is None:
        raise _refused("--reload-detach", "needs a command to leave running; say --reload COMMAND")
    if asked.timeout_s is not None and asked.command is None:
        raise _refused("--reload-timeout", "needs a command that takes time; say --reload COMMAND")


def _check_rules(header: pb.SyncFilesHeader) -> None:
    from sandbox_service.contract.validation import Validator
    from sandbox_service.domain.errors import InvalidRequestError

    try:
        Validator().check(header.reload)
    except InvalidRequestError as error:
        first = error.violations[0]
        raise wrong_option(f"header.reload.{first.field}", first.description) from None


def wrong_option(field: str, why: str) -> typer.BadParameter:
    """Return how a field that was refused is told: by the option that it comes from."""
    option = next((option for name, option in _OPTIONS.items() if field.startswith(name)), None)
    return typer.BadParameter(why) if option is None else _refused(option, why)


def _refused(option: str, why: str) -> typer.BadParameter:
    return typer.BadParameter(why, param_hint=option)
