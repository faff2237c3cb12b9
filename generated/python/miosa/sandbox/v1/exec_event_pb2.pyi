import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from miosa.sandbox.v1 import exec_options_pb2 as _exec_options_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OutputStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_STREAM_UNSPECIFIED: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDOUT: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDERR: _ClassVar[OutputStream]
    OUTPUT_STREAM_PTY: _ClassVar[OutputStream]

class BackendConnection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKEND_CONNECTION_UNSPECIFIED: _ClassVar[BackendConnection]
    BACKEND_CONNECTION_CONNECTED: _ClassVar[BackendConnection]
    BACKEND_CONNECTION_RECONNECTING: _ClassVar[BackendConnection]

class GapCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_CAUSE_UNSPECIFIED: _ClassVar[GapCause]
    GAP_CAUSE_EVICTED: _ClassVar[GapCause]
    GAP_CAUSE_DISCONNECTED: _ClassVar[GapCause]
    GAP_CAUSE_SPOOL_LIMIT: _ClassVar[GapCause]
OUTPUT_STREAM_UNSPECIFIED: OutputStream
OUTPUT_STREAM_STDOUT: OutputStream
OUTPUT_STREAM_STDERR: OutputStream
OUTPUT_STREAM_PTY: OutputStream
BACKEND_CONNECTION_UNSPECIFIED: BackendConnection
BACKEND_CONNECTION_CONNECTED: BackendConnection
BACKEND_CONNECTION_RECONNECTING: BackendConnection
GAP_CAUSE_UNSPECIFIED: GapCause
GAP_CAUSE_EVICTED: GapCause
GAP_CAUSE_DISCONNECTED: GapCause
GAP_CAUSE_SPOOL_LIMIT: GapCause

class Position(_message.Message):
    __slots__ = ("stdout_offset", "stderr_offset")
    STDOUT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STDERR_OFFSET_FIELD_NUMBER: _ClassVar[int]
    stdout_offset: int
    stderr_offset: int
    def __init__(self, stdout_offset: _Optional[int] = ..., stderr_offset: _Optional[int] = ...) -> None: ...

class ExecEvent(_message.Message):
    __slots__ = ("seq", "time", "position", "started", "output", "heartbeat", "gap", "exited")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    time: _timestamp_pb2.Timestamp
    position: Position
    started: ExecStarted
    output: ExecOutput
    heartbeat: ExecHeartbeat
    gap: ExecGap
    exited: ExecExited
    def __init__(self, seq: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., started: _Optional[_Union[ExecStarted, _Mapping]] = ..., output: _Optional[_Union[ExecOutput, _Mapping]] = ..., heartbeat: _Optional[_Union[ExecHeartbeat, _Mapping]] = ..., gap: _Optional[_Union[ExecGap, _Mapping]] = ..., exited: _Optional[_Union[ExecExited, _Mapping]] = ...) -> None: ...

