"""Execs: requests to specs, events to messages."""

from __future__ import annotations

from datetime import timedelta

from miosa.sandbox.v1 import exec_event_pb2, exec_options_pb2, exec_pb2, outcome_pb2, program_pb2

from sandbox_service.contract import enums, times
from sandbox_service.contract.digests import request_digests
from sandbox_service.contract.refusals import refuse_fields, unserved
from sandbox_service.domain import paths
from sandbox_service.domain.execs import (
    Argv,
    ExecSpec,
    ExecSummary,
    Exited,
    Gap,
    Heartbeat,
    OnOutputLimit,
    Output,
    OutputCount,
    Positioned,
    Program,
    ShellCommand,
    SourceCode,
    Started,
    Stream,
)

_STREAMS = {
    Stream.STDOUT: exec_event_pb2.OUTPUT_STREAM_STDOUT,
    Stream.STDERR: exec_event_pb2.OUTPUT_STREAM_STDERR,
    Stream.PTY: exec_event_pb2.OUTPUT_STREAM_PTY,
}


def program(message: program_pb2.Program) -> Program:
    """Return what to run."""
    match message.WhichOneof("kind"):
        case "argv":
            return Argv(tuple(message.argv.args))
        case "source":
            source = message.source
            return SourceCode(source.language, source.code.encode(), tuple(source.args))
        case _:
            return ShellCommand(message.shell_command)


def exec_spec(message: exec_pb2.ExecRequest) -> ExecSpec:
    """Return what an ExecRequest asks for.

    Raises:
        NotImplementedYetError: It asks for what this version does not serve.
        InvalidPathError: `cwd` is no absolute path.
    """
    refuse_fields(message, "pty", "spool_limit", "artifact_globs", "reconnect_limit", "auto_resume")
    if message.retention not in (0, exec_options_pb2.RETENTION_ATTACHED):
        raise unserved("retention")
    if times.optional_duration(message, "reader_grace"):
        raise unserved("reader_grace")
    stdin = None
    if message.HasField("stdin"):
        if message.stdin.mode == exec_options_pb2.STDIN_MODE_STREAM:
            raise unserved("stdin.mode")
        wanted = message.stdin.mode == exec_options_pb2.STDIN_MODE_BYTES or message.stdin.data
        stdin = message.stdin.data if wanted else None
    kill = message.on_output_limit == exec_options_pb2.ON_OUTPUT_LIMIT_KILL
    return ExecSpec(
        program=program(message.program),
        exec_id=message.exec_id,
        request_digests=request_digests(message) if message.exec_id else {},
        cwd=paths.absolute(message.cwd, "cwd") if message.cwd else "",
        env=dict(message.env),
        user=message.user,
        timeout=times.optional_duration(message, "timeout"),
        stdin=stdin,
        kill_grace=times.optional_duration(message, "kill_grace"),
        output_limit_bytes=message.output_limit if message.HasField("output_limit") else None,
        on_output_limit=OnOutputLimit.KILL if kill else OnOutputLimit.TRUNCATE,
        block=message.overflow != exec_options_pb2.OVERFLOW_GAP,
        heartbeat_interval=times.optional_duration(message, "heartbeat_interval"),
    )


def event(positioned: Positioned, seq: int) -> exec_event_pb2.ExecEvent:
    """Return an exec's event as the contract has it."""
    it = positioned.event
    message = exec_event_pb2.ExecEvent(
        seq=seq,
        time=times.timestamp(positioned.time),
        position=exec_event_pb2.Position(
            stdout_offset=positioned.position.stdout_offset,
            stderr_offset=positioned.position.stderr_offset,
        ),
    )
    match it:
        case Output():
            message.output.stream = _STREAMS[it.stream]
            message.output.data = it.data
            message.output.offset = it.offset
        case Heartbeat():
            message.heartbeat.connection = exec_event_pb2.BACKEND_CONNECTION_CONNECTED
        case Gap():
            message.gap.stream = _STREAMS[it.stream]
            message.gap.offset = it.offset
            message.gap.missing_bytes = it.size
            message.gap.cause = exec_event_pb2.GAP_CAUSE_EVICTED
        case Started():
            message.started.CopyFrom(_started(it))
        case Exited():
            message.exited.CopyFrom(_exited(it))
    return message


def summary(it: ExecSummary) -> exec_pb2.ExecSummary:
    """Return a running exec as the contract lists it."""
    return exec_pb2.ExecSummary(
        exec_id=it.exec_id,
        state=exec_pb2.EXEC_STATE_RUNNING,
        program=it.program,
        start_time=times.timestamp(it.start_time),
        pid=it.pid,
        retention=exec_options_pb2.RETENTION_ATTACHED,
        position=exec_event_pb2.Position(
            stdout_offset=it.stdout_bytes, stderr_offset=it.stderr_bytes
        ),
        readers=1,
    )


def _started(it: Started) -> exec_event_pb2.ExecStarted:
    spec = it.spec
    message = exec_event_pb2.ExecStarted(
        exec_id=it.exec_id,
        pid=it.pid,
        start_time=times.timestamp(it.start_time),
        cwd=spec.cwd,
        user=spec.user,
        timeout=times.duration(it.timeout),
        timeout_clamped=it.timeout_clamped,
        retention=exec_options_pb2.RETENTION_ATTACHED,
        reader_grace=times.duration(timedelta(0)),
        kill_grace=times.duration(it.kill_grace),
        overflow=exec_options_pb2.OVERFLOW_BLOCK if spec.block else exec_options_pb2.OVERFLOW_GAP,
        journal_limit=it.journal_bytes,
        heartbeat_interval=times.duration(it.heartbeat_interval),
    )
    if spec.output_limit_bytes is not None:
        message.output_limit = spec.output_limit_bytes
        message.on_output_limit = (
            exec_options_pb2.ON_OUTPUT_LIMIT_KILL
            if spec.on_output_limit is OnOutputLimit.KILL
            else exec_options_pb2.ON_OUTPUT_LIMIT_TRUNCATE
        )
    return message


def _exited(it: Exited) -> exec_event_pb2.ExecExited:
    phases = it.phases
    timings = {
        "queue": phases.queued,
        "start": phases.started,
        "first_byte": phases.first_byte,
        "run": phases.ran,
        "drain": phases.drained,
    }
    return exec_event_pb2.ExecExited(
        cause=enums.cause(it.cause.value),
        fault=enums.fault(it.fault.value),
        exit_code=it.exit_code,
        signal=it.signal or None,
        end_time=times.timestamp(it.end_time),
        output_still_open=it.output_still_open,
        totals=[_totals(Stream.STDOUT, it.stdout), _totals(Stream.STDERR, it.stderr)],
        truncated=it.truncated,
        timings=[
            outcome_pb2.PhaseTiming(phase=name, duration=times.seconds(took))
            for name, took in timings.items()
            if took is not None
        ],
        survivor_pids=it.survivors,
        message=it.message,
    )


def _totals(stream: Stream, count: OutputCount) -> exec_event_pb2.StreamTotals:
    return exec_event_pb2.StreamTotals(
        stream=_STREAMS[stream],
        produced_bytes=count.produced_bytes,
        delivered_bytes=count.delivered_bytes,
    )
