import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from miosa.sandbox.v1 import outcome_pb2 as _outcome_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from miosa.sandbox.v1 import program_pb2 as _program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SetupState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETUP_STATE_UNSPECIFIED: _ClassVar[SetupState]
    SETUP_STATE_PENDING: _ClassVar[SetupState]
    SETUP_STATE_RUNNING: _ClassVar[SetupState]
    SETUP_STATE_SUCCEEDED: _ClassVar[SetupState]
    SETUP_STATE_FAILED: _ClassVar[SetupState]
SETUP_STATE_UNSPECIFIED: SetupState
SETUP_STATE_PENDING: SetupState
SETUP_STATE_RUNNING: SetupState
SETUP_STATE_SUCCEEDED: SetupState
SETUP_STATE_FAILED: SetupState

class SetupStep(_message.Message):
    __slots__ = ("name", "program", "exec_id", "cwd", "env", "user", "timeout")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    program: _program_pb2.Program
    exec_id: str
    cwd: str
    env: _containers.ScalarMap[str, str]
    user: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., program: _Optional[_Union[_program_pb2.Program, _Mapping]] = ..., exec_id: _Optional[str] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SetupResult(_message.Message):
    __slots__ = ("name", "exec_id", "state", "exit_code", "duration", "verdict")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    name: str
    exec_id: str
    state: SetupState
    exit_code: int
    duration: _duration_pb2.Duration
    verdict: _policy_pb2.PolicyVerdict
    def __init__(self, name: _Optional[str] = ..., exec_id: _Optional[str] = ..., state: _Optional[_Union[SetupState, str]] = ..., exit_code: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., verdict: _Optional[_Union[_policy_pb2.PolicyVerdict, _Mapping]] = ...) -> None: ...

class SetupFailure(_message.Message):
    __slots__ = ("step", "step_index", "exec_id", "cause", "fault", "exit_code", "signal", "output_tail", "output_truncated")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_INDEX_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TAIL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    step: str
    step_index: int
    exec_id: str
    cause: _outcome_pb2.Cause
    fault: _outcome_pb2.Fault
    exit_code: int
    signal: str
    output_tail: bytes
    output_truncated: bool
    def __init__(self, step: _Optional[str] = ..., step_index: _Optional[int] = ..., exec_id: _Optional[str] = ..., cause: _Optional[_Union[_outcome_pb2.Cause, str]] = ..., fault: _Optional[_Union[_outcome_pb2.Fault, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[str] = ..., output_tail: _Optional[bytes] = ..., output_truncated: _Optional[bool] = ...) -> None: ...
