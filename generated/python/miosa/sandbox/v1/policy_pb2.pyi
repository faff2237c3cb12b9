from buf.validate import validate_pb2 as _validate_pb2
from miosa.sandbox.v1 import program_pb2 as _program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyEnforcer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_ENFORCER_UNSPECIFIED: _ClassVar[PolicyEnforcer]
    POLICY_ENFORCER_SERVICE: _ClassVar[PolicyEnforcer]
    POLICY_ENFORCER_BACKEND: _ClassVar[PolicyEnforcer]

class EgressDefault(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EGRESS_DEFAULT_UNSPECIFIED: _ClassVar[EgressDefault]
    EGRESS_DEFAULT_ALLOW: _ClassVar[EgressDefault]
    EGRESS_DEFAULT_DENY: _ClassVar[EgressDefault]

class PolicyAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_ACTION_UNSPECIFIED: _ClassVar[PolicyAction]
    POLICY_ACTION_ALLOW: _ClassVar[PolicyAction]
    POLICY_ACTION_WARN: _ClassVar[PolicyAction]
    POLICY_ACTION_DENY: _ClassVar[PolicyAction]
POLICY_ENFORCER_UNSPECIFIED: PolicyEnforcer
POLICY_ENFORCER_SERVICE: PolicyEnforcer
POLICY_ENFORCER_BACKEND: PolicyEnforcer
EGRESS_DEFAULT_UNSPECIFIED: EgressDefault
EGRESS_DEFAULT_ALLOW: EgressDefault
EGRESS_DEFAULT_DENY: EgressDefault
POLICY_ACTION_UNSPECIFIED: PolicyAction
POLICY_ACTION_ALLOW: PolicyAction
POLICY_ACTION_WARN: PolicyAction
POLICY_ACTION_DENY: PolicyAction

class NetworkPolicy(_message.Message):
    __slots__ = ("egress_default", "allow_out", "deny_out")
    EGRESS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_OUT_FIELD_NUMBER: _ClassVar[int]
    DENY_OUT_FIELD_NUMBER: _ClassVar[int]
    egress_default: EgressDefault
    allow_out: _containers.RepeatedScalarFieldContainer[str]
    deny_out: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, egress_default: _Optional[_Union[EgressDefault, str]] = ..., allow_out: _Optional[_Iterable[str]] = ..., deny_out: _Optional[_Iterable[str]] = ...) -> None: ...

class PolicyVerdict(_message.Message):
    __slots__ = ("action", "enforced_by", "findings")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_BY_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    action: PolicyAction
    enforced_by: PolicyEnforcer
    findings: _containers.RepeatedCompositeFieldContainer[PolicyFinding]
    def __init__(self, action: _Optional[_Union[PolicyAction, str]] = ..., enforced_by: _Optional[_Union[PolicyEnforcer, str]] = ..., findings: _Optional[_Iterable[_Union[PolicyFinding, _Mapping]]] = ...) -> None: ...

class PolicyFinding(_message.Message):
    __slots__ = ("rule_id", "action", "message", "line", "column")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    action: PolicyAction
    message: str
    line: int
    column: int
    def __init__(self, rule_id: _Optional[str] = ..., action: _Optional[_Union[PolicyAction, str]] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class CheckProgramRequest(_message.Message):
    __slots__ = ("program", "stdin_data")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    STDIN_DATA_FIELD_NUMBER: _ClassVar[int]
    program: _program_pb2.Program
    stdin_data: bytes
    def __init__(self, program: _Optional[_Union[_program_pb2.Program, _Mapping]] = ..., stdin_data: _Optional[bytes] = ...) -> None: ...

class CheckProgramResponse(_message.Message):
    __slots__ = ("verdict",)
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    verdict: PolicyVerdict
    def __init__(self, verdict: _Optional[_Union[PolicyVerdict, _Mapping]] = ...) -> None: ...
