import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import sandbox_pb2 as _sandbox_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_STATE_CHANGED: _ClassVar[EventType]
    EVENT_TYPE_LIFETIME_EXTENDED: _ClassVar[EventType]
    EVENT_TYPE_ADOPTED: _ClassVar[EventType]
    EVENT_TYPE_EXEC_STARTED: _ClassVar[EventType]
    EVENT_TYPE_EXEC_EXITED: _ClassVar[EventType]
    EVENT_TYPE_FILES_SYNCED: _ClassVar[EventType]
    EVENT_TYPE_ARCHIVED: _ClassVar[EventType]
    EVENT_TYPE_QUOTA_EXCEEDED: _ClassVar[EventType]
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_STATE_CHANGED: EventType
EVENT_TYPE_LIFETIME_EXTENDED: EventType
EVENT_TYPE_ADOPTED: EventType
EVENT_TYPE_EXEC_STARTED: EventType
EVENT_TYPE_EXEC_EXITED: EventType
EVENT_TYPE_FILES_SYNCED: EventType
EVENT_TYPE_ARCHIVED: EventType
EVENT_TYPE_QUOTA_EXCEEDED: EventType

class StateChange(_message.Message):
    __slots__ = ("to", "end")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    to: _sandbox_pb2.SandboxState
    end: _sandbox_pb2.Tombstone
    def __init__(self, to: _Optional[_Union[_sandbox_pb2.SandboxState, str]] = ..., end: _Optional[_Union[_sandbox_pb2.Tombstone, _Mapping]] = ..., **kwargs) -> None: ...

class ExecChange(_message.Message):
    __slots__ = ("exec_id", "cause", "fault", "exit_code")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    exit_code: int
    def __init__(self, exec_id: _Optional[str] = ..., cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., exit_code: _Optional[int] = ...) -> None: ...

class SyncChange(_message.Message):
    __slots__ = ("sync_id", "root", "added", "modified", "deleted")
    SYNC_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    sync_id: str
    root: str
    added: int
    modified: int
    deleted: int
    def __init__(self, sync_id: _Optional[str] = ..., root: _Optional[str] = ..., added: _Optional[int] = ..., modified: _Optional[int] = ..., deleted: _Optional[int] = ...) -> None: ...

class OwnerChange(_message.Message):
    __slots__ = ("from_owner", "to_owner", "generation")
    FROM_OWNER_FIELD_NUMBER: _ClassVar[int]
    TO_OWNER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    from_owner: str
    to_owner: str
    generation: int
    def __init__(self, from_owner: _Optional[str] = ..., to_owner: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class LifetimeChange(_message.Message):
    __slots__ = ("expire_time",)
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class QuotaChange(_message.Message):
    __slots__ = ("quota", "limit")
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    quota: str
    limit: int
    def __init__(self, quota: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class LifecycleEvent(_message.Message):
    __slots__ = ("cursor", "time", "type", "tenant_id", "sandbox_id", "request_id", "state", "lifetime", "owner", "exec", "sync", "archive", "quota")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    EXEC_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    time: _timestamp_pb2.Timestamp
    type: EventType
    tenant_id: str
    sandbox_id: str
    request_id: str
    state: StateChange
    lifetime: LifetimeChange
    owner: OwnerChange
    exec: ExecChange
    sync: SyncChange
    archive: _artifact_pb2.ArchiveSummary
    quota: QuotaChange
    def __init__(self, cursor: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., type: _Optional[_Union[EventType, str]] = ..., tenant_id: _Optional[str] = ..., sandbox_id: _Optional[str] = ..., request_id: _Optional[str] = ..., state: _Optional[_Union[StateChange, _Mapping]] = ..., lifetime: _Optional[_Union[LifetimeChange, _Mapping]] = ..., owner: _Optional[_Union[OwnerChange, _Mapping]] = ..., exec: _Optional[_Union[ExecChange, _Mapping]] = ..., sync: _Optional[_Union[SyncChange, _Mapping]] = ..., archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., quota: _Optional[_Union[QuotaChange, _Mapping]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("sandbox_id", "tenant_id", "all_tenants", "after_cursor", "from_earliest", "types", "heartbeat_interval")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_TENANTS_FIELD_NUMBER: _ClassVar[int]
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    FROM_EARLIEST_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    tenant_id: str
    all_tenants: bool
    after_cursor: str
    from_earliest: bool
    types: _containers.RepeatedScalarFieldContainer[EventType]
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, sandbox_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., all_tenants: _Optional[bool] = ..., after_cursor: _Optional[str] = ..., from_earliest: _Optional[bool] = ..., types: _Optional[_Iterable[_Union[EventType, str]]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchHeartbeat(_message.Message):
    __slots__ = ("cursor", "time")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, cursor: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event", "heartbeat")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    event: LifecycleEvent
    heartbeat: WatchHeartbeat
    def __init__(self, event: _Optional[_Union[LifecycleEvent, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ...) -> None: ...
