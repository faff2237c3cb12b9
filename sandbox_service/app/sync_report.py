"""What `sandbox-service sync` tells of a sync, to people and to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from miosa.sandbox import v1 as pb

    from sandbox_service.client.sync import Synced

_SHOWN_MAX: Final = 50


def show_plan(synced: Synced) -> None:
    """Tell what would be done."""
    work = synced.work
    lines = [f"delete  {shown(path)}" for path in work.deletes]
    for path in (*work.folders, *work.links, *work.files):
        word = "add   " if path in synced.plan.missing else "change"
        lines.append(f"{word}  {shown(path)}")
    for line in lines:
        typer.echo(line)
    typer.echo(
        f"{len(lines)} to change, {synced.plan.summary.equal} the same, "
        f"{_size(work.content_bytes)} to send, {len(work.kept)} only there and kept"
    )


def show_receipt(synced: Synced) -> None:
    """Tell what was done."""
    receipt = synced.receipt
    if receipt is None:
        typer.echo(f"nothing to do: {synced.plan.summary.equal} the same")
        return
    signs = {1: "+", 2: "~", 3: "-"}
    for change in receipt.changes[:_SHOWN_MAX]:
        typer.echo(f"{signs.get(change.kind, '?')} {shown(change.path)}")
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


def show_left(synced: Synced) -> None:
    """Tell what was left out here, and what is left over there."""
    for path, why in sorted(synced.tree.left_out.items()):
        complain(f"left out: {shown(path)} {why}")
    for path in synced.stuck:
        complain(f"still in the sandbox: {shown(path)}, for what is excluded in it, or made again")


def _show_reload(reload: pb.ReloadResult) -> None:
    if reload.refusal_message:
        complain(f"reload: {reload.refusal_message}")
    elif reload.running:
        typer.echo(f"reload: runs as {reload.exec_id}")
    elif reload.HasField("exit_code"):
        typer.echo(f"reload: exit code {reload.exit_code}")
    else:
        typer.echo(f"reload: ended by {reload.signal or 'something that is not known'}")
    tail = reload.output_tail.decode(errors="replace")
    if tail:
        typer.echo(tail, nl=not tail.endswith("\n"))


def reload_failed(synced: Synced) -> bool:
    """Return whether there was a reload command, and it failed."""
    receipt = synced.receipt
    if receipt is None or not receipt.HasField("reload"):
        return False
    reload = receipt.reload
    well = reload.running or (reload.HasField("exit_code") and reload.exit_code == 0)
    return bool(reload.refusal_message) or not well


def record(synced: Synced) -> dict[str, Any]:
    """Return what came of a sync, for programs."""
    receipt = synced.receipt
    return {
        "root": synced.plan.summary.root,
        "added": receipt.added if receipt else 0,
        "modified": receipt.modified if receipt else 0,
        "deleted": receipt.deleted if receipt else 0,
        "sent_bytes": receipt.received_bytes if receipt else 0,
        "planned": len(synced.plan.missing) + len(synced.plan.changed),
        "to_delete": len(synced.work.deletes),
        "equal": synced.plan.summary.equal,
        "kept": len(synced.work.kept),
        "root_digest": synced.root_digest.hex(),
        "identical": synced.identical,
        "left_out": {shown(path): why for path, why in synced.tree.left_out.items()},
        "reload_exit_code": (
            receipt.reload.exit_code if receipt and receipt.reload.HasField("exit_code") else None
        ),
    }


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
