import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_EXIT: _ClassVar[Cause]
    CAUSE_SIGNAL: _ClassVar[Cause]
    CAUSE_TIMEOUT: _ClassVar[Cause]
    CAUSE_OOM: _ClassVar[Cause]
    CAUSE_CANCELLED: _ClassVar[Cause]
    CAUSE_OUTPUT_LIMIT: _ClassVar[Cause]
    CAUSE_SANDBOX_LOST: _ClassVar[Cause]
    CAUSE_BACKEND: _ClassVar[Cause]

class Fault(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAULT_UNSPECIFIED: _ClassVar[Fault]
    FAULT_USER: _ClassVar[Fault]
    FAULT_CALLER: _ClassVar[Fault]
    FAULT_POLICY: _ClassVar[Fault]
    FAULT_INFRA: _ClassVar[Fault]
CAUSE_UNSPECIFIED: Cause
CAUSE_EXIT: Cause
CAUSE_SIGNAL: Cause
CAUSE_TIMEOUT: Cause
CAUSE_OOM: Cause
CAUSE_CANCELLED: Cause
CAUSE_OUTPUT_LIMIT: Cause
CAUSE_SANDBOX_LOST: Cause
CAUSE_BACKEND: Cause
FAULT_UNSPECIFIED: Fault
FAULT_USER: Fault
FAULT_CALLER: Fault
FAULT_POLICY: Fault
FAULT_INFRA: Fault

class PhaseTiming(_message.Message):
    __slots__ = ("phase", "duration")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    phase: str
    duration: _duration_pb2.Duration
    def __init__(self, phase: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
