import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenewLeaseRequest(_message.Message):
    __slots__ = ("owner", "lease", "sandbox_ids")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    lease: _duration_pb2.Duration
    sandbox_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, owner: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sandbox_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RenewLeaseResponse(_message.Message):
    __slots__ = ("lease_expire_time", "renewed_count", "lost_sandbox_ids")
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEWED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOST_SANDBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    lease_expire_time: _timestamp_pb2.Timestamp
    renewed_count: int
    lost_sandbox_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renewed_count: _Optional[int] = ..., lost_sandbox_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SandboxIds(_message.Message):
    __slots__ = ("sandbox_ids",)
    SANDBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    sandbox_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sandbox_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class AdoptRequest(_message.Message):
    __slots__ = ("owner", "from_owner", "sandboxes", "lease", "force")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FROM_OWNER_FIELD_NUMBER: _ClassVar[int]
    SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    owner: str
    from_owner: str
    sandboxes: SandboxIds
    lease: _duration_pb2.Duration
    force: bool
    def __init__(self, owner: _Optional[str] = ..., from_owner: _Optional[str] = ..., sandboxes: _Optional[_Union[SandboxIds, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., force: _Optional[bool] = ...) -> None: ...

class AdoptedSandbox(_message.Message):
    __slots__ = ("sandbox_id", "generation", "previous_owner")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_OWNER_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    generation: int
    previous_owner: str
    def __init__(self, sandbox_id: _Optional[str] = ..., generation: _Optional[int] = ..., previous_owner: _Optional[str] = ...) -> None: ...

class AdoptResponse(_message.Message):
    __slots__ = ("adopted", "lease_expire_time")
    ADOPTED_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    adopted: _containers.RepeatedCompositeFieldContainer[AdoptedSandbox]
    lease_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, adopted: _Optional[_Iterable[_Union[AdoptedSandbox, _Mapping]]] = ..., lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
