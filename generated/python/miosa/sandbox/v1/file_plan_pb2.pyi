from buf.validate import validate_pb2 as _validate_pb2
from miosa.sandbox.v1 import file_sync_pb2 as _file_sync_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EntryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_KIND_UNSPECIFIED: _ClassVar[EntryKind]
    ENTRY_KIND_FILE: _ClassVar[EntryKind]
    ENTRY_KIND_LINK: _ClassVar[EntryKind]
    ENTRY_KIND_DIRECTORY: _ClassVar[EntryKind]
    ENTRY_KIND_OTHER: _ClassVar[EntryKind]

class DifferenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIFFERENCE_KIND_UNSPECIFIED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_MISSING: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_CHANGED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_EXTRA: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_EQUAL: _ClassVar[DifferenceKind]
ENTRY_KIND_UNSPECIFIED: EntryKind
ENTRY_KIND_FILE: EntryKind
ENTRY_KIND_LINK: EntryKind
ENTRY_KIND_DIRECTORY: EntryKind
ENTRY_KIND_OTHER: EntryKind
DIFFERENCE_KIND_UNSPECIFIED: DifferenceKind
DIFFERENCE_KIND_MISSING: DifferenceKind
DIFFERENCE_KIND_CHANGED: DifferenceKind
DIFFERENCE_KIND_EXTRA: DifferenceKind
DIFFERENCE_KIND_EQUAL: DifferenceKind

class PlanSyncHeader(_message.Message):
    __slots__ = ("sandbox_id", "root", "excludes", "verify", "user", "include_equal", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    EXCLUDES_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EQUAL_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    root: str
    excludes: _containers.RepeatedScalarFieldContainer[str]
    verify: _file_sync_pb2.SyncVerify
    user: str
    include_equal: bool
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., root: _Optional[str] = ..., excludes: _Optional[_Iterable[str]] = ..., verify: _Optional[_Union[_file_sync_pb2.SyncVerify, str]] = ..., user: _Optional[str] = ..., include_equal: _Optional[bool] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class ManifestEntry(_message.Message):
    __slots__ = ("path", "kind", "size", "mode", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: EntryKind
    size: int
    mode: int
    sha256: bytes
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[_Union[EntryKind, str]] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class ManifestEntries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ManifestEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[ManifestEntry, _Mapping]]] = ...) -> None: ...

class PlanSyncRequest(_message.Message):
    __slots__ = ("header", "manifest")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    header: PlanSyncHeader
    manifest: ManifestEntries
    def __init__(self, header: _Optional[_Union[PlanSyncHeader, _Mapping]] = ..., manifest: _Optional[_Union[ManifestEntries, _Mapping]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("path", "kind", "sandbox_kind", "content_changed")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_KIND_FIELD_NUMBER: _ClassVar[int]
    CONTENT_CHANGED_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: DifferenceKind
    sandbox_kind: EntryKind
    content_changed: bool
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[_Union[DifferenceKind, str]] = ..., sandbox_kind: _Optional[_Union[EntryKind, str]] = ..., content_changed: _Optional[bool] = ...) -> None: ...

class Differences(_message.Message):
    __slots__ = ("differences",)
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    def __init__(self, differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ...) -> None: ...

class PlanSyncSummary(_message.Message):
    __slots__ = ("missing", "changed", "extra", "equal", "root_digest", "needed_bytes", "root")
    MISSING_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    ROOT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NEEDED_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    missing: int
    changed: int
    extra: int
    equal: int
    root_digest: bytes
    needed_bytes: int
    root: str
    def __init__(self, missing: _Optional[int] = ..., changed: _Optional[int] = ..., extra: _Optional[int] = ..., equal: _Optional[int] = ..., root_digest: _Optional[bytes] = ..., needed_bytes: _Optional[int] = ..., root: _Optional[str] = ...) -> None: ...

class PlanSyncResponse(_message.Message):
    __slots__ = ("differences", "summary")
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    differences: Differences
    summary: PlanSyncSummary
    def __init__(self, differences: _Optional[_Union[Differences, _Mapping]] = ..., summary: _Optional[_Union[PlanSyncSummary, _Mapping]] = ...) -> None: ...
