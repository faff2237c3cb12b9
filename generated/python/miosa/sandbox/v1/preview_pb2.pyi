import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PreviewAccess(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREVIEW_ACCESS_UNSPECIFIED: _ClassVar[PreviewAccess]
    PREVIEW_ACCESS_PUBLIC: _ClassVar[PreviewAccess]
    PREVIEW_ACCESS_TOKEN: _ClassVar[PreviewAccess]

class PreviewState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREVIEW_STATE_UNSPECIFIED: _ClassVar[PreviewState]
    PREVIEW_STATE_LISTENING: _ClassVar[PreviewState]
    PREVIEW_STATE_NOT_LISTENING: _ClassVar[PreviewState]
    PREVIEW_STATE_UNREACHABLE: _ClassVar[PreviewState]
PREVIEW_ACCESS_UNSPECIFIED: PreviewAccess
PREVIEW_ACCESS_PUBLIC: PreviewAccess
PREVIEW_ACCESS_TOKEN: PreviewAccess
PREVIEW_STATE_UNSPECIFIED: PreviewState
PREVIEW_STATE_LISTENING: PreviewState
PREVIEW_STATE_NOT_LISTENING: PreviewState
PREVIEW_STATE_UNREACHABLE: PreviewState

class PreviewSettings(_message.Message):
    __slots__ = ("port", "access")
    PORT_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    port: int
    access: PreviewAccess
    def __init__(self, port: _Optional[int] = ..., access: _Optional[_Union[PreviewAccess, str]] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("port", "access", "url", "headers", "direct_url", "direct_headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class DirectHeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PORT_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    DIRECT_URL_FIELD_NUMBER: _ClassVar[int]
    DIRECT_HEADERS_FIELD_NUMBER: _ClassVar[int]
    port: int
    access: PreviewAccess
    url: str
    headers: _containers.ScalarMap[str, str]
    direct_url: str
    direct_headers: _containers.ScalarMap[str, str]
    def __init__(self, port: _Optional[int] = ..., access: _Optional[_Union[PreviewAccess, str]] = ..., url: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., direct_url: _Optional[str] = ..., direct_headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetPreviewRequest(_message.Message):
    __slots__ = ("sandbox_id", "port", "wait")
    SANDBOX_ID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    sandbox_id: str
    port: int
    wait: _duration_pb2.Duration
    def __init__(self, sandbox_id: _Optional[str] = ..., port: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetPreviewResponse(_message.Message):
    __slots__ = ("preview", "preview_state", "http_status")
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_STATE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    preview: Preview
    preview_state: PreviewState
    http_status: int
    def __init__(self, preview: _Optional[_Union[Preview, _Mapping]] = ..., preview_state: _Optional[_Union[PreviewState, str]] = ..., http_status: _Optional[int] = ...) -> None: ...
