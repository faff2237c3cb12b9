import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import file_plan_pb2 as _file_plan_pb2
from miosa.sandbox.v1 import file_sync_pb2 as _file_sync_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileInfo(_message.Message):
    __slots__ = ("path", "kind", "size", "mode", "modify_time", "link_target", "user", "group")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: _file_plan_pb2.EntryKind
    size: int
    mode: int
    modify_time: _timestamp_pb2.Timestamp
    link_target: str
    user: str
    group: str
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[_Union[_file_plan_pb2.EntryKind, str]] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., modify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., link_target: _Optional[str] = ..., user: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class ReadFileRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "offset", "length", "user", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: str
    offset: int
    length: int
    user: str
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., user: _Optional[str] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class ReadFileSummary(_message.Message):
    __slots__ = ("sent_bytes", "sha256")
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sent_bytes: int
    sha256: bytes
    def __init__(self, sent_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class ReadFileResponse(_message.Message):
    __slots__ = ("info", "data", "summary")
    INFO_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    info: FileInfo
    data: bytes
    summary: ReadFileSummary
    def __init__(self, info: _Optional[_Union[FileInfo, _Mapping]] = ..., data: _Optional[bytes] = ..., summary: _Optional[_Union[ReadFileSummary, _Mapping]] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("sandbox_id", "path", "depth", "page_size", "page_token", "user", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    path: str
    depth: int
    page_size: int
    page_token: str
    user: str
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., path: _Optional[str] = ..., depth: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., user: _Optional[str] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("files", "next_page_token", "unnameable_count")
    FILES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNNAMEABLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[FileInfo]
    next_page_token: str
    unnameable_count: int
    def __init__(self, files: _Optional[_Iterable[_Union[FileInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unnameable_count: _Optional[int] = ...) -> None: ...

class DownloadTreeRequest(_message.Message):
    __slots__ = ("sandbox_id", "root", "excludes", "user", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    EXCLUDES_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    root: str
    excludes: _containers.RepeatedScalarFieldContainer[str]
    user: str
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., root: _Optional[str] = ..., excludes: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class DownloadTreeHeader(_message.Message):
    __slots__ = ("root",)
    ROOT_FIELD_NUMBER: _ClassVar[int]
    root: str
    def __init__(self, root: _Optional[str] = ...) -> None: ...

class DownloadTreeSummary(_message.Message):
    __slots__ = ("entry_count", "sent_bytes", "root_digest", "skipped_count")
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROOT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    entry_count: int
    sent_bytes: int
    root_digest: bytes
    skipped_count: int
    def __init__(self, entry_count: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., root_digest: _Optional[bytes] = ..., skipped_count: _Optional[int] = ...) -> None: ...

class DownloadTreeResponse(_message.Message):
    __slots__ = ("header", "link", "file", "data", "directory", "summary")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    header: DownloadTreeHeader
    link: _file_sync_pb2.SyncLink
    file: _file_sync_pb2.SyncFileHeader
    data: bytes
    directory: _file_sync_pb2.SyncDirectory
    summary: DownloadTreeSummary
    def __init__(self, header: _Optional[_Union[DownloadTreeHeader, _Mapping]] = ..., link: _Optional[_Union[_file_sync_pb2.SyncLink, _Mapping]] = ..., file: _Optional[_Union[_file_sync_pb2.SyncFileHeader, _Mapping]] = ..., data: _Optional[bytes] = ..., directory: _Optional[_Union[_file_sync_pb2.SyncDirectory, _Mapping]] = ..., summary: _Optional[_Union[DownloadTreeSummary, _Mapping]] = ...) -> None: ...
