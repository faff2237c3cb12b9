from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Program(_message.Message):
    __slots__ = ("shell_command", "argv", "source")
    SHELL_COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    shell_command: str
    argv: Argv
    source: SourceCode
    def __init__(self, shell_command: _Optional[str] = ..., argv: _Optional[_Union[Argv, _Mapping]] = ..., source: _Optional[_Union[SourceCode, _Mapping]] = ...) -> None: ...

class Argv(_message.Message):
    __slots__ = ("args",)
    ARGS_FIELD_NUMBER: _ClassVar[int]
    args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, args: _Optional[_Iterable[str]] = ...) -> None: ...

class SourceCode(_message.Message):
    __slots__ = ("language", "code", "args")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    language: str
    code: str
    args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, language: _Optional[str] = ..., code: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ...) -> None: ...
