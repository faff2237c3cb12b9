"""What an exec runs with, after defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox_service.domain.execs import ExecSpec, Retention, Started
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.policy import UNCHECKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What an exec runs with, after defaults and clamping.

    Attributes:
        timeout: From start to kill.
        timeout_clamped: Whether more was asked for than the lifetime leaves.
        instance: Where other instances reach this one.
    """

    exec_id: str
    timeout: timedelta
    timeout_clamped: bool
    kill_grace: timedelta
    heartbeat_interval: timedelta
    reconnect_limit: timedelta
    spool_limit_bytes: int | None = None
    instance: str = ""


def effective_terms(
    spec: ExecSpec, exec_id: str, lifetime_left: timedelta, limits: Limits, instance: str
) -> Effective:
    """Return what an exec runs with.

    Args:
        spec: What was asked for.
        exec_id: Its own, or the one that was chosen for it.
        lifetime_left: Of its sandbox.
        limits: The deployment's defaults.
        instance: Where other instances reach this one.
    """
    left = max(lifetime_left, timedelta(seconds=1))
    wanted = left if spec.timeout is None else spec.timeout
    spool = spec.spool_limit_bytes or limits.spool_bytes
    return Effective(
        exec_id=exec_id,
        timeout=min(wanted, left),
        timeout_clamped=wanted > left,
        kill_grace=limits.kill_grace if spec.kill_grace is None else spec.kill_grace,
        heartbeat_interval=spec.heartbeat_interval or limits.heartbeat_interval,
        reconnect_limit=spec.reconnect_limit or limits.reconnect_limit,
        spool_limit_bytes=spool if spec.retention is Retention.DURABLE else None,
        instance=instance,
    )


def started_event(
    spec: ExecSpec, effective: Effective, pid: int, start_time: datetime, journal_bytes: int
) -> Started:
    """Return the event that opens an exec's stream."""
    return Started(
        exec_id=effective.exec_id,
        pid=pid,
        start_time=start_time,
        cwd=spec.cwd,
        user=spec.user,
        timeout=effective.timeout,
        timeout_clamped=effective.timeout_clamped,
        retention=spec.retention,
        reader_grace=spec.reader_grace,
        kill_grace=effective.kill_grace,
        block=spec.block,
        journal_bytes=journal_bytes,
        spool_limit_bytes=effective.spool_limit_bytes,
        output_limit_bytes=spec.output_limit_bytes,
        on_output_limit=spec.on_output_limit,
        pty=spec.pty,
        heartbeat_interval=effective.heartbeat_interval,
        reconnect_limit=effective.reconnect_limit,
        instance=effective.instance,
        verdict=spec.verdict or UNCHECKED,
    )
