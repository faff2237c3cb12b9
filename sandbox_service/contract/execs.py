"""Execs: requests to specs, events to messages."""

from __future__ import annotations

from datetime import timedelta

from miosa.sandbox.v1 import (
    exec_event_pb2,
    exec_options_pb2,
    exec_pb2,
    outcome_pb2,
    policy_pb2,
    program_pb2,
)

from sandbox_service.contract import artifacts, enums, policy, times
from sandbox_service.contract.digests import request_digests
from sandbox_service.domain import paths
from sandbox_service.domain.execs import (
    Argv,
    ExecSpec,
    ExecState,
    ExecSummary,
    Exited,
    Gap,
    GapCause,
    Heartbeat,
    OnOutputLimit,
    Output,
    OutputCount,
    Position,
    Positioned,
    ProcessUsage,
    Program,
    PtySize,
    Retention,
    ShellCommand,
    SourceCode,
    Started,
    Stream,
)
from sandbox_service.operations.artifact_search import Globs

_STREAMS = {
    Stream.STDOUT: exec_event_pb2.OUTPUT_STREAM_STDOUT,
    Stream.STDERR: exec_event_pb2.OUTPUT_STREAM_STDERR,
    Stream.PTY: exec_event_pb2.OUTPUT_STREAM_PTY,
}


