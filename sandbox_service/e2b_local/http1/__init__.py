"""A small HTTP/1.1 server on bare asyncio transports.

The backend needs three things that an ASGI server hides: the socket's own
back-pressure (a program's pipe is read only while its reader has room), a way
to cut a stream in the middle, and the raw socket behind an upgrade. So it owns
the transport and leaves only the parsing to `httptools`.
"""

from sandbox_service.e2b_local.http1.answers import send_json
from sandbox_service.e2b_local.http1.connection import Connection, Handler
from sandbox_service.e2b_local.http1.exchange import (
    BodyTooLargeError,
    ClientGoneError,
    Exchange,
    Headers,
)
from sandbox_service.e2b_local.http1.server import Server

__all__ = [
    "BodyTooLargeError",
    "ClientGoneError",
    "Connection",
    "Exchange",
    "Handler",
    "Headers",
    "Server",
    "send_json",
]
