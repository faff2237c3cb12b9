"""Sandboxes on E2B. Implements `domain.ports.SandboxProvider`."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import structlog

from sandbox_service.domain.errors import (
    BackendRejectedCredentialsError,
    DiskFullError,
    FileNotAccessibleError,
    InvalidRequestError,
    SandboxEndedError,
    SandboxError,
    UserNotFoundError,
)
from sandbox_service.domain.execs import Position, Stream
from sandbox_service.domain.ports import BackendInfo, BackendSandbox, NewSandbox
from sandbox_service.domain.processes import FoundExec, Process, ProcessHandle, ProcessSpec
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PortSeen,
    Preview,
    PreviewAccess,
    Resources,
    ResourceUsage,
    SandboxRecord,
)
from sandbox_service.providers.e2b import kept
from sandbox_service.providers.e2b.connection import Connection
from sandbox_service.providers.e2b.connections import Connections, Endpoint
from sandbox_service.providers.e2b.errors import translated, translating
from sandbox_service.providers.e2b.handle import E2BProcessHandle
from sandbox_service.providers.e2b.killing import killer_of
from sandbox_service.providers.e2b.orphans import MAY_HAVE_STARTED, end_orphan, may_be_left
from sandbox_service.providers.e2b.probing import Prober
from sandbox_service.providers.e2b.process import E2BProcess
from sandbox_service.providers.e2b.sdk import (
    AsyncSandbox,
    SandboxDetail,
    SandboxInfo,
    SandboxQuery,
    SandboxState,
    sdk_errors,
)

_log = structlog.get_logger(__name__)

_PAGE: Final = 100
_LEFTOVER_GRACE_S: Final = 0.5
_HEALTH_TIMEOUT_S: Final = 5.0
_UPLOAD_BYTES_PER_S: Final = 1_000_000
_UPLOAD_TIMEOUT_S: Final = 60.0
_METRICS_WINDOW: Final = timedelta(minutes=2)

_NO_USER: Final = "error looking up user"
_NO_WRITING: Final = (
    "permission denied",
    "operation not permitted",
    "read-only file system",
    "no such file or directory",
    "not a directory",
    "is a directory",
    "file name too long",
)

TRAFFIC_TOKEN_HEADER: Final = "e2b-traffic-access-token"  # noqa: S105 - a header's name.


class E2BProvider:
    """Sandboxes of one E2B account or of the embedded backend.

    Args:
        endpoint: Where E2B is, and the key.
        info: What is known of the backend from how it was configured.
    """

    def __init__(self, endpoint: Endpoint, info: BackendInfo) -> None:
        self._endpoint = endpoint
        self._info = info
        self._connections = Connections(endpoint)
        self._tidying: set[asyncio.Task[None]] = set()
        self._prober = Prober()

    async def info(self) -> BackendInfo:
        """See `SandboxProvider`."""
        return self._info

    async def create(self, new: NewSandbox) -> BackendSandbox:
        """See `SandboxProvider`."""
        internet = {
            InternetAccess.BACKEND_DEFAULT: None,
            InternetAccess.ALLOWED: True,
            InternetAccess.DENIED: False,
        }[new.internet]
        private = new.preview.access is PreviewAccess.TOKEN
        lifetime_s = _whole_seconds(new.lifetime)
        asked = datetime.now(UTC)
        with translating():
            sandbox = await AsyncSandbox.create(
                template=new.template_id,
                timeout=lifetime_s,
                metadata=dict(new.metadata),
                envs=dict(new.env),
                allow_internet_access=internet,
                network={"allow_public_traffic": False} if private else None,
                # Also without a caller's key: the SDK itself repeats a create
                # that was answered with 503.
                idempotency_key=new.idempotency_key or uuid.uuid4().hex,
                **self._endpoint.params(),
            )
        self._connections.keep(sandbox)
        # What E2B's answer leaves out is what was asked for; no second call,
        # whose failure would leave a sandbox that nobody knows.
        return BackendSandbox(
            sandbox_id=sandbox.sandbox_id,
            template_id=new.template_id,
            running=True,
            metadata=new.metadata,
            start_time=asked,
            end_time=asked + timedelta(seconds=lifetime_s),
            traffic_token=sandbox.traffic_access_token or "",
        )

    async def get(self, sandbox_id: str) -> BackendSandbox | None:
        """See `SandboxProvider`."""
        detail = await self._connections.detail(sandbox_id)
        if detail is None:
            self._connections.forget(sandbox_id)
            return None
        return _backend_sandbox(detail)

    async def list(self, metadata: Mapping[str, str]) -> Sequence[BackendSandbox]:
        """See `SandboxProvider`."""
        found: list[BackendSandbox] = []
        with translating():
            pages = AsyncSandbox.list(
                query=SandboxQuery(metadata=dict(metadata)), limit=_PAGE, **self._endpoint.params()
            )
            while pages.has_next:
                for info in await pages.next_items():
                    # Compatible backends have been seen to ignore the filter.
                    if all(info.metadata.get(k) == v for k, v in metadata.items()):
                        found.append(_backend_sandbox(info))
        return found

    async def destroy(self, sandbox_id: str) -> bool:
        """See `SandboxProvider`."""
        self._connections.forget(sandbox_id)
        with translating():
            return bool(await AsyncSandbox.kill(sandbox_id, **self._endpoint.params()))

    async def set_lifetime(self, sandbox_id: str, left: timedelta) -> None:
        """See `SandboxProvider`."""
        with translating():
            await AsyncSandbox.set_timeout(
                sandbox_id, _whole_seconds(left), **self._endpoint.params()
            )

    async def resume(self, sandbox_id: str, left: timedelta) -> BackendSandbox:
        """See `SandboxProvider`."""
        with translating():
            sandbox = await AsyncSandbox.connect(
                sandbox_id, timeout=_whole_seconds(left), **self._endpoint.params()
            )
        self._connections.keep(sandbox)
        seen = await self.get(sandbox_id)
        if seen is None:
            raise SandboxEndedError(f"The sandbox {sandbox_id} has ended. Create another.")
        return seen

    async def usage(self, sandbox_id: str) -> ResourceUsage | None:
        """See `SandboxProvider`."""
        since = datetime.now(UTC) - _METRICS_WINDOW
        with translating():
            samples = await AsyncSandbox.get_metrics(
                sandbox_id, start=since, **self._endpoint.params()
            )
        if not samples:
            return None
        newest = max(samples, key=lambda sample: sample.timestamp)
        return ResourceUsage(
            sample_time=newest.timestamp,
            cpu_utilization=newest.cpu_used_pct / 100,
            memory_used_bytes=newest.mem_used,
            memory_total_bytes=newest.mem_total,
            disk_used_bytes=newest.disk_used,
            disk_total_bytes=newest.disk_total,
        )

    async def healthy(self, sandbox_id: str) -> bool:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        try:
            return await connection.sandbox.is_running(request_timeout=_HEALTH_TIMEOUT_S)
        except (sdk_errors.SandboxException, httpx.TransportError):
            return False

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> Process:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        try:
            process = await E2BProcess.start(connection, spec)
        except MAY_HAVE_STARTED:
            if may_be_left(spec):
                self._soon(end_orphan(connection, spec))
            raise
        if spec.durable is not None and spec.durable.spool_limit_bytes:
            connection.spooled[spec.user] += 1
            if connection.spooled[spec.user] % kept.SWEEP_EVERY == 0:
                self._sweep_soon(connection, spec.user)
        return process

    def _sweep_soon(self, connection: Connection, user: str) -> None:
        async def sweep() -> None:
            try:
                await kept.sweep(connection, user)
            except SandboxError as error:
                _log.warning("exec.spools_not_swept", reason=error.reason)

        self._soon(sweep())

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def find_exec(self, sandbox_id: str, exec_id: str) -> FoundExec | None:
        """See `SandboxProvider`."""
        found = await kept.find(await self._connections.to(sandbox_id), exec_id, "")
        return found[0] if found else None

    async def reach(self, sandbox_id: str, exec_id: str) -> ProcessHandle | None:
        """See `SandboxProvider`."""
        return await E2BProcessHandle.reach(await self._connections.to(sandbox_id), exec_id)

    async def exec_records(self, sandbox_id: str) -> Sequence[FoundExec]:
        """See `SandboxProvider`."""
        return await kept.find(await self._connections.to(sandbox_id), "", "")

    async def adopt(
        self, sandbox_id: str, found: FoundExec, position: Position | None = None
    ) -> Process:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        return await E2BProcess.adopt(connection, found, position or Position())

    async def spooled(
        self, sandbox_id: str, exec_id: str, stream: Stream, offset: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        found = await kept.find(connection, exec_id, "")
        if not found:
            return
        ending = "err" if stream is Stream.STDERR else "out"
        pieces = kept.read_part(connection, kept.Kept.of(found[0]), ending, offset, size)
        async with aclosing(pieces):
            async for data in pieces:
                yield data

    async def end_leftovers(self, sandbox_id: str, instance: str) -> int:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        try:
            killer = killer_of(connection, kept.ALL_SEEING)
            return await killer.end_instance(instance, _LEFTOVER_GRACE_S)
        except BackendRejectedCredentialsError:
            # There is no such user: what the template's own one left is found.
            return await killer_of(connection, "").end_instance(instance, _LEFTOVER_GRACE_S)

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        """See `SandboxProvider`."""
        connection = await self._connections.to(sandbox_id)
        size = len(content) if isinstance(content, bytes) else 0
        try:
            await connection.sandbox.files.write(
                path,
                content,
                user=user or None,
                # Grows with the size: a fixed deadline would cut large files on slow links.
                request_timeout=_UPLOAD_TIMEOUT_S + size / _UPLOAD_BYTES_PER_S,
                use_octet_stream=True,
            )
        except Exception as error:
            raise _unwritten(error, sandbox_id, path, user) from error

    def preview(self, record: SandboxRecord, port: int) -> Preview:
        """See `SandboxProvider`."""
        end = self._endpoint
        domain = end.domain or "e2b.app"
        host = f"{port}-{record.sandbox_id}.{domain}"
        headers = {TRAFFIC_TOKEN_HEADER: record.traffic_token} if record.traffic_token else {}
        routing = {"E2b-Sandbox-Id": record.sandbox_id, "E2b-Sandbox-Port": str(port)}
        return Preview(
            port=port,
            url=f"{end.preview_scheme}://{host}/",
            direct_url=f"{end.sandbox_url.rstrip('/')}/" if end.sandbox_url else "",
            headers=headers,
            routing_headers=routing if end.sandbox_url else {},
        )

    async def probe(self, record: SandboxRecord, port: int) -> PortSeen:
        """See `SandboxProvider`."""
        return await self._prober.look(self.preview(record, port), record.sandbox_id)

    async def aclose(self) -> None:
        """See `SandboxProvider`. The SDK's own pools end with the process."""
        for task in self._tidying:
            task.cancel()
        await self._prober.aclose()


