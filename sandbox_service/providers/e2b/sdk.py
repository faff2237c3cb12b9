"""The SDK, imported in one place because it reads its pool limits when it is imported.

With the SDK's default of 200 connections per origin the 201st operation on any
sandbox, even a kill, would wait silently behind 200 running programs.
"""

from __future__ import annotations

import os

for _name, _value in {
    "E2B_MAX_CONNECTIONS": "4000",
    "E2B_MAX_KEEPALIVE_CONNECTIONS": "1000",
}.items():
    os.environ.setdefault(_name, _value)

from connectrpc.code import Code  # noqa: E402
from connectrpc.errors import ConnectError  # noqa: E402
from e2b import AsyncSandbox, SandboxInfo, SandboxQuery  # noqa: E402
from e2b import exceptions as sdk_errors  # noqa: E402
from e2b.api import handle_api_exception  # noqa: E402
from e2b.api.client.api.sandboxes import get_sandboxes_sandbox_id  # noqa: E402
from e2b.api.client.models import SandboxDetail, SandboxState  # noqa: E402
from e2b.api.client_async import get_api_client  # noqa: E402
from e2b.connection_config import ApiParams, ConnectionConfig  # noqa: E402
from e2b.envd.api import acheck_sandbox_health  # noqa: E402
from e2b.envd.client_async import as_stream, create_rpc_client, first_event  # noqa: E402
from e2b.envd.process import process_pb  # noqa: E402
from e2b.envd.process.process_connect import ProcessClient  # noqa: E402
from e2b.envd.rpc import ahandle_rpc_exception_with_health  # noqa: E402
from e2b.envd.utils import authentication_header, extract_start_pid, timeout_to_ms  # noqa: E402
from protobuf import Oneof  # noqa: E402

__all__ = [
    "ApiParams",
    "AsyncSandbox",
    "Code",
    "ConnectError",
    "ConnectionConfig",
    "Oneof",
    "ProcessClient",
    "SandboxDetail",
    "SandboxInfo",
    "SandboxQuery",
    "SandboxState",
    "acheck_sandbox_health",
    "ahandle_rpc_exception_with_health",
    "as_stream",
    "authentication_header",
    "create_rpc_client",
    "extract_start_pid",
    "first_event",
    "get_api_client",
    "get_sandboxes_sandbox_id",
    "handle_api_exception",
    "process_pb",
    "sdk_errors",
    "timeout_to_ms",
]
