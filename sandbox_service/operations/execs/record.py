"""What a sandbox is given to remember of an exec, and the exec again as it is found there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import InvalidPathError
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    ExecState,
    ExecSummary,
    Exited,
    OnOutputLimit,
    Position,
    Retention,
    ShellCommand,
)
from sandbox_service.domain.processes import FoundExec
from sandbox_service.operations.artifact_search import Globs, is_moment
from sandbox_service.operations.execs.result import ExecResult, shown
from sandbox_service.operations.execs.terms import Effective
from sandbox_service.telemetry.metrics import Metrics

_VERSION: Final = 1


def record_of(
    spec: ExecSpec, effective: Effective, artifacts_since: str = ""
) -> Mapping[str, object]:
    """Return what is needed to serve an exec again: JSON, and no secrets.

    Args:
        spec: What was asked for.
        effective: What it runs with.
        artifacts_since: From when on files are its artifacts, on the sandbox's clock.
    """
    return {
        "version": _VERSION,
        "digests": dict(spec.request_digests),
        "address": effective.instance,
        "program": shown(spec.program),
        "cwd": spec.cwd,
        "user": spec.user,
        "retention": spec.retention.value,
        "stdin_open": spec.stdin_open,
        "block": spec.block,
        "output_limit_bytes": spec.output_limit_bytes,
        "on_output_limit": spec.on_output_limit.value,
        "wanted_timeout_s": None if spec.timeout is None else spec.timeout.total_seconds(),
        "timeout_s": effective.timeout.total_seconds(),
        "timeout_clamped": effective.timeout_clamped,
        "kill_grace_s": effective.kill_grace.total_seconds(),
        "heartbeat_interval_s": effective.heartbeat_interval.total_seconds(),
        "reconnect_limit_s": effective.reconnect_limit.total_seconds(),
        "artifact_globs": list(spec.artifact_globs),
        "artifacts_since": artifacts_since,
    }


class Remembered:
    """An exec as its sandbox remembers it. A record is in the program's hands: nothing is trusted.

    Args:
        found: What was found.
    """

    def __init__(self, found: FoundExec) -> None:
        self.found = found
        self._record = found.record

    @property
    def digests(self) -> Mapping[str, str]:
        """What its caller sent, by field."""
        digests = self._record.get("digests")
        if not isinstance(digests, Mapping):
            return {}
        return {str(name): str(value) for name, value in digests.items()}

    @property
    def address(self) -> str:
        """Where the instance that started it can be reached. Empty: not known."""
        return self._text("address")

    @property
    def program(self) -> str:
        """What it runs, shortened for people."""
        return self._text("program")[:256]

    @property
    def retention(self) -> Retention:
        """What a reader's absence means for it."""
        if self.found.spool_limit_bytes:
            return Retention.DURABLE
        detached = self._text("retention") == Retention.DETACHED.value
        return Retention.DETACHED if detached else Retention.ATTACHED

    def spec(self) -> ExecSpec:
        """Return what was asked for, as far as it matters after the start."""
        limit = self._record.get("output_limit_bytes")
        killed = self._text("on_output_limit") == OnOutputLimit.KILL.value
        return ExecSpec(
            program=ShellCommand(self.program),
            exec_id=self.found.exec_id,
            request_digests=self.digests,
            cwd=self._text("cwd"),
            user=self._text("user"),
            timeout=self._seconds("wanted_timeout_s"),
            stdin_open=self._record.get("stdin_open") is True,
            retention=self.retention,
            output_limit_bytes=limit if isinstance(limit, int) and limit >= 0 else None,
            on_output_limit=OnOutputLimit.KILL if killed else OnOutputLimit.TRUNCATE,
            block=self._record.get("block") is True,
            artifact_globs=self._globs(),
        )

    @property
    def artifacts_since(self) -> str:
        """From when on files are its artifacts. Empty: none are."""
        since = self._text("artifacts_since")
        return since if is_moment(since) else ""

    def _globs(self) -> tuple[str, ...]:
        globs = self._record.get("artifact_globs")
        if not isinstance(globs, list) or not all(isinstance(it, str) for it in globs):
            return ()
        try:
            Globs.of(globs)
        except InvalidPathError:
            return ()
        return tuple(globs)

    def effective(self, default: Effective) -> Effective:
        """Return what it runs with.

        Args:
            default: Stands in for what the record does not tell, or tells wrongly.
        """
        return Effective(
            exec_id=self.found.exec_id,
            timeout=self._seconds("timeout_s") or default.timeout,
            timeout_clamped=self._record.get("timeout_clamped") is True,
            kill_grace=self._or("kill_grace_s", default.kill_grace),
            heartbeat_interval=self._or("heartbeat_interval_s", default.heartbeat_interval),
            reconnect_limit=self._or("reconnect_limit_s", default.reconnect_limit),
            spool_limit_bytes=self.found.spool_limit_bytes or None,
            instance=default.instance,
        )

    def summary(self, metrics: Metrics) -> ExecSummary:
        """Return what to say of it in a list, though this instance does not follow it."""
        found = self.found
        state = ExecState.RUNNING if found.alive else ExecState.LOST
        exited = self._exited(metrics)
        return ExecSummary(
            exec_id=found.exec_id,
            state=state if exited is None else ExecState.EXITED,
            program=self.program,
            pid=found.pid,
            start_time=found.start_time,
            retention=self.retention,
            pty=False,
            position=Position(found.stdout_bytes, found.stderr_bytes),
            exited=exited,
        )

    def _exited(self, metrics: Metrics) -> Exited | None:
        found, end = self.found, self.found.end
        if found.alive or end is None or found.end_time is None:
            return None
        ran_s = (found.end_time - found.start_time).total_seconds()
        result = ExecResult(
            found.exec_id, self.spec(), metrics, queued_s=0, started_s=0, ran_s=ran_s
        )
        result.begin_at(Position(found.stdout_bytes, found.stderr_bytes))
        cause = Cause.OOM if end.oom else Cause.SIGNAL if end.signal else Cause.EXIT
        return result.exited(cause, found.end_time, end, found.usage)

    def _text(self, name: str) -> str:
        value = self._record.get(name)
        return value[:4096] if isinstance(value, str) else ""

    def _seconds(self, name: str) -> timedelta | None:
        value = self._record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            return None
        return timedelta(seconds=min(float(value), 10.0**9))

    def _or(self, name: str, default: timedelta) -> timedelta:
        value = self._seconds(name)
        return default if value is None else value
