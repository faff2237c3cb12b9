"""The command line: `sandbox-service serve | local | doctor | check | sync | demo`."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from sandbox_service import __version__
from sandbox_service.app.check import HELP as CHECK_HELP
from sandbox_service.app.check import check
from sandbox_service.app.errors import StartError
from sandbox_service.app.local import HELP as LOCAL_HELP
from sandbox_service.app.local import local
from sandbox_service.app.settings import Settings
from sandbox_service.app.sync import HELP as SYNC_HELP
from sandbox_service.app.sync import sync
from sandbox_service.telemetry import logs

EXIT_CANNOT_START = 2

cli = typer.Typer(
    name="sandbox-service",
    help="Isolated sandboxes for code that language models write, behind one gRPC contract.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Its tables cut long names off; plain help never does.
    pretty_exceptions_enable=False,
)
# A line that was broken where a terminal ends could not be copied.
_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)


def _with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Give a command an option for every setting that is no secret.

    Secrets come from the environment or `.env` only: flags show in `ps`.
    """
    fields = {
        name: field
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None and "Secret" not in str(field.annotation)
    }

    def run(**given: str | None) -> None:
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        try:
            settings = Settings(**values)
        except ValidationError as error:
            for problem in error.errors():
                where = "_".join(str(part) for part in problem["loc"])
                _err.print(f"[bold red]{where}[/]: {escape(problem['msg'])}", highlight=False)
            _err.print("See --help for every setting, its meaning and its default.")
            raise typer.Exit(EXIT_CANNOT_START) from None
        command(settings)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    f"--{name.replace('_', '-')}",
                    help=f"{field.description} [env: SANDBOX_{name.upper()}]"
                    f" [default: {_shown_default(field)}]",
                    show_default=False,
                ),
            ],
        )
        for name, field in fields.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = command.__doc__
    return run


def _shown_default(field: Any) -> str:  # noqa: ANN401 - pydantic's FieldInfo.
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value in (None, "", {}) else str(value)


def _refuse(error: StartError) -> NoReturn:
    _err.print(f"[bold red]Cannot start.[/] {escape(error.cause)}", highlight=False)
    _err.print(f"[bold]What to do:[/] {escape(error.fix)}", highlight=False)
    raise typer.Exit(EXIT_CANNOT_START)


def _serve(settings: Settings) -> None:
    """Serve gRPC, on E2B when E2B_API_KEY is set, else on the embedded backend."""
    # Imported late: `--help` and `local` have no use for gRPC.
    # gRPC's own handlers around fork are for programs that go on in the child;
    # ours starts other programs, and is told about it on standard error.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import uvloop

    from sandbox_service.app.server import serve

    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    logs.configure(level=settings.log_level, json=as_json)
    try:
        uvloop.run(serve(settings))
    except StartError as error:
        _refuse(error)


cli.command("serve")(_with_settings(_serve))


cli.command("local", help=LOCAL_HELP)(local)


def _doctor(settings: Settings) -> None:
    """Look for what is wrong with this machine and these settings, and say what to do."""
    from sandbox_service.app.doctor import examine

    findings = asyncio.run(examine(settings))
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[bold red]BAD [/]"
        _out.print(f"{mark} {finding.name}: {escape(finding.detail)}", highlight=False)
        if not finding.ok and finding.fix:
            _out.print(f"     what to do: {escape(finding.fix)}", highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
    _out.print("All is well.")


cli.command("doctor")(_with_settings(_doctor))


cli.command("check", help=CHECK_HELP)(check)


cli.command("sync", help=SYNC_HELP)(sync)


@cli.command("demo")
def demo() -> None:
    """Show the main job, from an empty machine to a running app and back, in seconds."""
    # The C core's notes about connections that close are not for this audience.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from sandbox_service.client.demo import DemoError, run

    try:
        asyncio.run(run())
    except DemoError as error:
        _err.print("[bold red]The demo failed.[/]", escape(str(error)), highlight=False)
        raise typer.Exit(error.exit_code) from None


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of an option's callback.
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    cli()
