import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from miosa.sandbox.v1 import sandbox_pb2 as _sandbox_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackendKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKEND_KIND_UNSPECIFIED: _ClassVar[BackendKind]
    BACKEND_KIND_E2B_CLOUD: _ClassVar[BackendKind]
    BACKEND_KIND_E2B_COMPATIBLE: _ClassVar[BackendKind]
    BACKEND_KIND_EMBEDDED: _ClassVar[BackendKind]

class IsolationTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ISOLATION_TIER_UNSPECIFIED: _ClassVar[IsolationTier]
    ISOLATION_TIER_MICROVM: _ClassVar[IsolationTier]
    ISOLATION_TIER_USER_KERNEL: _ClassVar[IsolationTier]
    ISOLATION_TIER_NAMESPACES: _ClassVar[IsolationTier]
    ISOLATION_TIER_PROCESS: _ClassVar[IsolationTier]

class Feature(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_UNSPECIFIED: _ClassVar[Feature]
    FEATURE_PAUSE: _ClassVar[Feature]
    FEATURE_PAUSE_MEMORY: _ClassVar[Feature]
    FEATURE_NETWORK_POLICY: _ClassVar[Feature]
    FEATURE_NETWORK_POLICY_HOST_NAMES: _ClassVar[Feature]
    FEATURE_PREVIEW_TOKEN: _ClassVar[Feature]
    FEATURE_RESOURCE_USAGE: _ClassVar[Feature]
    FEATURE_PTY: _ClassVar[Feature]
    FEATURE_DURABLE_EXEC: _ClassVar[Feature]
    FEATURE_INTERNET: _ClassVar[Feature]
    FEATURE_OOM_DETECTION: _ClassVar[Feature]
    FEATURE_RAW_TEMPLATES: _ClassVar[Feature]
    FEATURE_CODE_POLICY: _ClassVar[Feature]
BACKEND_KIND_UNSPECIFIED: BackendKind
BACKEND_KIND_E2B_CLOUD: BackendKind
BACKEND_KIND_E2B_COMPATIBLE: BackendKind
BACKEND_KIND_EMBEDDED: BackendKind
ISOLATION_TIER_UNSPECIFIED: IsolationTier
ISOLATION_TIER_MICROVM: IsolationTier
ISOLATION_TIER_USER_KERNEL: IsolationTier
ISOLATION_TIER_NAMESPACES: IsolationTier
ISOLATION_TIER_PROCESS: IsolationTier
FEATURE_UNSPECIFIED: Feature
FEATURE_PAUSE: Feature
FEATURE_PAUSE_MEMORY: Feature
FEATURE_NETWORK_POLICY: Feature
FEATURE_NETWORK_POLICY_HOST_NAMES: Feature
FEATURE_PREVIEW_TOKEN: Feature
FEATURE_RESOURCE_USAGE: Feature
FEATURE_PTY: Feature
FEATURE_DURABLE_EXEC: Feature
FEATURE_INTERNET: Feature
FEATURE_OOM_DETECTION: Feature
FEATURE_RAW_TEMPLATES: Feature
FEATURE_CODE_POLICY: Feature

class Backend(_message.Message):
    __slots__ = ("kind", "version", "isolation", "isolation_detail")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_DETAIL_FIELD_NUMBER: _ClassVar[int]
    kind: BackendKind
    version: str
    isolation: IsolationTier
    isolation_detail: str
    def __init__(self, kind: _Optional[_Union[BackendKind, str]] = ..., version: _Optional[str] = ..., isolation: _Optional[_Union[IsolationTier, str]] = ..., isolation_detail: _Optional[str] = ...) -> None: ...

class TemplateInfo(_message.Message):
    __slots__ = ("name", "description", "resources", "languages", "is_default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    resources: _sandbox_pb2.Resources
    languages: _containers.RepeatedScalarFieldContainer[str]
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., resources: _Optional[_Union[_sandbox_pb2.Resources, _Mapping]] = ..., languages: _Optional[_Iterable[str]] = ..., is_default: _Optional[bool] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("default_lifetime", "max_lifetime", "max_sandboxes", "max_execs_per_sandbox", "max_execs", "max_message_bytes", "max_initial_files_bytes", "max_chunk_bytes", "max_file_bytes", "max_sync_entries", "max_sync_bytes", "journal_bytes", "default_spool_bytes", "max_artifact_bytes", "max_archive_bytes", "archive_retention", "idempotency_retention", "tombstone_retention", "max_notebook_bytes")
    DEFAULT_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    MAX_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    MAX_SANDBOXES_FIELD_NUMBER: _ClassVar[int]
    MAX_EXECS_PER_SANDBOX_FIELD_NUMBER: _ClassVar[int]
    MAX_EXECS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_INITIAL_FILES_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SYNC_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_SYNC_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ARTIFACT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ARCHIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_RETENTION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_RETENTION_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_NOTEBOOK_BYTES_FIELD_NUMBER: _ClassVar[int]
    default_lifetime: _duration_pb2.Duration
    max_lifetime: _duration_pb2.Duration
    max_sandboxes: int
    max_execs_per_sandbox: int
    max_execs: int
    max_message_bytes: int
    max_initial_files_bytes: int
    max_chunk_bytes: int
    max_file_bytes: int
    max_sync_entries: int
    max_sync_bytes: int
    journal_bytes: int
    default_spool_bytes: int
    max_artifact_bytes: int
    max_archive_bytes: int
    archive_retention: _duration_pb2.Duration
    idempotency_retention: _duration_pb2.Duration
    tombstone_retention: _duration_pb2.Duration
    max_notebook_bytes: int
    def __init__(self, default_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_sandboxes: _Optional[int] = ..., max_execs_per_sandbox: _Optional[int] = ..., max_execs: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_initial_files_bytes: _Optional[int] = ..., max_chunk_bytes: _Optional[int] = ..., max_file_bytes: _Optional[int] = ..., max_sync_entries: _Optional[int] = ..., max_sync_bytes: _Optional[int] = ..., journal_bytes: _Optional[int] = ..., default_spool_bytes: _Optional[int] = ..., max_artifact_bytes: _Optional[int] = ..., max_archive_bytes: _Optional[int] = ..., archive_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tombstone_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_notebook_bytes: _Optional[int] = ...) -> None: ...

class RpcInfo(_message.Message):
    __slots__ = ("name", "implemented", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMPLEMENTED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    implemented: bool
    note: str
    def __init__(self, name: _Optional[str] = ..., implemented: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class FeatureInfo(_message.Message):
    __slots__ = ("feature", "supported", "note")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    feature: Feature
    supported: bool
    note: str
    def __init__(self, feature: _Optional[_Union[Feature, str]] = ..., supported: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ("version", "backend", "limits", "templates", "languages", "rpcs", "features", "sandboxes_survive_restart", "deployment", "instance")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    RPCS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SANDBOXES_SURVIVE_RESTART_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    version: str
    backend: Backend
    limits: Limits
    templates: _containers.RepeatedCompositeFieldContainer[TemplateInfo]
    languages: _containers.RepeatedScalarFieldContainer[str]
    rpcs: _containers.RepeatedCompositeFieldContainer[RpcInfo]
    features: _containers.RepeatedCompositeFieldContainer[FeatureInfo]
    sandboxes_survive_restart: bool
    deployment: str
    instance: str
    def __init__(self, version: _Optional[str] = ..., backend: _Optional[_Union[Backend, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., templates: _Optional[_Iterable[_Union[TemplateInfo, _Mapping]]] = ..., languages: _Optional[_Iterable[str]] = ..., rpcs: _Optional[_Iterable[_Union[RpcInfo, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[FeatureInfo, _Mapping]]] = ..., sandboxes_survive_restart: _Optional[bool] = ..., deployment: _Optional[str] = ..., instance: _Optional[str] = ...) -> None: ...
