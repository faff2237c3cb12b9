import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArchiveState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHIVE_STATE_UNSPECIFIED: _ClassVar[ArchiveState]
    ARCHIVE_STATE_NONE: _ClassVar[ArchiveState]
    ARCHIVE_STATE_COMPLETE: _ClassVar[ArchiveState]
    ARCHIVE_STATE_PARTIAL: _ClassVar[ArchiveState]
    ARCHIVE_STATE_IN_PROGRESS: _ClassVar[ArchiveState]
    ARCHIVE_STATE_FAILED: _ClassVar[ArchiveState]

class SkipCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SKIP_CAUSE_UNSPECIFIED: _ClassVar[SkipCause]
    SKIP_CAUSE_TOO_LARGE: _ClassVar[SkipCause]
    SKIP_CAUSE_ARCHIVE_FULL: _ClassVar[SkipCause]
    SKIP_CAUSE_UNREADABLE: _ClassVar[SkipCause]
    SKIP_CAUSE_CHANGED: _ClassVar[SkipCause]
    SKIP_CAUSE_NOT_A_FILE: _ClassVar[SkipCause]
ARCHIVE_STATE_UNSPECIFIED: ArchiveState
ARCHIVE_STATE_NONE: ArchiveState
ARCHIVE_STATE_COMPLETE: ArchiveState
ARCHIVE_STATE_PARTIAL: ArchiveState
ARCHIVE_STATE_IN_PROGRESS: ArchiveState
ARCHIVE_STATE_FAILED: ArchiveState
SKIP_CAUSE_UNSPECIFIED: SkipCause
SKIP_CAUSE_TOO_LARGE: SkipCause
SKIP_CAUSE_ARCHIVE_FULL: SkipCause
SKIP_CAUSE_UNREADABLE: SkipCause
SKIP_CAUSE_CHANGED: SkipCause
SKIP_CAUSE_NOT_A_FILE: SkipCause

class SkippedArtifact(_message.Message):
    __slots__ = ("path", "size", "cause")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    cause: SkipCause
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., cause: _Optional[_Union[SkipCause, str]] = ...) -> None: ...

class ArchiveSummary(_message.Message):
    __slots__ = ("archive_id", "state", "sandbox_id", "create_time", "expire_time", "artifact_count", "artifact_bytes", "skipped_count", "skipped")
    ARCHIVE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    archive_id: str
    state: ArchiveState
    sandbox_id: str
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    artifact_count: int
    artifact_bytes: int
    skipped_count: int
    skipped: _containers.RepeatedCompositeFieldContainer[SkippedArtifact]
    def __init__(self, archive_id: _Optional[str] = ..., state: _Optional[_Union[ArchiveState, str]] = ..., sandbox_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., artifact_count: _Optional[int] = ..., artifact_bytes: _Optional[int] = ..., skipped_count: _Optional[int] = ..., skipped: _Optional[_Iterable[_Union[SkippedArtifact, _Mapping]]] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("path", "size", "sha256", "mode", "modify_time", "media_type")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: bytes
    mode: int
    modify_time: _timestamp_pb2.Timestamp
    media_type: str
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., mode: _Optional[int] = ..., modify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., media_type: _Optional[str] = ...) -> None: ...
