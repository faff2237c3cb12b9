"""What `sandbox-service sync` tells of a sync, to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from miosa.sandbox import v1 as pb

    from sandbox_service.client.errors import SyncError
    from sandbox_service.client.sync import Synced

EXIT_LEFT_OUT: Final = 3
EXIT_RELOAD: Final = 4
EXIT_NOT_LISTENING: Final = 5

_SHOWN_MAX: Final = 50
_KINDS: Final[Mapping[int, str]] = {1: "added", 2: "modified", 3: "deleted"}
_SIGNS: Final[Mapping[str, str]] = {"added": "+", "modified": "~", "deleted": "-"}
_WORDS: Final[Mapping[str, str]] = {
    "added": "add   ",
    "modified": "change",
    "deleted": "delete",
}


class Report:
    """Tells of one sync, or of one after another.

    What is told to people is told to programs as well, and the other way round.

    Args:
        as_json: Whether to tell it to programs, too.
        dry_run: Whether nothing was to be changed.
    """

    def __init__(self, *, as_json: bool, dry_run: bool) -> None:
        self._json = as_json
        self._dry_run = dry_run
        self._left: list[str] = []

    def synced(self, synced: Synced, *, listening: bool | None) -> int:
        """Tell what came of a sync.

        Args:
            synced: It.
            listening: Whether something listens on the preview port; None: nobody asked.

        Returns:
            The exit code that says the same.
        """
        if self._json:
            typer.echo(json.dumps(record(synced, listening=listening, dry_run=self._dry_run)))
        elif self._dry_run:
            _show_plan(synced)
        else:
            _show_receipt(synced)
            if listening is not None:
                typer.echo(f"preview: {'something' if listening else 'nothing'} listens")
        left = _left(synced)
        # While a folder is watched the same would be said again and again.
        for line in (it for it in left if it not in self._left):
            complain(line)
        self._left = left
        if _reload_failed(synced):
            return EXIT_RELOAD
        if listening is False:
            return EXIT_NOT_LISTENING
        return EXIT_LEFT_OUT if synced.tree.left_out else 0

    def is_news(self, synced: Synced) -> bool:
        """Return whether a sync that follows another one has anything to tell."""
        return synced.changed or _left(synced) != self._left

    def failed(self, error: SyncError) -> None:
        """Tell that a sync failed, why, and what to do."""
        if self._json:
            failure = {"error": error.message, "advice": error.advice, "reason": error.reason}
            typer.echo(json.dumps(failure))
        complain(error.message)
        if error.advice:
            complain(f"What to do: {error.advice}")


def record(synced: Synced, *, listening: bool | None, dry_run: bool) -> dict[str, Any]:
    """Return what came of a sync, for programs; the command's help says what is what."""
    receipt, summary = synced.receipt, synced.plan.summary
    return {
        "root": receipt.root if receipt else summary.root,
        "dry_run": dry_run,
        "changes": [
            {"kind": kind, "path": shown(path)}
            for kind, path in (_planned(synced) if dry_run else _changes(receipt))
        ],
        "changes_truncated": bool(receipt and receipt.changes_truncated),
        "added": receipt.added if receipt else 0,
        "modified": receipt.modified if receipt else 0,
        "deleted": receipt.deleted if receipt else 0,
        "sent_bytes": receipt.received_bytes if receipt else 0,
        "planned": len(synced.plan.missing) + len(synced.plan.changed),
        "to_delete": len(synced.work.deletes),
        "to_send_bytes": synced.work.content_bytes,
        "equal": summary.equal,
        "kept": len(synced.work.kept),
        "root_digest": synced.root_digest.hex(),
        "identical": synced.identical,
        "left_out": {shown(path): why for path, why in synced.tree.left_out.items()},
        "stuck": [shown(path) for path in synced.stuck],
        "reload": _reloaded(receipt.reload) if receipt and receipt.HasField("reload") else None,
        "listening": listening,
    }


