import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import exec_event_pb2 as _exec_event_pb2
from miosa.sandbox.v1 import exec_options_pb2 as _exec_options_pb2
from miosa.sandbox.v1 import program_pb2 as _program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXEC_STATE_UNSPECIFIED: _ClassVar[ExecState]
    EXEC_STATE_RUNNING: _ClassVar[ExecState]
    EXEC_STATE_EXITED: _ClassVar[ExecState]
    EXEC_STATE_LOST: _ClassVar[ExecState]
EXEC_STATE_UNSPECIFIED: ExecState
EXEC_STATE_RUNNING: ExecState
EXEC_STATE_EXITED: ExecState
EXEC_STATE_LOST: ExecState

class ExecRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "program", "cwd", "env", "user", "timeout", "stdin", "pty", "retention", "reader_grace", "kill_grace", "output_limit", "on_output_limit", "overflow", "spool_limit", "artifact_globs", "heartbeat_interval", "reconnect_limit", "auto_resume")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    READER_GRACE_FIELD_NUMBER: _ClassVar[int]
    KILL_GRACE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ON_OUTPUT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    SPOOL_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_GLOBS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    program: _program_pb2.Program
    cwd: str
    env: _containers.ScalarMap[str, str]
    user: str
    timeout: _duration_pb2.Duration
    stdin: _exec_options_pb2.Stdin
    pty: _exec_options_pb2.PtySize
    retention: _exec_options_pb2.Retention
    reader_grace: _duration_pb2.Duration
    kill_grace: _duration_pb2.Duration
    output_limit: int
    on_output_limit: _exec_options_pb2.OnOutputLimit
    overflow: _exec_options_pb2.Overflow
    spool_limit: int
    artifact_globs: _containers.RepeatedScalarFieldContainer[str]
    heartbeat_interval: _duration_pb2.Duration
    reconnect_limit: _duration_pb2.Duration
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., program: _Optional[_Union[_program_pb2.Program, _Mapping]] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stdin: _Optional[_Union[_exec_options_pb2.Stdin, _Mapping]] = ..., pty: _Optional[_Union[_exec_options_pb2.PtySize, _Mapping]] = ..., retention: _Optional[_Union[_exec_options_pb2.Retention, str]] = ..., reader_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., kill_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., output_limit: _Optional[int] = ..., on_output_limit: _Optional[_Union[_exec_options_pb2.OnOutputLimit, str]] = ..., overflow: _Optional[_Union[_exec_options_pb2.Overflow, str]] = ..., spool_limit: _Optional[int] = ..., artifact_globs: _Optional[_Iterable[str]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reconnect_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class ExecResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _exec_event_pb2.ExecEvent
    def __init__(self, event: _Optional[_Union[_exec_event_pb2.ExecEvent, _Mapping]] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "position", "heartbeat_interval")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    position: _exec_event_pb2.Position
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., position: _Optional[_Union[_exec_event_pb2.Position, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _exec_event_pb2.ExecEvent
    def __init__(self, event: _Optional[_Union[_exec_event_pb2.ExecEvent, _Mapping]] = ...) -> None: ...

class SendInputRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "offset", "data", "end_of_input")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_OF_INPUT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    offset: int
    data: bytes
    end_of_input: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., end_of_input: _Optional[bool] = ...) -> None: ...

class SendInputResponse(_message.Message):
    __slots__ = ("next_offset",)
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    next_offset: int
    def __init__(self, next_offset: _Optional[int] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "signal")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    signal: str
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., signal: _Optional[str] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ("delivered",)
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    delivered: bool
    def __init__(self, delivered: _Optional[bool] = ...) -> None: ...

class ResizePtyRequest(_message.Message):
    __slots__ = ("sandbox_id", "exec_id", "size")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    exec_id: str
    size: _exec_options_pb2.PtySize
    def __init__(self, sandbox_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., size: _Optional[_Union[_exec_options_pb2.PtySize, _Mapping]] = ...) -> None: ...

class ResizePtyResponse(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: _exec_options_pb2.PtySize
    def __init__(self, size: _Optional[_Union[_exec_options_pb2.PtySize, _Mapping]] = ...) -> None: ...

class ExecSummary(_message.Message):
    __slots__ = ("exec_id", "state", "program", "start_time", "pid", "retention", "pty", "position", "readers", "exited")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    state: ExecState
    program: str
    start_time: _timestamp_pb2.Timestamp
    pid: int
    retention: _exec_options_pb2.Retention
    pty: bool
    position: _exec_event_pb2.Position
    readers: int
    exited: _exec_event_pb2.ExecExited
    def __init__(self, exec_id: _Optional[str] = ..., state: _Optional[_Union[ExecState, str]] = ..., program: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., retention: _Optional[_Union[_exec_options_pb2.Retention, str]] = ..., pty: _Optional[bool] = ..., position: _Optional[_Union[_exec_event_pb2.Position, _Mapping]] = ..., readers: _Optional[int] = ..., exited: _Optional[_Union[_exec_event_pb2.ExecExited, _Mapping]] = ...) -> None: ...

class ListExecsRequest(_message.Message):
    __slots__ = ("sandbox_id", "page_size", "page_token", "state")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    page_size: int
    page_token: str
    state: ExecState
    def __init__(self, sandbox_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., state: _Optional[_Union[ExecState, str]] = ...) -> None: ...

class ListExecsResponse(_message.Message):
    __slots__ = ("execs", "next_page_token")
    EXECS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    execs: _containers.RepeatedCompositeFieldContainer[ExecSummary]
    next_page_token: str
    def __init__(self, execs: _Optional[_Iterable[_Union[ExecSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
