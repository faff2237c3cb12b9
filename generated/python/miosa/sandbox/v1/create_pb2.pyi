import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from miosa.sandbox.v1 import preview_pb2 as _preview_pb2
from miosa.sandbox.v1 import sandbox_pb2 as _sandbox_pb2
from miosa.sandbox.v1 import setup_pb2 as _setup_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReturnWhen(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETURN_WHEN_UNSPECIFIED: _ClassVar[ReturnWhen]
    RETURN_WHEN_READY: _ClassVar[ReturnWhen]
    RETURN_WHEN_CREATED: _ClassVar[ReturnWhen]
RETURN_WHEN_UNSPECIFIED: ReturnWhen
RETURN_WHEN_READY: ReturnWhen
RETURN_WHEN_CREATED: ReturnWhen

class InitialFile(_message.Message):
    __slots__ = ("path", "content", "mode")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: bytes
    mode: int
    def __init__(self, path: _Optional[str] = ..., content: _Optional[bytes] = ..., mode: _Optional[int] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("idempotency_key", "template", "e2b_template_id", "resources", "env", "metadata", "lifetime", "initial_files", "setup_steps", "artifact_globs", "network", "preview", "return_when", "owner", "lease", "profile", "validate_only", "idle_timeout")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    E2B_TEMPLATE_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FILES_FIELD_NUMBER: _ClassVar[int]
    SETUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_GLOBS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    RETURN_WHEN_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    template: str
    e2b_template_id: str
    resources: _sandbox_pb2.Resources
    env: _containers.ScalarMap[str, str]
    metadata: _containers.ScalarMap[str, str]
    lifetime: _duration_pb2.Duration
    initial_files: _containers.RepeatedCompositeFieldContainer[InitialFile]
    setup_steps: _containers.RepeatedCompositeFieldContainer[_setup_pb2.SetupStep]
    artifact_globs: _containers.RepeatedScalarFieldContainer[str]
    network: _policy_pb2.NetworkPolicy
    preview: _preview_pb2.PreviewSettings
    return_when: ReturnWhen
    owner: str
    lease: _duration_pb2.Duration
    profile: str
    validate_only: bool
    idle_timeout: _duration_pb2.Duration
    def __init__(self, idempotency_key: _Optional[str] = ..., template: _Optional[str] = ..., e2b_template_id: _Optional[str] = ..., resources: _Optional[_Union[_sandbox_pb2.Resources, _Mapping]] = ..., env: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., initial_files: _Optional[_Iterable[_Union[InitialFile, _Mapping]]] = ..., setup_steps: _Optional[_Iterable[_Union[_setup_pb2.SetupStep, _Mapping]]] = ..., artifact_globs: _Optional[_Iterable[str]] = ..., network: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., preview: _Optional[_Union[_preview_pb2.PreviewSettings, _Mapping]] = ..., return_when: _Optional[_Union[ReturnWhen, str]] = ..., owner: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., profile: _Optional[str] = ..., validate_only: _Optional[bool] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("sandbox", "reused", "timings", "setup_results")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    SETUP_RESULTS_FIELD_NUMBER: _ClassVar[int]
    sandbox: _sandbox_pb2.Sandbox
    reused: bool
    timings: _containers.RepeatedCompositeFieldContainer[_outcome_pb2.PhaseTiming]
    setup_results: _containers.RepeatedCompositeFieldContainer[_setup_pb2.SetupResult]
    def __init__(self, sandbox: _Optional[_Union[_sandbox_pb2.Sandbox, _Mapping]] = ..., reused: _Optional[bool] = ..., timings: _Optional[_Iterable[_Union[_outcome_pb2.PhaseTiming, _Mapping]]] = ..., setup_results: _Optional[_Iterable[_Union[_setup_pb2.SetupResult, _Mapping]]] = ...) -> None: ...
