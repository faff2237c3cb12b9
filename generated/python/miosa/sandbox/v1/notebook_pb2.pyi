import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from miosa.sandbox.v1 import exec_event_pb2 as _exec_event_pb2
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

class OnCellError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_CELL_ERROR_UNSPECIFIED: _ClassVar[OnCellError]
    ON_CELL_ERROR_STOP: _ClassVar[OnCellError]
    ON_CELL_ERROR_CONTINUE: _ClassVar[OnCellError]
ON_CELL_ERROR_UNSPECIFIED: OnCellError
ON_CELL_ERROR_STOP: OnCellError
ON_CELL_ERROR_CONTINUE: OnCellError

class RunOptions(_message.Message):
    __slots__ = ("cwd", "env", "user", "retention", "reader_grace", "kill_grace", "heartbeat_interval", "overflow")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    READER_GRACE_FIELD_NUMBER: _ClassVar[int]
    KILL_GRACE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    cwd: str
    env: _containers.ScalarMap[str, str]
    user: str
    retention: _exec_options_pb2.Retention
    reader_grace: _duration_pb2.Duration
    kill_grace: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    overflow: _exec_options_pb2.Overflow
    def __init__(self, cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., retention: _Optional[_Union[_exec_options_pb2.Retention, str]] = ..., reader_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., kill_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., overflow: _Optional[_Union[_exec_options_pb2.Overflow, str]] = ...) -> None: ...

class MimeBundle(_message.Message):
    __slots__ = ("data", "metadata", "omitted_types")
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OMITTED_TYPES_FIELD_NUMBER: _ClassVar[int]
    data: _containers.ScalarMap[str, bytes]
    metadata: _struct_pb2.Struct
    omitted_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, data: _Optional[_Mapping[str, bytes]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., omitted_types: _Optional[_Iterable[str]] = ...) -> None: ...

class CellText(_message.Message):
    __slots__ = ("stream", "text")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    stream: _exec_event_pb2.OutputStream
    text: str
    def __init__(self, stream: _Optional[_Union[_exec_event_pb2.OutputStream, str]] = ..., text: _Optional[str] = ...) -> None: ...

class CellDisplay(_message.Message):
    __slots__ = ("bundle", "is_result", "display_id", "is_update")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    IS_RESULT_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_ID_FIELD_NUMBER: _ClassVar[int]
    IS_UPDATE_FIELD_NUMBER: _ClassVar[int]
    bundle: MimeBundle
    is_result: bool
    display_id: str
    is_update: bool
    def __init__(self, bundle: _Optional[_Union[MimeBundle, _Mapping]] = ..., is_result: _Optional[bool] = ..., display_id: _Optional[str] = ..., is_update: _Optional[bool] = ...) -> None: ...

class CellError(_message.Message):
    __slots__ = ("name", "value", "traceback")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    traceback: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., traceback: _Optional[_Iterable[str]] = ...) -> None: ...

class CellClear(_message.Message):
    __slots__ = ("wait",)
    WAIT_FIELD_NUMBER: _ClassVar[int]
    wait: bool
    def __init__(self, wait: _Optional[bool] = ...) -> None: ...

class CellOutput(_message.Message):
    __slots__ = ("cell_index", "text", "display", "error", "clear")
    CELL_INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    cell_index: int
    text: CellText
    display: CellDisplay
    error: CellError
    clear: CellClear
    def __init__(self, cell_index: _Optional[int] = ..., text: _Optional[_Union[CellText, _Mapping]] = ..., display: _Optional[_Union[CellDisplay, _Mapping]] = ..., error: _Optional[_Union[CellError, _Mapping]] = ..., clear: _Optional[_Union[CellClear, _Mapping]] = ...) -> None: ...