_RETENTIONS = {
    exec_options_pb2.RETENTION_UNSPECIFIED: Retention.ATTACHED,
    exec_options_pb2.RETENTION_ATTACHED: Retention.ATTACHED,
    exec_options_pb2.RETENTION_DETACHED: Retention.DETACHED,
    exec_options_pb2.RETENTION_DURABLE: Retention.DURABLE,
}
_TO_RETENTIONS = {
    Retention.ATTACHED: exec_options_pb2.RETENTION_ATTACHED,
    Retention.DETACHED: exec_options_pb2.RETENTION_DETACHED,
    Retention.DURABLE: exec_options_pb2.RETENTION_DURABLE,
}
_STATES = {
    ExecState.RUNNING: exec_pb2.EXEC_STATE_RUNNING,
    ExecState.EXITED: exec_pb2.EXEC_STATE_EXITED,
    ExecState.LOST: exec_pb2.EXEC_STATE_LOST,
}
_FROM_STATES = {value: name for name, value in _STATES.items()}
_GAP_CAUSES = {
    GapCause.EVICTED: exec_event_pb2.GAP_CAUSE_EVICTED,
    GapCause.DISCONNECTED: exec_event_pb2.GAP_CAUSE_DISCONNECTED,
    GapCause.SPOOL_LIMIT: exec_event_pb2.GAP_CAUSE_SPOOL_LIMIT,
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
        InvalidPathError: `cwd` is no absolute path, or a glob leads out of it.
    """
    globs = tuple(message.artifact_globs)
    Globs.of(globs)
    retention = _RETENTIONS[message.retention]
    block = message.overflow == exec_options_pb2.OVERFLOW_BLOCK
    if message.overflow == exec_options_pb2.OVERFLOW_UNSPECIFIED:
        block = retention is Retention.ATTACHED
    stdin, stdin_open = _stdin(message)
    kill = message.on_output_limit == exec_options_pb2.ON_OUTPUT_LIMIT_KILL
    return ExecSpec(
        program=program(message.program),
        exec_id=message.exec_id,
        # What is repeated after a pause runs the same program.
        request_digests=request_digests(message, without=("auto_resume",))
        if message.exec_id
        else {},
        cwd=paths.absolute(message.cwd, "cwd") if message.cwd else "",
        env=dict(message.env),
        user=message.user,
        timeout=times.optional_duration(message, "timeout"),
        stdin=stdin,
        stdin_open=stdin_open,
        pty=pty_size(message.pty) if message.HasField("pty") else None,
        retention=retention,
        reader_grace=times.optional_duration(message, "reader_grace") or timedelta(0),
        kill_grace=times.optional_duration(message, "kill_grace"),
        output_limit_bytes=message.output_limit if message.HasField("output_limit") else None,
        on_output_limit=OnOutputLimit.KILL if kill else OnOutputLimit.TRUNCATE,
        block=block,
        heartbeat_interval=times.optional_duration(message, "heartbeat_interval"),
        spool_limit_bytes=message.spool_limit if message.HasField("spool_limit") else None,
        reconnect_limit=times.optional_duration(message, "reconnect_limit"),
        artifact_globs=globs,
    )


def checked_spec(message: policy_pb2.CheckProgramRequest) -> ExecSpec:
    """Return the program that a CheckProgramRequest is about."""
    return ExecSpec(program=program(message.program), stdin=message.stdin_data or None)


def _stdin(message: exec_pb2.ExecRequest) -> tuple[bytes | None, bool]:
    """Return the first input, and whether more is to come."""
    stdin = message.stdin
    mode = stdin.mode
    if message.HasField("pty") or mode == exec_options_pb2.STDIN_MODE_STREAM:
        return stdin.data or None, True
    if mode == exec_options_pb2.STDIN_MODE_BYTES or stdin.data:
        return stdin.data, False
    return None, False


def pty_size(message: exec_options_pb2.PtySize) -> PtySize:
    """Return the size of a terminal."""
    return PtySize(message.cols, message.rows)


def position(message: exec_pb2.AttachRequest) -> Position | None:
    """Return where a reader is to begin. None: at the beginning."""
    if not message.HasField("position"):
        return None
    asked = message.position
    return Position(asked.stdout_offset, asked.stderr_offset)


def state(message: exec_pb2.ListExecsRequest) -> ExecState | None:
    """Return the state that execs are to be in. None: any."""
    return _FROM_STATES.get(message.state)


def event(positioned: Positioned) -> exec_event_pb2.ExecEvent:
    """Return an exec's event as the contract has it."""
    it = positioned.event
    message = exec_event_pb2.ExecEvent(
        seq=positioned.seq,
        time=times.timestamp(positioned.time),
        position=_position(positioned.position),
    )
    match it:
        case Output():
            message.output.stream = _STREAMS[it.stream]
            message.output.data = it.data
            message.output.offset = it.offset
        case Heartbeat():
            _fill_heartbeat(message.heartbeat, it)
        case Gap():
            message.gap.stream = _STREAMS[it.stream]
            message.gap.offset = it.offset
            if it.size is not None:
                message.gap.missing_bytes = it.size
            message.gap.cause = _GAP_CAUSES[it.cause]
        case Started():
            message.started.CopyFrom(_started(it))
        case Exited():
            message.exited.CopyFrom(_exited(it))
    return message


def summary(it: ExecSummary) -> exec_pb2.ExecSummary:
    """Return an exec as the contract lists it."""
    return exec_pb2.ExecSummary(
        exec_id=it.exec_id,
        state=_STATES[it.state],
        program=it.program,
        start_time=times.timestamp(it.start_time),
        pid=it.pid,
        retention=_TO_RETENTIONS[it.retention],
        pty=it.pty,
        position=_position(it.position),
        readers=it.readers,
        exited=None if it.exited is None else _exited(it.exited),
    )


def _position(it: Position) -> exec_event_pb2.Position:
    return exec_event_pb2.Position(stdout_offset=it.stdout_offset, stderr_offset=it.stderr_offset)


def _fill_heartbeat(message: exec_event_pb2.ExecHeartbeat, it: Heartbeat) -> None:
    if it.disconnect_time is None:
        message.connection = exec_event_pb2.BACKEND_CONNECTION_CONNECTED
    else:
        message.connection = exec_event_pb2.BACKEND_CONNECTION_RECONNECTING
        message.disconnect_time.CopyFrom(times.timestamp(it.disconnect_time))


def _started(it: Started) -> exec_event_pb2.ExecStarted:
    message = exec_event_pb2.ExecStarted(
        exec_id=it.exec_id,
        pid=it.pid,
        start_time=times.timestamp(it.start_time),
        reused=it.reused,
        cwd=it.cwd,
        user=it.user,
        timeout=times.duration(it.timeout),
        timeout_clamped=it.timeout_clamped,
        retention=_TO_RETENTIONS[it.retention],
        reader_grace=times.duration(it.reader_grace),
        kill_grace=times.duration(it.kill_grace),
        overflow=exec_options_pb2.OVERFLOW_BLOCK if it.block else exec_options_pb2.OVERFLOW_GAP,
        journal_limit=it.journal_bytes,
        spool_limit=it.spool_limit_bytes,
        heartbeat_interval=times.duration(it.heartbeat_interval),
        reconnect_limit=times.duration(it.reconnect_limit),
        instance=it.instance,
        verdict=policy.verdict(it.verdict),
    )
    if it.pty is not None:
        message.pty.cols, message.pty.rows = it.pty.cols, it.pty.rows
    if it.output_limit_bytes is not None:
        message.output_limit = it.output_limit_bytes
        message.on_output_limit = (
            exec_options_pb2.ON_OUTPUT_LIMIT_KILL
            if it.on_output_limit is OnOutputLimit.KILL
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
        "artifacts": phases.artifacts,
    }
    return exec_event_pb2.ExecExited(
        cause=enums.cause(it.cause.value),
        fault=enums.fault(it.fault.value),
        exit_code=it.exit_code,
        signal=it.signal or None,
        end_time=times.timestamp(it.end_time),
        output_still_open=it.output_still_open,
        totals=[_totals(stream, count) for stream, count in it.counts.items()],
        truncated=it.truncated,
        timings=[
            outcome_pb2.PhaseTiming(phase=name, duration=times.seconds(took))
            for name, took in timings.items()
            if took is not None
        ],
        survivor_pids=it.survivors,
        usage=None if it.usage is None else _usage(it.usage),
        message=it.message,
        artifacts=None if it.artifacts is None else artifacts.found(it.artifacts),
    )


def _usage(it: ProcessUsage) -> exec_event_pb2.ExecUsage:
    return exec_event_pb2.ExecUsage(
        cpu_time=None if it.cpu_time is None else times.duration(it.cpu_time),
        max_resident_bytes=it.max_resident_bytes,
    )


def _totals(stream: Stream, count: OutputCount) -> exec_event_pb2.StreamTotals:
    return exec_event_pb2.StreamTotals(
        stream=_STREAMS[stream],
        produced_bytes=count.produced_bytes,
        delivered_bytes=count.delivered_bytes,
    )
