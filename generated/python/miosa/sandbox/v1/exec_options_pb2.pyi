from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Retention(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETENTION_UNSPECIFIED: _ClassVar[Retention]
    RETENTION_ATTACHED: _ClassVar[Retention]
    RETENTION_DETACHED: _ClassVar[Retention]
    RETENTION_DURABLE: _ClassVar[Retention]

class Overflow(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERFLOW_UNSPECIFIED: _ClassVar[Overflow]
    OVERFLOW_BLOCK: _ClassVar[Overflow]
    OVERFLOW_GAP: _ClassVar[Overflow]

class OnOutputLimit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_OUTPUT_LIMIT_UNSPECIFIED: _ClassVar[OnOutputLimit]
    ON_OUTPUT_LIMIT_TRUNCATE: _ClassVar[OnOutputLimit]
    ON_OUTPUT_LIMIT_KILL: _ClassVar[OnOutputLimit]

class StdinMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STDIN_MODE_UNSPECIFIED: _ClassVar[StdinMode]
    STDIN_MODE_NONE: _ClassVar[StdinMode]
    STDIN_MODE_BYTES: _ClassVar[StdinMode]
    STDIN_MODE_STREAM: _ClassVar[StdinMode]
RETENTION_UNSPECIFIED: Retention
RETENTION_ATTACHED: Retention
RETENTION_DETACHED: Retention
RETENTION_DURABLE: Retention
OVERFLOW_UNSPECIFIED: Overflow
OVERFLOW_BLOCK: Overflow
OVERFLOW_GAP: Overflow
ON_OUTPUT_LIMIT_UNSPECIFIED: OnOutputLimit
ON_OUTPUT_LIMIT_TRUNCATE: OnOutputLimit
ON_OUTPUT_LIMIT_KILL: OnOutputLimit
STDIN_MODE_UNSPECIFIED: StdinMode
STDIN_MODE_NONE: StdinMode
STDIN_MODE_BYTES: StdinMode
STDIN_MODE_STREAM: StdinMode

class Stdin(_message.Message):
    __slots__ = ("mode", "data")
    MODE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    mode: StdinMode
    data: bytes
    def __init__(self, mode: _Optional[_Union[StdinMode, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PtySize(_message.Message):
    __slots__ = ("cols", "rows")
    COLS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    cols: int
    rows: int
    def __init__(self, cols: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...