class ExecStarted(_message.Message):
    __slots__ = ("exec_id", "pid", "start_time", "reused", "cwd", "user", "timeout", "timeout_clamped", "retention", "reader_grace", "kill_grace", "overflow", "journal_limit", "spool_limit", "output_limit", "on_output_limit", "pty", "heartbeat_interval", "reconnect_limit", "verdict", "instance")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_CLAMPED_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    READER_GRACE_FIELD_NUMBER: _ClassVar[int]
    KILL_GRACE_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SPOOL_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ON_OUTPUT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    pid: int
    start_time: _timestamp_pb2.Timestamp
    reused: bool
    cwd: str
    user: str
    timeout: _duration_pb2.Duration
    timeout_clamped: bool
    retention: _exec_options_pb2.Retention
    reader_grace: _duration_pb2.Duration
    kill_grace: _duration_pb2.Duration
    overflow: _exec_options_pb2.Overflow
    journal_limit: int
    spool_limit: int
    output_limit: int
    on_output_limit: _exec_options_pb2.OnOutputLimit
    pty: _exec_options_pb2.PtySize
    heartbeat_interval: _duration_pb2.Duration
    reconnect_limit: _duration_pb2.Duration
    verdict: _policy_pb2.PolicyVerdict
    instance: str
    def __init__(self, exec_id: _Optional[str] = ..., pid: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reused: _Optional[bool] = ..., cwd: _Optional[str] = ..., user: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout_clamped: _Optional[bool] = ..., retention: _Optional[_Union[_exec_options_pb2.Retention, str]] = ..., reader_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., kill_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., overflow: _Optional[_Union[_exec_options_pb2.Overflow, str]] = ..., journal_limit: _Optional[int] = ..., spool_limit: _Optional[int] = ..., output_limit: _Optional[int] = ..., on_output_limit: _Optional[_Union[_exec_options_pb2.OnOutputLimit, str]] = ..., pty: _Optional[_Union[_exec_options_pb2.PtySize, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reconnect_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., verdict: _Optional[_Union[_policy_pb2.PolicyVerdict, _Mapping]] = ..., instance: _Optional[str] = ...) -> None: ...

class ExecOutput(_message.Message):
    __slots__ = ("stream", "data", "offset")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    stream: OutputStream
    data: bytes
    offset: int
    def __init__(self, stream: _Optional[_Union[OutputStream, str]] = ..., data: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class ExecHeartbeat(_message.Message):
    __slots__ = ("connection", "disconnect_time")
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    connection: BackendConnection
    disconnect_time: _timestamp_pb2.Timestamp
    def __init__(self, connection: _Optional[_Union[BackendConnection, str]] = ..., disconnect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExecGap(_message.Message):
    __slots__ = ("stream", "offset", "missing_bytes", "cause")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MISSING_BYTES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    stream: OutputStream
    offset: int
    missing_bytes: int
    cause: GapCause
    def __init__(self, stream: _Optional[_Union[OutputStream, str]] = ..., offset: _Optional[int] = ..., missing_bytes: _Optional[int] = ..., cause: _Optional[_Union[GapCause, str]] = ...) -> None: ...

class StreamTotals(_message.Message):
    __slots__ = ("stream", "produced_bytes", "delivered_bytes")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_BYTES_FIELD_NUMBER: _ClassVar[int]
    stream: OutputStream
    produced_bytes: int
    delivered_bytes: int
    def __init__(self, stream: _Optional[_Union[OutputStream, str]] = ..., produced_bytes: _Optional[int] = ..., delivered_bytes: _Optional[int] = ...) -> None: ...

class ExecUsage(_message.Message):
    __slots__ = ("cpu_time", "max_resident_bytes")
    CPU_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_time: _duration_pb2.Duration
    max_resident_bytes: int
    def __init__(self, cpu_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_resident_bytes: _Optional[int] = ...) -> None: ...

class ExecArtifacts(_message.Message):
    __slots__ = ("artifacts", "artifact_count", "artifact_bytes", "failure_reason")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[_artifact_pb2.Artifact]
    artifact_count: int
    artifact_bytes: int
    failure_reason: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[_artifact_pb2.Artifact, _Mapping]]] = ..., artifact_count: _Optional[int] = ..., artifact_bytes: _Optional[int] = ..., failure_reason: _Optional[str] = ...) -> None: ...

class ExecExited(_message.Message):
    __slots__ = ("cause", "fault", "exit_code", "signal", "end_time", "output_still_open", "totals", "truncated", "timings", "survivor_pids", "usage", "archive", "message", "artifacts")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_STILL_OPEN_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    SURVIVOR_PIDS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    exit_code: int
    signal: str
    end_time: _timestamp_pb2.Timestamp
    output_still_open: bool
    totals: _containers.RepeatedCompositeFieldContainer[StreamTotals]
    truncated: bool
    timings: _containers.RepeatedCompositeFieldContainer[_outcome_pb2.PhaseTiming]
    survivor_pids: _containers.RepeatedScalarFieldContainer[int]
    usage: ExecUsage
    archive: _artifact_pb2.ArchiveSummary
    message: str
    artifacts: ExecArtifacts
    def __init__(self, cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., output_still_open: _Optional[bool] = ..., totals: _Optional[_Iterable[_Union[StreamTotals, _Mapping]]] = ..., truncated: _Optional[bool] = ..., timings: _Optional[_Iterable[_Union[_outcome_pb2.PhaseTiming, _Mapping]]] = ..., survivor_pids: _Optional[_Iterable[int]] = ..., usage: _Optional[_Union[ExecUsage, _Mapping]] = ..., archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., message: _Optional[str] = ..., artifacts: _Optional[_Union[ExecArtifacts, _Mapping]] = ...) -> None: ...