class NotebookStarted(_message.Message):
    __slots__ = ("run_id", "reused", "kernel", "language", "cell_count", "start_time", "timeout", "cell_timeout", "on_error", "retention", "verdict", "instance", "exec_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    CELL_COUNT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    CELL_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reused: bool
    kernel: str
    language: str
    cell_count: int
    start_time: _timestamp_pb2.Timestamp
    timeout: _duration_pb2.Duration
    cell_timeout: _duration_pb2.Duration
    on_error: OnCellError
    retention: _exec_options_pb2.Retention
    verdict: _policy_pb2.PolicyVerdict
    instance: str
    exec_id: str
    def __init__(self, run_id: _Optional[str] = ..., reused: _Optional[bool] = ..., kernel: _Optional[str] = ..., language: _Optional[str] = ..., cell_count: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cell_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_error: _Optional[_Union[OnCellError, str]] = ..., retention: _Optional[_Union[_exec_options_pb2.Retention, str]] = ..., verdict: _Optional[_Union[_policy_pb2.PolicyVerdict, _Mapping]] = ..., instance: _Optional[str] = ..., exec_id: _Optional[str] = ...) -> None: ...

class CellStarted(_message.Message):
    __slots__ = ("cell_index", "cell_id")
    CELL_INDEX_FIELD_NUMBER: _ClassVar[int]
    CELL_ID_FIELD_NUMBER: _ClassVar[int]
    cell_index: int
    cell_id: str
    def __init__(self, cell_index: _Optional[int] = ..., cell_id: _Optional[str] = ...) -> None: ...

class CellFinished(_message.Message):
    __slots__ = ("cell_index", "execution_count", "cause", "fault", "duration")
    CELL_INDEX_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    cell_index: int
    execution_count: int
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    duration: _duration_pb2.Duration
    def __init__(self, cell_index: _Optional[int] = ..., execution_count: _Optional[int] = ..., cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class NotebookGap(_message.Message):
    __slots__ = ("missing_events", "cause")
    MISSING_EVENTS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    missing_events: int
    cause: _exec_event_pb2.GapCause
    def __init__(self, missing_events: _Optional[int] = ..., cause: _Optional[_Union[_exec_event_pb2.GapCause, str]] = ...) -> None: ...

class NotebookFinished(_message.Message):
    __slots__ = ("cause", "fault", "failed_cell_index", "executed_cell_count", "notebook", "archive", "end_time", "timings", "message")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    FAILED_CELL_INDEX_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_CELL_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTEBOOK_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    failed_cell_index: int
    executed_cell_count: int
    notebook: _artifact_pb2.Artifact
    archive: _artifact_pb2.ArchiveSummary
    end_time: _timestamp_pb2.Timestamp
    timings: _containers.RepeatedCompositeFieldContainer[_outcome_pb2.PhaseTiming]
    message: str
    def __init__(self, cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., failed_cell_index: _Optional[int] = ..., executed_cell_count: _Optional[int] = ..., notebook: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timings: _Optional[_Iterable[_Union[_outcome_pb2.PhaseTiming, _Mapping]]] = ..., message: _Optional[str] = ...) -> None: ...

class NotebookEvent(_message.Message):
    __slots__ = ("position", "time", "started", "cell_started", "output", "cell_finished", "heartbeat", "gap", "finished")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    CELL_STARTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CELL_FINISHED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    position: int
    time: _timestamp_pb2.Timestamp
    started: NotebookStarted
    cell_started: CellStarted
    output: CellOutput
    cell_finished: CellFinished
    heartbeat: _exec_event_pb2.ExecHeartbeat
    gap: NotebookGap
    finished: NotebookFinished
    def __init__(self, position: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[NotebookStarted, _Mapping]] = ..., cell_started: _Optional[_Union[CellStarted, _Mapping]] = ..., output: _Optional[_Union[CellOutput, _Mapping]] = ..., cell_finished: _Optional[_Union[CellFinished, _Mapping]] = ..., heartbeat: _Optional[_Union[_exec_event_pb2.ExecHeartbeat, _Mapping]] = ..., gap: _Optional[_Union[NotebookGap, _Mapping]] = ..., finished: _Optional[_Union[NotebookFinished, _Mapping]] = ...) -> None: ...
