"""`sandbox-service sync`: a folder of this machine in a sandbox."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bar

from sandbox_service.app import sync_report

if TYPE_CHECKING:
    from miosa.sandbox import v1 as pb

    from sandbox_service.client.service import Service
    from sandbox_service.client.sync import Progress, Synced

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_LEFT_OUT: Final = 3
EXIT_RELOAD: Final = 4

_ADDRESS: Final = "127.0.0.1:50051"
_ROOT: Final = "."

HELP: Final = """Bring a folder into a sandbox, sending only what differs.

Files are hashed here and compared with what the sandbox has; what differs is sent, verified in
the sandbox, and put in place by rename, so that a program there sees each file as it was or as it
is to be. At last both folders' digests are compared.

What .gitignore files name is left out, and so is .git: it is neither sent, nor deleted in the
sandbox. Links that lead out of the folder, and what is no file, folder or link, are left out and
told.

Without --delete nothing that only the sandbox has is touched. With it the sandbox's folder becomes
the same as the one here: look first with --dry-run.

\b
Examples:
  sandbox-service sync . SANDBOX:app                   into app in its home
  sandbox-service sync . SANDBOX:/srv/app --delete -n  what would be done
  sandbox-service sync . SANDBOX:app --reload 'kill -HUP $(cat app.pid)'
  sandbox-service sync . SANDBOX:app --watch           at every change, too

Exits with 0 when it is done; 1 when it failed (the message says what to do); 2 when it was called
wrongly; 3 when it is done, but something that is told was left out; 4 when the files are there, but
the reload command failed."""


_Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder to sync.", show_default=False)
]
_Target = Annotated[
    str,
    typer.Argument(
        metavar="SANDBOX[:ROOT]",
        help="The sandbox's id, and the folder there: absolute, or relative to the user's "
        "home. Without ROOT, the home itself.",
        show_default=False,
    ),
]
_Delete = Annotated[
    bool,
    typer.Option(
        "--delete/--patch",
        help="--delete: also delete what only the sandbox has. --patch: leave it alone.",
    ),
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be done; change nothing.")
]
_Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Leave out what matches, as a line of .gitignore would; without '!'. Repeatable.",
        show_default=False,
    ),
]
_Gitignore = Annotated[
    bool, typer.Option("--gitignore/--no-gitignore", help="Heed .gitignore files.")
]
_Full = Annotated[
    bool, typer.Option("--full", help="Hash every file, here and there, and trust no times.")
]
_Reload = Annotated[
    str,
    typer.Option(
        metavar="COMMAND", help="Run this in the root when something changed; 30 s at most."
    ),
]
_Watch = Annotated[
    bool, typer.Option("--watch", help="Stay, and sync again when something changes here.")
]
_User = Annotated[
    str, typer.Option(help="Who owns the files there. Empty: the template's own user.")
]
_Json = Annotated[bool, typer.Option("--json", help="Tell what came of it as a line of JSON.")]
_Address = Annotated[
    str, typer.Option(envvar="SANDBOX_GRPC", help="Where the service is: host:port.")
]
_Tenant = Annotated[
    str, typer.Option(envvar="SANDBOX_TENANT", help="Whose sandbox it is. Required.")
]


def sync(
    folder: _Folder,
    target: _Target,
    delete: _Delete = False,
    dry_run: _DryRun = False,
    exclude: _Exclude = None,
    gitignore: _Gitignore = True,
    full: _Full = False,
    reload: _Reload = "",
    watch: _Watch = False,
    user: _User = "",
    as_json: _Json = False,
    address: _Address = _ADDRESS,
    tenant: _Tenant = "",
) -> None:
    """Sync a folder; see HELP."""
    # Imported late: no other command needs gRPC as a client.
    from miosa.sandbox import v1 as pb

    from sandbox_service.client.errors import SyncError

    sandbox_id, _, root = target.partition(":")
    if not sandbox_id:
        raise typer.BadParameter("names no sandbox; say SANDBOX:ROOT", param_hint="SANDBOX[:ROOT]")
    if not tenant:
        raise typer.BadParameter("is required; or set SANDBOX_TENANT", param_hint="--tenant")
    if watch and dry_run:
        raise typer.BadParameter("goes with no --dry-run", param_hint="--watch")
    header = pb.SyncFilesHeader(
        sandbox_id=sandbox_id,
        root=root or _ROOT,
        mode=pb.SYNC_MODE_MIRROR if delete else pb.SYNC_MODE_PATCH,
        excludes=exclude or (),
        verify=pb.SYNC_VERIFY_FULL if full else pb.SYNC_VERIFY_INDEX,
        user=user,
    )
    if reload:
        header.reload.program.shell_command = reload
    command = _Command(folder, header, dry_run=dry_run, gitignore=gitignore, as_json=as_json)
    try:
        code = asyncio.run(command.run(address, tenant, watch=watch))
    except SyncError as error:
        sync_report.complain(error.message)
        if error.advice:
            sync_report.complain(f"What to do: {error.advice}")
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(code)


class _Command:
    def __init__(
        self,
        folder: Path,
        header: pb.SyncFilesHeader,
        *,
        dry_run: bool,
        gitignore: bool,
        as_json: bool,
    ) -> None:
        self._folder = folder
        self._header = header
        self._dry_run = dry_run
        self._gitignore = gitignore
        self._json = as_json

    async def run(self, address: str, tenant: str, *, watch: bool) -> int:
        """Sync, once or again and again. Returns the exit code."""
        from sandbox_service.client.service import Service

        async with Service(address, tenant=tenant) as service:
            if watch:
                await self._watch(service)
            with _bar() as bar:
                task = bar.add_task("looking", total=None)

                def shown(it: Progress) -> None:
                    bar.update(
                        task,
                        description=f"{it.phase} {it.files}/{it.files_total} files",
                        completed=it.size,
                        total=it.size_total or None,
                    )

                syncing = service.folder_sync(gitignore=self._gitignore, on_progress=shown)
                synced = await syncing.sync(self._folder, self._header, dry_run=self._dry_run)
            return self._show(synced)

    async def _watch(self, service: Service) -> None:
        from sandbox_service.client.errors import SyncError
        from sandbox_service.client.watch import keep_synced

        syncing = service.folder_sync(gitignore=self._gitignore)
        first = True
        async for it in keep_synced(syncing, self._folder, self._header):
            if isinstance(it, SyncError):
                sync_report.complain(f"{it} The next change here is another attempt.")
            elif first or it.receipt is not None:
                self._show(it)
            first = False

    def _show(self, synced: Synced) -> int:
        """Tell what came of it. Returns the exit code."""
        if self._json:
            typer.echo(json.dumps(sync_report.record(synced)))
        elif self._dry_run:
            sync_report.show_plan(synced)
        else:
            sync_report.show_receipt(synced)
        sync_report.show_left(synced)
        if sync_report.reload_failed(synced):
            return EXIT_RELOAD
        return EXIT_LEFT_OUT if synced.tree.left_out else 0


def _bar() -> Bar:
    """Return a bar on standard error, which only a terminal shows."""
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
