import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from miosa.sandbox.v1 import artifact_pb2 as _artifact_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from miosa.sandbox.v1 import preview_pb2 as _preview_pb2
from miosa.sandbox.v1 import setup_pb2 as _setup_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SandboxState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SANDBOX_STATE_UNSPECIFIED: _ClassVar[SandboxState]
    SANDBOX_STATE_CREATING: _ClassVar[SandboxState]
    SANDBOX_STATE_SETTING_UP: _ClassVar[SandboxState]
    SANDBOX_STATE_RUNNING: _ClassVar[SandboxState]
    SANDBOX_STATE_PAUSING: _ClassVar[SandboxState]
    SANDBOX_STATE_PAUSED: _ClassVar[SandboxState]
    SANDBOX_STATE_RESUMING: _ClassVar[SandboxState]
    SANDBOX_STATE_ENDING: _ClassVar[SandboxState]
    SANDBOX_STATE_ENDED: _ClassVar[SandboxState]

class EndCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_CAUSE_UNSPECIFIED: _ClassVar[EndCause]
    END_CAUSE_DESTROYED: _ClassVar[EndCause]
    END_CAUSE_LIFETIME_ENDED: _ClassVar[EndCause]
    END_CAUSE_IDLE: _ClassVar[EndCause]
    END_CAUSE_LEASE_EXPIRED: _ClassVar[EndCause]
    END_CAUSE_SETUP_FAILED: _ClassVar[EndCause]
    END_CAUSE_CREATE_FAILED: _ClassVar[EndCause]
    END_CAUSE_CREATE_CANCELLED: _ClassVar[EndCause]
    END_CAUSE_OOM: _ClassVar[EndCause]
    END_CAUSE_ENDED_AT_BACKEND: _ClassVar[EndCause]
    END_CAUSE_LOST: _ClassVar[EndCause]
    END_CAUSE_BACKEND_STOPPED: _ClassVar[EndCause]
    END_CAUSE_SWEPT: _ClassVar[EndCause]

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNSPECIFIED: _ClassVar[Health]
    HEALTH_HEALTHY: _ClassVar[Health]
    HEALTH_UNHEALTHY: _ClassVar[Health]
    HEALTH_UNREACHABLE: _ClassVar[Health]
SANDBOX_STATE_UNSPECIFIED: SandboxState
SANDBOX_STATE_CREATING: SandboxState
SANDBOX_STATE_SETTING_UP: SandboxState
SANDBOX_STATE_RUNNING: SandboxState
SANDBOX_STATE_PAUSING: SandboxState
SANDBOX_STATE_PAUSED: SandboxState
SANDBOX_STATE_RESUMING: SandboxState
SANDBOX_STATE_ENDING: SandboxState
SANDBOX_STATE_ENDED: SandboxState
END_CAUSE_UNSPECIFIED: EndCause
END_CAUSE_DESTROYED: EndCause
END_CAUSE_LIFETIME_ENDED: EndCause
END_CAUSE_IDLE: EndCause
END_CAUSE_LEASE_EXPIRED: EndCause
END_CAUSE_SETUP_FAILED: EndCause
END_CAUSE_CREATE_FAILED: EndCause
END_CAUSE_CREATE_CANCELLED: EndCause
END_CAUSE_OOM: EndCause
END_CAUSE_ENDED_AT_BACKEND: EndCause
END_CAUSE_LOST: EndCause
END_CAUSE_BACKEND_STOPPED: EndCause
END_CAUSE_SWEPT: EndCause
HEALTH_UNSPECIFIED: Health
HEALTH_HEALTHY: Health
HEALTH_UNHEALTHY: Health
HEALTH_UNREACHABLE: Health

class Tombstone(_message.Message):
    __slots__ = ("end_time", "cause", "fault", "archive", "message", "setup_failure", "expire_time")
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SETUP_FAILURE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    end_time: _timestamp_pb2.Timestamp
    cause: EndCause
    fault: _outcome_pb2.Fault
    archive: _artifact_pb2.ArchiveSummary
    message: str
    setup_failure: _setup_pb2.SetupFailure
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[_Union[EndCause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., archive: _Optional[_Union[_artifact_pb2.ArchiveSummary, _Mapping]] = ..., message: _Optional[str] = ..., setup_failure: _Optional[_Union[_setup_pb2.SetupFailure, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpu_count", "memory_bytes", "disk_bytes")
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_count: int
    memory_bytes: int
    disk_bytes: int
    def __init__(self, cpu_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ...) -> None: ...

class Sandbox(_message.Message):
    __slots__ = ("sandbox_id", "state", "template", "e2b_template_id", "resources", "metadata", "create_time", "expire_time", "preview", "owner", "lease_expire_time", "generation", "artifact_globs", "network", "network_enforced_by", "idle_timeout", "setup_results", "profile", "end", "tenant_id", "user_id", "state_time")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    E2B_TEMPLATE_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_GLOBS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ENFORCED_BY_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    SETUP_RESULTS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_TIME_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    state: SandboxState
    template: str
    e2b_template_id: str
    resources: Resources
    metadata: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    preview: _preview_pb2.Preview
    owner: str
    lease_expire_time: _timestamp_pb2.Timestamp
    generation: int
    artifact_globs: _containers.RepeatedScalarFieldContainer[str]
    network: _policy_pb2.NetworkPolicy
    network_enforced_by: _policy_pb2.PolicyEnforcer
    idle_timeout: _duration_pb2.Duration
    setup_results: _containers.RepeatedCompositeFieldContainer[_setup_pb2.SetupResult]
    profile: str
    end: Tombstone
    tenant_id: str
    user_id: str
    state_time: _timestamp_pb2.Timestamp
    def __init__(self, sandbox_id: _Optional[str] = ..., state: _Optional[_Union[SandboxState, str]] = ..., template: _Optional[str] = ..., e2b_template_id: _Optional[str] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., preview: _Optional[_Union[_preview_pb2.Preview, _Mapping]] = ..., owner: _Optional[str] = ..., lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., generation: _Optional[int] = ..., artifact_globs: _Optional[_Iterable[str]] = ..., network: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., network_enforced_by: _Optional[_Union[_policy_pb2.PolicyEnforcer, str]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., setup_results: _Optional[_Iterable[_Union[_setup_pb2.SetupResult, _Mapping]]] = ..., profile: _Optional[str] = ..., end: _Optional[_Union[Tombstone, _Mapping]] = ..., tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., state_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResourceUsage(_message.Message):
    __slots__ = ("sample_time", "cpu_utilization", "memory_used_bytes", "memory_total_bytes", "disk_used_bytes", "disk_total_bytes", "process_count")
    SAMPLE_TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    sample_time: _timestamp_pb2.Timestamp
    cpu_utilization: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int
    process_count: int
    def __init__(self, sample_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_utilization: _Optional[float] = ..., memory_used_bytes: _Optional[int] = ..., memory_total_bytes: _Optional[int] = ..., disk_used_bytes: _Optional[int] = ..., disk_total_bytes: _Optional[int] = ..., process_count: _Optional[int] = ...) -> None: ...
