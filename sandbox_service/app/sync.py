"""`sandbox-service sync`: a folder of this machine in a sandbox."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bar

from sandbox_service.app import sync_options as asked
from sandbox_service.app.sync_report import Report, complain

if TYPE_CHECKING:
    from pathlib import Path

    from miosa.sandbox import v1 as pb

    from sandbox_service.client.errors import SyncError
    from sandbox_service.client.service import Service
    from sandbox_service.client.sync import FolderSync, Progress, Synced

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

_ADDRESS: Final = "127.0.0.1:50051"
_WHEN: Final = {True: ", until it succeeds.", False: " at the next change here."}

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
  sandbox-service sync . SANDBOX:app --reload-signal web:HUP --preview-wait 30
  sandbox-service sync . SANDBOX:app --watch           at every change, too

\b
Each line of --json is an object, with null for what there was none of:
  root, dry_run         where to, and whether nothing was to be changed
  changes               of each path its kind, added, modified or deleted: what was done, or
                        would be; 1,000 paths at most of what was done
  changes_truncated     whether there are more
  added, modified,      how many paths, of what was done
  deleted
  sent_bytes            of content
  planned, to_delete,   paths to write and to delete, and bytes of content to send,
  to_send_bytes         by the last comparison
  equal, kept           paths that were the same, and that only the sandbox has and keeps
  root_digest           of the folder here, in hexadecimal digits
  identical             whether the sandbox's has the same; null: it keeps what only it has
  left_out              why, by path, of what could not be sent
  stuck                 paths that were to be deleted, and are still there
  reload                what became of it: exec_id, running, delivered (of a signal),
                        exit_code, signal, output, refused (why it could not start)
  listening             with --preview-wait, whether something does
A failure is a line with error, advice and reason instead.

Exits with 0 when it is done; 1 when it failed (the message says what to do); 2 when it was called
wrongly; 3 when it is done, but something that is told was left out; 4 when the files are there, but
the reload failed; 5 when they are there, but nothing listened in time on the preview port."""


def sync(
    folder: asked.FolderName,
    target: asked.Target,
    delete: asked.Delete = False,
    dry_run: asked.DryRun = False,
    exclude: asked.Exclude = None,
    gitignore: asked.Gitignore = True,
    full: asked.Full = False,
    reload: asked.Reload = None,
    reload_detach: asked.ReloadDetach = False,
    reload_timeout: asked.ReloadTimeout = None,
    reload_signal: asked.ReloadSignal = None,
    preview_wait: asked.PreviewWait = None,
    watch: asked.Watch = False,
    user: asked.User = "",
    as_json: asked.Json = False,
    address: asked.Address = _ADDRESS,
    tenant: asked.Tenant = "",
) -> None:
    """Sync a folder; see HELP."""
    # Imported late: no other command needs gRPC as a client.
    from miosa.sandbox import v1 as pb

    from sandbox_service.client.errors import SyncError

    asked.check_call(address, tenant)
    if watch and dry_run:
        raise typer.BadParameter("goes with no --dry-run", param_hint="--watch")
    where = asked.folder_named(folder)
    sandbox_id, root = asked.target_named(target, delete=delete)
    reloading = asked.ReloadOptions(
        command=reload,
        signal=reload_signal,
        detach=reload_detach,
        timeout_s=reload_timeout,
        preview_wait_s=preview_wait,
    )
    try:
        header = pb.SyncFilesHeader(
            sandbox_id=sandbox_id,
            root=root,
            mode=pb.SYNC_MODE_MIRROR if delete else pb.SYNC_MODE_PATCH,
            excludes=exclude or (),
            verify=pb.SYNC_VERIFY_FULL if full else pb.SYNC_VERIFY_INDEX,
            user=user,
        )
        asked.add_reload(header, reloading)
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{error.object!a} is not UTF-8") from None
    report = Report(as_json=as_json, dry_run=dry_run)
    command = _Command(where, header, report, dry_run=dry_run, gitignore=gitignore)
    try:
        code = asyncio.run(command.run(address, tenant, watch=watch))
    except SyncError as error:
        _end(error, report)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(code)


def _end(error: SyncError, report: Report) -> NoReturn:
    """Tell of a failure, and exit."""
    if error.field.startswith("header."):
        why = error.message.removeprefix(f"{error.field}: ")
        raise asked.wrong_option(error.field, why) from None
    report.failed(error)
    raise typer.Exit(EXIT_FAILED) from None


class _Command:
    def __init__(
        self,
        folder: Path,
        header: pb.SyncFilesHeader,
        report: Report,
        *,
        dry_run: bool,
        gitignore: bool,
    ) -> None:
        self._folder = folder
        self._header = header
        self._report = report
        self._dry_run = dry_run
        self._gitignore = gitignore

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
                listening = await self._listening(syncing, synced)
            return self._report.synced(synced, listening=listening)

    async def _watch(self, service: Service) -> None:
        from sandbox_service.client.errors import SyncError
        from sandbox_service.client.watch import keep_synced

        syncing = service.folder_sync(gitignore=self._gitignore)
        failed: SyncError | None = None
        # The first one is told whatever came of it, and so is one that mends a failure.
        tell = True
        async for it in keep_synced(syncing, self._folder, self._header):
            if isinstance(it, SyncError):
                # The same attempt at the same service is not told again and again.
                if not (failed and it.passing and it.advice == failed.advice):
                    self._report.failed(it)
                    complain("It is tried again" + _WHEN[it.passing])
                failed, tell = it, True
            elif tell or self._report.is_news(it):
                self._report.synced(it, listening=await self._listening(syncing, it))
                failed, tell = None, False

    async def _listening(self, syncing: FolderSync, synced: Synced) -> bool | None:
        """Return whether something listens on the preview port; None when nobody asked."""
        if self._dry_run or not self._header.HasField("preview_wait"):
            return None
        return await syncing.listening(self._header, synced)


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
