from buf.validate import validate_pb2 as _validate_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListArtifactsRequest(_message.Message):
    __slots__ = ("sandbox_id", "archive_id", "globs", "page_size", "page_token", "with_sha256", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_ID_FIELD_NUMBER: _ClassVar[int]
    GLOBS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_SHA256_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    archive_id: str
    globs: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    with_sha256: bool
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., archive_id: _Optional[str] = ..., globs: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_sha256: _Optional[bool] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class ListArtifactsResponse(_message.Message):
    __slots__ = ("artifacts", "next_page_token")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[_artifact_pb2.Artifact]
    next_page_token: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[_artifact_pb2.Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DownloadArtifactRequest(_message.Message):
    __slots__ = ("sandbox_id", "archive_id", "path", "offset", "length", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    archive_id: str
    path: str
    offset: int
    length: int
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., archive_id: _Optional[str] = ..., path: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class DownloadArtifactSummary(_message.Message):
    __slots__ = ("sent_bytes", "sha256")
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sent_bytes: int
    sha256: bytes
    def __init__(self, sent_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class DownloadArtifactResponse(_message.Message):
    __slots__ = ("info", "data", "summary")
    INFO_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    info: _artifact_pb2.Artifact
    data: bytes
    summary: DownloadArtifactSummary
    def __init__(self, info: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., data: _Optional[bytes] = ..., summary: _Optional[_Union[DownloadArtifactSummary, _Mapping]] = ...) -> None: ...

class CollectArtifactsRequest(_message.Message):
    __slots__ = ("sandbox_id", "globs", "collect_id", "auto_resume")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    GLOBS_FIELD_NUMBER: _ClassVar[int]
    COLLECT_ID_FIELD_NUMBER: _ClassVar[int]
    AUTO_RESUME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    globs: _containers.RepeatedScalarFieldContainer[str]
    collect_id: str
    auto_resume: bool
    def __init__(self, sandbox_id: _Optional[str] = ..., globs: _Optional[_Iterable[str]] = ..., collect_id: _Optional[str] = ..., auto_resume: _Optional[bool] = ...) -> None: ...

class CollectArtifactsResponse(_message.Message):
    __slots__ = ("archive", "reused")
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    archive: _artifact_pb2.ArchiveSummary
    reused: bool
    def __init__(self, archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., reused: _Optional[bool] = ...) -> None: ...

class ListArchivesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "sandbox_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    sandbox_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., sandbox_id: _Optional[str] = ...) -> None: ...

class ListArchivesResponse(_message.Message):
    __slots__ = ("archives", "next_page_token")
    ARCHIVES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    archives: _containers.RepeatedCompositeFieldContainer[_artifact_pb2.ArchiveSummary]
    next_page_token: str
    def __init__(self, archives: _Optional[_Iterable[_Union[_artifact_pb2.ArchiveSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
