"""A provider that measures another: one span and one histogram per call to the backend."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cache

from opentelemetry import trace

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.execs import Position, Stream
from sandbox_service.domain.ports import BackendInfo, BackendSandbox, NewSandbox, SandboxProvider
from sandbox_service.domain.processes import FoundExec, Process, ProcessHandle, ProcessSpec
from sandbox_service.domain.sandboxes import PortSeen, Preview, ResourceUsage, SandboxRecord
from sandbox_service.telemetry import names
from sandbox_service.telemetry.metrics import Metrics


class InstrumentedProvider:
    """Is a SandboxProvider; passes every call on and measures it.

    Args:
        inner: The provider that does the work.
        metrics: Where durations and failures are counted.
        tracer: Makes the spans.
    """

    def __init__(self, inner: SandboxProvider, metrics: Metrics, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._metrics = metrics
        self._tracer = tracer
        # A look-up of labels takes longer than what is done with them.
        self._seconds = cache(metrics.backend_seconds.labels)

    @contextmanager
    def _measured(self, operation: str, sandbox_id: str = "") -> Iterator[None]:
        span = self._span(operation, sandbox_id)
        began = time.monotonic()
        try:
            with nullcontext() if span is None else trace.use_span(span):
                yield
        except SandboxError as error:
            if span is not None:
                span.set_attribute(names.ERROR_REASON, error.reason)
            self._metrics.backend_errors.labels(operation, error.reason).inc()
            raise
        finally:
            self._seconds(operation).observe(time.monotonic() - began)
            if span is not None:
                span.end()

    def _span(self, operation: str, sandbox_id: str) -> trace.Span | None:
        """Return a span for a call. None: its parent is not recorded, so it would not be."""
        parent = trace.get_current_span()
        if parent.get_span_context().is_valid and not parent.is_recording():
            return None
        span = self._tracer.start_span(names.BACKEND_SPAN + operation, kind=trace.SpanKind.CLIENT)
        if sandbox_id:
            span.set_attribute(names.SANDBOX_ID, sandbox_id)
        return span

    async def info(self) -> BackendInfo:
        """See `SandboxProvider`."""
        return await self._inner.info()

    async def create(self, new: NewSandbox) -> BackendSandbox:
        """See `SandboxProvider`."""
        with self._measured("create"):
            return await self._inner.create(new)

    async def get(self, sandbox_id: str) -> BackendSandbox | None:
        """See `SandboxProvider`."""
        with self._measured("get", sandbox_id):
            return await self._inner.get(sandbox_id)

    async def list(self, metadata: Mapping[str, str]) -> Sequence[BackendSandbox]:
        """See `SandboxProvider`."""
        with self._measured("list"):
            return await self._inner.list(metadata)

    async def destroy(self, sandbox_id: str) -> bool:
        """See `SandboxProvider`."""
        with self._measured("destroy", sandbox_id):
            return await self._inner.destroy(sandbox_id)

    async def set_lifetime(self, sandbox_id: str, left: timedelta) -> None:
        """See `SandboxProvider`."""
        with self._measured("set_lifetime", sandbox_id):
            await self._inner.set_lifetime(sandbox_id, left)

    async def resume(self, sandbox_id: str, left: timedelta) -> BackendSandbox:
        """See `SandboxProvider`."""
        with self._measured("resume", sandbox_id):
            return await self._inner.resume(sandbox_id, left)

    async def usage(self, sandbox_id: str) -> ResourceUsage | None:
        """See `SandboxProvider`."""
        with self._measured("usage", sandbox_id):
            return await self._inner.usage(sandbox_id)

    async def healthy(self, sandbox_id: str) -> bool:
        """See `SandboxProvider`."""
        with self._measured("healthy", sandbox_id):
            return await self._inner.healthy(sandbox_id)

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> Process:
        """See `SandboxProvider`."""
        with self._measured("start", sandbox_id):
            return await self._inner.start(sandbox_id, spec)

    async def find_exec(self, sandbox_id: str, exec_id: str) -> FoundExec | None:
        """See `SandboxProvider`."""
        with self._measured("find_exec", sandbox_id):
            return await self._inner.find_exec(sandbox_id, exec_id)

    async def reach(self, sandbox_id: str, exec_id: str) -> ProcessHandle | None:
        """See `SandboxProvider`."""
        with self._measured("reach", sandbox_id):
            return await self._inner.reach(sandbox_id, exec_id)

    async def exec_records(self, sandbox_id: str) -> Sequence[FoundExec]:
        """See `SandboxProvider`."""
        with self._measured("exec_records", sandbox_id):
            return await self._inner.exec_records(sandbox_id)

    async def adopt(
        self, sandbox_id: str, found: FoundExec, position: Position | None = None
    ) -> Process:
        """See `SandboxProvider`."""
        with self._measured("adopt", sandbox_id):
            return await self._inner.adopt(sandbox_id, found, position)

    def spooled(
        self, sandbox_id: str, exec_id: str, stream: Stream, offset: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        """See `SandboxProvider`. It lasts for as long as its reader likes, so it is not timed."""
        return self._inner.spooled(sandbox_id, exec_id, stream, offset, size)

    async def end_leftovers(self, sandbox_id: str, instance: str) -> int:
        """See `SandboxProvider`."""
        with self._measured("end_leftovers", sandbox_id):
            return await self._inner.end_leftovers(sandbox_id, instance)

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        """See `SandboxProvider`."""
        with self._measured("write_file", sandbox_id):
            await self._inner.write_file(sandbox_id, path, content, user)

    def preview(self, record: SandboxRecord, port: int) -> Preview:
        """See `SandboxProvider`."""
        return self._inner.preview(record, port)

    async def probe(self, record: SandboxRecord, port: int) -> PortSeen:
        """See `SandboxProvider`."""
        with self._measured("probe", record.sandbox_id):
            return await self._inner.probe(record, port)

    async def aclose(self) -> None:
        """See `SandboxProvider`."""
        await self._inner.aclose()
