"""Reload actions: messages to values, results to messages."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from miosa.sandbox.v1 import file_sync_pb2

from sandbox_service.contract import enums, execs, policy, times
from sandbox_service.domain import paths
from sandbox_service.domain.execs import ExecSpec, Retention
from sandbox_service.operations.reloads import Reload, Reloaded, ReloadSignal

_TIMEOUT: Final = timedelta(seconds=30)


def reload_action(message: file_sync_pb2.SyncFilesHeader) -> Reload | None:
    """Return what to do after the sync, if anything.

    A program's `cwd` is absolute, or relative to the root and then perhaps empty.

    Raises:
        InvalidPathError: `cwd` is no path, or leaves the root.
    """
    if not message.HasField("reload"):
        return None
    reload = message.reload
    if reload.HasField("signal"):
        return ReloadSignal(reload.signal.exec_id, reload.signal.signal)
    timeout = times.optional_duration(reload, "timeout")
    return ExecSpec(
        program=execs.program(reload.program),
        exec_id=reload.exec_id,
        cwd=_cwd(reload.cwd),
        env=dict(reload.env),
        user=reload.user or message.user,
        timeout=timeout if timeout or reload.detach else _TIMEOUT,
        retention=Retention.DETACHED if reload.detach else Retention.ATTACHED,
        block=not reload.detach,
    )


def reload_digest(message: file_sync_pb2.SyncFilesHeader) -> bytes:
    """Return what tells a reload action from another one. Empty: there is none."""
    if not message.HasField("reload"):
        return b""
    return hashlib.sha256(message.reload.SerializeToString(deterministic=True)).digest()


def reload_result(it: Reloaded) -> file_sync_pb2.ReloadResult:
    """Return what became of a reload action, as the contract has it."""
    exited, refusal = it.exited, it.refusal
    return file_sync_pb2.ReloadResult(
        exec_id=it.exec_id,
        running=it.running,
        cause=enums.cause(exited.cause.value) if exited else None,
        fault=enums.fault(exited.fault.value) if exited else None,
        exit_code=exited.exit_code if exited else None,
        signal=(exited.signal or None) if exited else None,
        output_tail=it.output_tail,
        duration=None if it.took is None else times.duration(it.took),
        verdict=policy.verdict(it.verdict),
        refusal=f"ERROR_REASON_{refusal.reason}" if refusal else None,
        refusal_message=str(refusal) if refusal else "",
        delivered=it.delivered,
    )


def _cwd(cwd: str) -> str:
    if not cwd or cwd.startswith("/"):
        return paths.absolute(cwd, "header.reload.cwd") if cwd else ""
    # As if the root were the whole file system: no way out of it, and normalised.
    return paths.absolute(f"/{cwd}", "header.reload.cwd").removeprefix("/")