def _reloaded(reload: pb.ReloadResult) -> dict[str, Any]:
    return {
        "exec_id": reload.exec_id,
        "running": reload.running,
        "delivered": reload.delivered if reload.HasField("delivered") else None,
        "exit_code": reload.exit_code if reload.HasField("exit_code") else None,
        "signal": reload.signal or None,
        "output": reload.output_tail.decode(errors="replace"),
        "refused": reload.refusal_message or None,
    }


def _planned(synced: Synced) -> list[tuple[str, str]]:
    """Return what would be done, and to which paths."""
    work = synced.work
    found = [("deleted", path) for path in work.deletes]
    for path in (*work.folders, *work.links, *work.files):
        found.append(("added" if path in synced.plan.missing else "modified", path))
    return found


def _changes(receipt: pb.SyncFilesResponse | None) -> list[tuple[str, str]]:
    """Return what was done, and to which paths."""
    return [(_KINDS.get(it.kind, ""), it.path) for it in (receipt.changes if receipt else ())]


def _show_plan(synced: Synced) -> None:
    planned = _planned(synced)
    for kind, path in planned:
        typer.echo(f"{_WORDS[kind]}  {shown(path)}")
    typer.echo(
        f"{len(planned)} to change, {synced.plan.summary.equal} the same, "
        f"{_size(synced.work.content_bytes)} to send, {len(synced.work.kept)} only there and kept"
    )


def _show_receipt(synced: Synced) -> None:
    receipt = synced.receipt
    if receipt is None or not synced.changed:
        typer.echo(f"nothing to do: {synced.plan.summary.equal} the same")
        return
    for kind, path in _changes(receipt)[:_SHOWN_MAX]:
        typer.echo(f"{_SIGNS.get(kind, '?')} {shown(path)}")
    changed = receipt.added + receipt.modified + receipt.deleted
    if changed > _SHOWN_MAX:
        typer.echo(f"... and {changed - _SHOWN_MAX} more")
    same = "both digests are the same" if synced.identical else "the sandbox keeps what only it has"
    typer.echo(
        f"{receipt.added} added, {receipt.modified} modified, {receipt.deleted} deleted in "
        f"{receipt.root}, {_size(receipt.received_bytes)} sent; {same}"
    )
    if receipt.HasField("reload"):
        _show_reload(receipt.reload)


def _show_reload(reload: pb.ReloadResult) -> None:
    if reload.refusal_message:
        complain(f"reload: {reload.refusal_message}")
    elif reload.HasField("delivered"):
        what = "got the signal" if reload.delivered else "had ended: no signal was sent"
        typer.echo(f"reload: {reload.exec_id} {what}")
    elif reload.running:
        typer.echo(f"reload: runs as {reload.exec_id}")
    elif reload.HasField("exit_code"):
        typer.echo(f"reload: exit code {reload.exit_code}")
    else:
        typer.echo(f"reload: ended by {reload.signal or 'something that is not known'}")
    tail = reload.output_tail.decode(errors="replace")
    if tail:
        typer.echo(tail, nl=not tail.endswith("\n"))


def _left(synced: Synced) -> list[str]:
    """Return what was left out here, and what is left over there, a line each."""
    out = synced.tree.left_out.items()
    return [f"left out: {shown(path)} {why}" for path, why in sorted(out)] + [
        f"still in the sandbox: {shown(path)}, for what is excluded in it, or made again"
        for path in synced.stuck
    ]


def _reload_failed(synced: Synced) -> bool:
    """Return whether there was something to reload by, and it failed."""
    receipt = synced.receipt
    if receipt is None or not receipt.HasField("reload"):
        return False
    reload = receipt.reload
    if reload.refusal_message:
        return True
    if reload.HasField("delivered"):
        return not reload.delivered
    return not (reload.running or (reload.HasField("exit_code") and reload.exit_code == 0))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def shown(path: str) -> str:
    """Return a path as one line that any terminal can show."""
    text = path.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
    return text if text.isprintable() else ascii(text)


def complain(text: str) -> None:
    """Tell something that is not as it was asked for."""
    typer.echo(text, err=True)
