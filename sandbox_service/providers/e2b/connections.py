"""Connections to sandboxes: made without a network call where that is possible."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from packaging.version import Version

from sandbox_service.domain.errors import SandboxEndedError
from sandbox_service.providers.e2b.connection import Connection
from sandbox_service.providers.e2b.errors import translating
from sandbox_service.providers.e2b.sdk import (
    ApiParams,
    AsyncSandbox,
    ConnectionConfig,
    ProcessClient,
    SandboxDetail,
    create_rpc_client,
    get_api_client,
    get_sandboxes_sandbox_id,
    handle_api_exception,
)

_KEPT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where E2B is. Unset parts mean what they mean to the SDK.

    Attributes:
        api_key: The account's key. A secret.
        domain: Of the sandboxes' hosts; may name a port.
        preview_scheme: Of the URLs under which a sandbox's ports are found.
    """

    api_key: str = field(default="", repr=False)
    domain: str = ""
    api_url: str = ""
    sandbox_url: str = ""
    preview_scheme: str = "https"

    def params(self) -> ApiParams:
        """Return this as the SDK takes it.

        Everything goes over HTTP/1.1: on a shared HTTP/2 connection three slow
        readers of program output freeze every other call.
        """
        params = ApiParams(http_version="1.1", api_key=self.api_key)
        if self.domain:
            params["domain"] = self.domain
        if self.api_url:
            params["api_url"] = self.api_url
        if self.sandbox_url:
            params["sandbox_url"] = self.sandbox_url
        return params


class Connections:
    """One connection per sandbox, kept while it is used."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._kept: OrderedDict[str, Connection] = OrderedDict()

    async def to(self, sandbox_id: str) -> Connection:
        """Return the connection to a sandbox, looking up its token if need be.

        Never the SDK's `connect`, which would extend the sandbox's life and
        wake it up.

        Raises:
            SandboxEndedError: The backend has no such sandbox.
        """
        kept = self._kept.get(sandbox_id)
        if kept is not None:
            self._kept.move_to_end(sandbox_id)
            return kept
        detail = await self.detail(sandbox_id)
        if detail is None:
            raise SandboxEndedError(
                f"The sandbox {sandbox_id} has ended. Create another.",
                metadata={"sandbox_id": sandbox_id},
            )
        return self.keep(self._sandbox(detail))

    async def detail(self, sandbox_id: str) -> SandboxDetail | None:
        """Ask the control plane about a sandbox. None: there is none."""
        config = ConnectionConfig(**self._endpoint.params())
        with translating():
            response = await get_sandboxes_sandbox_id.asyncio_detailed(
                sandbox_id, client=get_api_client(config)
            )
            if response.status_code is HTTPStatus.NOT_FOUND:
                return None
            if not isinstance(response.parsed, SandboxDetail):
                raise handle_api_exception(response)
            return response.parsed

    def keep(self, sandbox: AsyncSandbox) -> Connection:
        """Remember the connection to a sandbox that the SDK has just described."""
        config = sandbox.connection_config
        connection = Connection(
            sandbox=sandbox,
            processes=create_rpc_client(ProcessClient, sandbox.envd_api_url, config),
            health=sandbox._envd_api,  # The SDK offers no public probe.
        )
        self._kept[sandbox.sandbox_id] = connection
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return connection

    def forget(self, sandbox_id: str) -> None:
        """Drop what is known of a sandbox that ended."""
        self._kept.pop(sandbox_id, None)

    def _sandbox(self, detail: SandboxDetail) -> AsyncSandbox:
        token = detail.envd_access_token if isinstance(detail.envd_access_token, str) else None
        headers = {"E2b-Sandbox-Id": detail.sandbox_id, "E2b-Sandbox-Port": "49983"}
        if token is not None:
            headers["X-Access-Token"] = token
        return AsyncSandbox(
            sandbox_id=detail.sandbox_id,
            sandbox_domain=detail.domain if isinstance(detail.domain, str) else None,
            envd_version=Version(detail.envd_version),
            envd_access_token=token,
            traffic_access_token=None,
            connection_config=ConnectionConfig(
                extra_sandbox_headers=headers, **self._endpoint.params()
            ),
        )
