import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from miosa.sandbox.v1 import exec_pb2 as _exec_pb2
from miosa.sandbox.v1 import preview_pb2 as _preview_pb2
from miosa.sandbox.v1 import sandbox_pb2 as _sandbox_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kept(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEPT_UNSPECIFIED: _ClassVar[Kept]
    KEPT_FILES: _ClassVar[Kept]
    KEPT_FILES_AND_MEMORY: _ClassVar[Kept]

class ArchiveMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHIVE_MODE_UNSPECIFIED: _ClassVar[ArchiveMode]
    ARCHIVE_MODE_NONE: _ClassVar[ArchiveMode]
    ARCHIVE_MODE_BEST_EFFORT: _ClassVar[ArchiveMode]
    ARCHIVE_MODE_REQUIRED: _ClassVar[ArchiveMode]
KEPT_UNSPECIFIED: Kept
KEPT_FILES: Kept
KEPT_FILES_AND_MEMORY: Kept
ARCHIVE_MODE_UNSPECIFIED: ArchiveMode
ARCHIVE_MODE_NONE: ArchiveMode
ARCHIVE_MODE_BEST_EFFORT: ArchiveMode
ARCHIVE_MODE_REQUIRED: ArchiveMode

class StatusRequest(_message.Message):
    __slots__ = ("sandbox_id",)
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    def __init__(self, sandbox_id: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("sandbox", "health", "usage", "lifetime_left", "running_execs", "preview_state", "observe_time")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_STATE_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_TIME_FIELD_NUMBER: _ClassVar[int]
    sandbox: _sandbox_pb2.Sandbox
    health: _sandbox_pb2.Health
    usage: _sandbox_pb2.ResourceUsage
    lifetime_left: _duration_pb2.Duration
    running_execs: _containers.RepeatedCompositeFieldContainer[_exec_pb2.ExecSummary]
    preview_state: _preview_pb2.PreviewState
    observe_time: _timestamp_pb2.Timestamp
    def __init__(self, sandbox: _Optional[_Union[_sandbox_pb2.Sandbox, _Mapping]] = ..., health: _Optional[_Union[_sandbox_pb2.Health, str]] = ..., usage: _Optional[_Union[_sandbox_pb2.ResourceUsage, _Mapping]] = ..., lifetime_left: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., running_execs: _Optional[_Iterable[_Union[_exec_pb2.ExecSummary, _Mapping]]] = ..., preview_state: _Optional[_Union[_preview_pb2.PreviewState, str]] = ..., observe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "template", "metadata", "owner", "tenant_id")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_sandbox_pb2.SandboxState]
    template: str
    metadata: _containers.ScalarMap[str, str]
    owner: str
    tenant_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_sandbox_pb2.SandboxState, str]]] = ..., template: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., owner: _Optional[str] = ..., tenant_id: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("sandboxes", "next_page_token")
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sandboxes: _containers.RepeatedCompositeFieldContainer[_sandbox_pb2.Sandbox]
    next_page_token: str
    def __init__(self, sandboxes: _Optional[_Iterable[_Union[_sandbox_pb2.Sandbox, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExtendLifetimeRequest(_message.Message):
    __slots__ = ("sandbox_id", "expire_time", "if_generation")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    IF_GENERATION_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    expire_time: _timestamp_pb2.Timestamp
    if_generation: int
    def __init__(self, sandbox_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., if_generation: _Optional[int] = ...) -> None: ...

class ExtendLifetimeResponse(_message.Message):
    __slots__ = ("expire_time", "extended")
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_FIELD_NUMBER: _ClassVar[int]
    expire_time: _timestamp_pb2.Timestamp
    extended: bool
    def __init__(self, expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., extended: _Optional[bool] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("sandbox_id", "if_generation")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    IF_GENERATION_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    if_generation: int
    def __init__(self, sandbox_id: _Optional[str] = ..., if_generation: _Optional[int] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("sandbox", "kept")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    sandbox: _sandbox_pb2.Sandbox
    kept: Kept
    def __init__(self, sandbox: _Optional[_Union[_sandbox_pb2.Sandbox, _Mapping]] = ..., kept: _Optional[_Union[Kept, str]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("sandbox_id", "lifetime", "if_generation")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    IF_GENERATION_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    lifetime: _duration_pb2.Duration
    if_generation: int
    def __init__(self, sandbox_id: _Optional[str] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., if_generation: _Optional[int] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("sandbox", "kept")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    sandbox: _sandbox_pb2.Sandbox
    kept: Kept
    def __init__(self, sandbox: _Optional[_Union[_sandbox_pb2.Sandbox, _Mapping]] = ..., kept: _Optional[_Union[Kept, str]] = ...) -> None: ...

class DestroyRequest(_message.Message):
    __slots__ = ("sandbox_id", "archive", "if_generation")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    IF_GENERATION_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    archive: ArchiveMode
    if_generation: int
    def __init__(self, sandbox_id: _Optional[str] = ..., archive: _Optional[_Union[ArchiveMode, str]] = ..., if_generation: _Optional[int] = ...) -> None: ...

class DestroyResponse(_message.Message):
    __slots__ = ("archive", "end", "already_ended")
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ALREADY_ENDED_FIELD_NUMBER: _ClassVar[int]
    archive: _artifact_pb2.ArchiveSummary
    end: _sandbox_pb2.Tombstone
    already_ended: bool
    def __init__(self, archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., end: _Optional[_Union[_sandbox_pb2.Tombstone, _Mapping]] = ..., already_ended: _Optional[bool] = ...) -> None: ...
