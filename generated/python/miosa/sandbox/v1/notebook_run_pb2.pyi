import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from miosa.sandbox.v1 import notebook_pb2 as _notebook_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunNotebookRequest(_message.Message):
    __slots__ = ("sandbox_id", "run_id", "notebook", "path", "parameters", "kernel", "cell_timeout", "timeout", "on_error", "options", "output_path", "artifact_globs", "auto_resume")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NOTEBOOK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    CELL_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PATH_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_GLOBS_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    run_id: str
    notebook: bytes
    path: str
    parameters: _containers.MessageMap[str, _struct_pb2.Value]
    kernel: str
    cell_timeout: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    on_error: _notebook_pb2.OnCellError
    options: _notebook_pb2.RunOptions
    output_path: str
    artifact_globs: _containers.RepeatedScalarFieldContainer[str]
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., run_id: _Optional[str] = ..., notebook: _Optional[bytes] = ..., path: _Optional[str] = ..., parameters: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., kernel: _Optional[str] = ..., cell_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_error: _Optional[_Union[_notebook_pb2.OnCellError, str]] = ..., options: _Optional[_Union[_notebook_pb2.RunOptions, _Mapping]] = ..., output_path: _Optional[str] = ..., artifact_globs: _Optional[_Iterable[str]] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class RunNotebookResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _notebook_pb2.NotebookEvent
    def __init__(self, event: _Optional[_Union[_notebook_pb2.NotebookEvent, _Mapping]] = ...) -> None: ...

class AttachNotebookRequest(_message.Message):
    __slots__ = ("sandbox_id", "run_id", "position", "heartbeat_interval")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    run_id: str
    position: int
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, sandbox_id: _Optional[str] = ..., run_id: _Optional[str] = ..., position: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttachNotebookResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _notebook_pb2.NotebookEvent
    def __init__(self, event: _Optional[_Union[_notebook_pb2.NotebookEvent, _Mapping]] = ...) -> None: ...

class CancelNotebookRequest(_message.Message):
    __slots__ = ("sandbox_id", "run_id")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    run_id: str
    def __init__(self, sandbox_id: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class CancelNotebookResponse(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: _Optional[bool] = ...) -> None: ...
