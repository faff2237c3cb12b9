import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import error_reason_pb2 as _error_reason_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from miosa.sandbox.v1 import preview_pb2 as _preview_pb2
from miosa.sandbox.v1 import program_pb2 as _program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYNC_MODE_UNSPECIFIED: _ClassVar[SyncMode]
    SYNC_MODE_PATCH: _ClassVar[SyncMode]
    SYNC_MODE_MIRROR: _ClassVar[SyncMode]

class SyncVerify(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYNC_VERIFY_UNSPECIFIED: _ClassVar[SyncVerify]
    SYNC_VERIFY_INDEX: _ClassVar[SyncVerify]
    SYNC_VERIFY_FULL: _ClassVar[SyncVerify]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_ADDED: _ClassVar[ChangeKind]
    CHANGE_KIND_MODIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_DELETED: _ClassVar[ChangeKind]
SYNC_MODE_UNSPECIFIED: SyncMode
SYNC_MODE_PATCH: SyncMode
SYNC_MODE_MIRROR: SyncMode
SYNC_VERIFY_UNSPECIFIED: SyncVerify
SYNC_VERIFY_INDEX: SyncVerify
SYNC_VERIFY_FULL: SyncVerify
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_ADDED: ChangeKind
CHANGE_KIND_MODIFIED: ChangeKind
CHANGE_KIND_DELETED: ChangeKind

class ReloadSignal(_message.Message):
    __slots__ = ("exec_id", "signal")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    signal: str
    def __init__(self, exec_id: _Optional[str] = ..., signal: _Optional[str] = ...) -> None: ...

class ReloadAction(_message.Message):
    __slots__ = ("program", "exec_id", "cwd", "env", "user", "timeout", "detach", "signal")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    program: _program_pb2.Program
    exec_id: str
    cwd: str
    env: _containers.ScalarMap[str, str]
    user: str
    timeout: _duration_pb2.Duration
    detach: bool
    signal: ReloadSignal
    def __init__(self, program: _Optional[_Union[_program_pb2.Program, _Mapping]] = ..., exec_id: _Optional[str] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., detach: _Optional[bool] = ..., signal: _Optional[_Union[ReloadSignal, _Mapping]] = ...) -> None: ...

class ReloadResult(_message.Message):
    __slots__ = ("exec_id", "running", "cause", "fault", "exit_code", "signal", "output_tail", "duration", "verdict", "refusal", "refusal_message", "delivered")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TAIL_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    running: bool
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    exit_code: int
    signal: str
    output_tail: bytes
    duration: _duration_pb2.Duration
    verdict: _policy_pb2.PolicyVerdict
    refusal: _error_reason_pb2.ErrorReason
    refusal_message: str
    delivered: bool
    def __init__(self, exec_id: _Optional[str] = ..., running: _Optional[bool] = ..., cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[str] = ..., output_tail: _Optional[bytes] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., verdict: _Optional[_Union[_policy_pb2.PolicyVerdict, _Mapping]] = ..., refusal: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ..., refusal_message: _Optional[str] = ..., delivered: _Optional[bool] = ...) -> None: ...

class SyncFilesHeader(_message.Message):
    __slots__ = ("sandbox_id", "root", "sync_id", "mode", "excludes", "if_root_digest", "reload", "verify", "user", "preview_wait", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    SYNC_ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDES_FIELD_NUMBER: _ClassVar[int]
    IF_ROOT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELOAD_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_WAIT_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    root: str
    sync_id: str
    mode: SyncMode
    excludes: _containers.RepeatedScalarFieldContainer[str]
    if_root_digest: bytes
    reload: ReloadAction
    verify: SyncVerify
    user: str
    preview_wait: _duration_pb2.Duration
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., root: _Optional[str] = ..., sync_id: _Optional[str] = ..., mode: _Optional[_Union[SyncMode, str]] = ..., excludes: _Optional[_Iterable[str]] = ..., if_root_digest: _Optional[bytes] = ..., reload: _Optional[_Union[ReloadAction, _Mapping]] = ..., verify: _Optional[_Union[SyncVerify, str]] = ..., user: _Optional[str] = ..., preview_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class SyncLink(_message.Message):
    __slots__ = ("path", "target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    path: str
    target: str
    def __init__(self, path: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class SyncFileHeader(_message.Message):
    __slots__ = ("path", "mode", "size", "sha256", "modify_time", "unchanged")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    MODIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    size: int
    sha256: bytes
    modify_time: _timestamp_pb2.Timestamp
    unchanged: bool
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., modify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unchanged: _Optional[bool] = ...) -> None: ...

class SyncDelete(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class SyncDirectory(_message.Message):
    __slots__ = ("path", "mode")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ...) -> None: ...

class SyncEntry(_message.Message):
    __slots__ = ("link", "file", "directory", "delete", "data")
    LINK_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    link: SyncLink
    file: SyncFileHeader
    directory: SyncDirectory
    delete: SyncDelete
    data: bytes
    def __init__(self, link: _Optional[_Union[SyncLink, _Mapping]] = ..., file: _Optional[_Union[SyncFileHeader, _Mapping]] = ..., directory: _Optional[_Union[SyncDirectory, _Mapping]] = ..., delete: _Optional[_Union[SyncDelete, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class SyncEntries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[SyncEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[SyncEntry, _Mapping]]] = ...) -> None: ...

class SyncFilesRequest(_message.Message):
    __slots__ = ("header", "link", "file", "data", "delete", "directory", "entries")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    header: SyncFilesHeader
    link: SyncLink
    file: SyncFileHeader
    data: bytes
    delete: SyncDelete
    directory: SyncDirectory
    entries: SyncEntries
    def __init__(self, header: _Optional[_Union[SyncFilesHeader, _Mapping]] = ..., link: _Optional[_Union[SyncLink, _Mapping]] = ..., file: _Optional[_Union[SyncFileHeader, _Mapping]] = ..., data: _Optional[bytes] = ..., delete: _Optional[_Union[SyncDelete, _Mapping]] = ..., directory: _Optional[_Union[SyncDirectory, _Mapping]] = ..., entries: _Optional[_Union[SyncEntries, _Mapping]] = ...) -> None: ...

class PathChange(_message.Message):
    __slots__ = ("path", "kind")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: ChangeKind
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[_Union[ChangeKind, str]] = ...) -> None: ...

class SyncFilesResponse(_message.Message):
    __slots__ = ("sync_id", "reused", "root", "added", "modified", "deleted", "unchanged", "changes", "changes_truncated", "received_bytes", "written_bytes", "root_digest", "reload", "preview_state", "user", "timings", "others")
    SYNC_ID_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROOT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELOAD_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_STATE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    sync_id: str
    reused: bool
    root: str
    added: int
    modified: int
    deleted: int
    unchanged: int
    changes: _containers.RepeatedCompositeFieldContainer[PathChange]
    changes_truncated: bool
    received_bytes: int
    written_bytes: int
    root_digest: bytes
    reload: ReloadResult
    preview_state: _preview_pb2.PreviewState
    user: str
    timings: _containers.RepeatedCompositeFieldContainer[_outcome_pb2.PhaseTiming]
    others: int
    def __init__(self, sync_id: _Optional[str] = ..., reused: _Optional[bool] = ..., root: _Optional[str] = ..., added: _Optional[int] = ..., modified: _Optional[int] = ..., deleted: _Optional[int] = ..., unchanged: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[PathChange, _Mapping]]] = ..., changes_truncated: _Optional[bool] = ..., received_bytes: _Optional[int] = ..., written_bytes: _Optional[int] = ..., root_digest: _Optional[bytes] = ..., reload: _Optional[_Union[ReloadResult, _Mapping]] = ..., preview_state: _Optional[_Union[_preview_pb2.PreviewState, str]] = ..., user: _Optional[str] = ..., timings: _Optional[_Iterable[_Union[_outcome_pb2.PhaseTiming, _Mapping]]] = ..., others: _Optional[int] = ...) -> None: ...