def _whole_seconds(duration: timedelta) -> int:
    """Return at least one second, rounded up: nobody gets less than was asked for."""
    return max(1, math.ceil(duration.total_seconds()))


def _unwritten(error: Exception, sandbox_id: str, path: str, user: str) -> Exception:
    """Return why a file was not written. Most of it only envd's text tells apart."""
    text = str(error).lower()
    if isinstance(error, sdk_errors.AuthenticationException) and _NO_USER in text:
        return UserNotFoundError(f"The sandbox has no user {user!r}.", metadata={"user": user})
    if isinstance(error, sdk_errors.InvalidArgumentException):
        return InvalidRequestError(
            f"The sandbox cannot write {path!r}.", metadata={"field": "path", "path": path}
        )
    if isinstance(error, sdk_errors.NotEnoughSpaceException):
        return DiskFullError(
            "The sandbox's disk is full.", metadata={"sandbox_id": sandbox_id, "path": path}
        )
    if isinstance(error, sdk_errors.SandboxException) and any(why in text for why in _NO_WRITING):
        return FileNotAccessibleError(
            f"The sandbox's user cannot write {path!r}. Name another path.",
            metadata={"path": path},
        )
    return translated(error)


def _backend_sandbox(detail: SandboxDetail | SandboxInfo) -> BackendSandbox:
    metadata = detail.metadata if isinstance(detail.metadata, dict) else {}
    return BackendSandbox(
        sandbox_id=detail.sandbox_id,
        template_id=detail.template_id,
        running=detail.state is SandboxState.RUNNING,
        metadata={str(name): str(value) for name, value in metadata.items()},
        start_time=detail.started_at,
        end_time=detail.end_at,
        resources=Resources(detail.cpu_count, detail.memory_mb),
    )
