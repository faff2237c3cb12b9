"""What surrounds every call: one wrapper, whatever the method.

From outside in: in flight, counted, traced, named, identified, parsed,
validated, under its deadline; and every failure told as a status with details.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status
from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach

from sandbox_service.contract.errors import to_status
from sandbox_service.contract.validation import Validator
from sandbox_service.domain import errors
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import Limits
from sandbox_service.rpc import identity
from sandbox_service.telemetry import names
from sandbox_service.telemetry.metrics import Metrics

_ANSWER_TIME_S: Final = 0.02
"""Kept back from a caller's deadline, so that there is time to say what took too long."""

_log = structlog.get_logger(__name__)


class Identifier(Protocol):
    """Tells who calls."""

    def identify(self, peer: str, metadata: dict[str, str], request_id: str) -> Caller:
        """Return the caller; raises `UnauthenticatedError` or `TenantRequiredError`."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract.

    Attributes:
        path: `package.Service/Method`.
        kind: `unary`, `server_stream`, `client_stream` or `bidi_stream`.
        deadline: Whether it ends in time even if the caller sets no deadline.
        waits: Whether it may wait for something for long, as asked.
        repeatable: Whether it can be repeated without thought, as the contract says.
    """

    service: str
    name: str
    kind: str
    request: type[Message]
    deadline: bool
    waits: bool
    repeatable: bool

    @property
    def path(self) -> str:
        """The method's name as traces and logs show it."""
        return f"{self.service}/{self.name}"


class Call:
    """One call: what its servicer may ask of it.

    Attributes:
        caller: For whom it is made.
    """

    def __init__(self, caller: Caller, span: trace.Span) -> None:
        self.caller = caller
        self._span = span

    def about(self, *, sandbox_id: str = "", exec_id: str = "") -> None:
        """Say in traces and logs what the call is about."""
        fields = {names.SANDBOX_ID: sandbox_id, names.EXEC_ID: exec_id}
        for name, value in fields.items():
            if value:
                self._span.set_attribute(name, value)
        known = {"sandbox_id": sandbox_id, "exec_id": exec_id}
        structlog.contextvars.bind_contextvars(**{k: v for k, v in known.items() if v})


class CallMetrics:
    """The metrics of one method, with their labels looked up once."""

    def __init__(self, metrics: Metrics, method: Method) -> None:
        labels = (method.kind, method.service, method.name)
        self.started = metrics.grpc_started.labels(*labels)
        self.seconds = metrics.grpc_seconds.labels(*labels)
        self.received = metrics.grpc_received.labels(*labels)
        self.sent = metrics.grpc_sent.labels(*labels)
        self._handled = metrics.grpc_handled
        self._labels = labels
        self._by_code: dict[str, Any] = {}

    def ended(self, code: str, began: float) -> None:
        """Count a call that ended."""
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._handled.labels(*self._labels, code)
        counter.inc()
        self.seconds.observe(time.monotonic() - began)


class Calls:
    """Runs calls: everything that all methods share.

    Args:
        identifier: Tells who calls.
        metrics: Where calls are counted.
        tracer: Makes the spans.
        limits: The longest a unary call may take.
    """

    def __init__(
        self, identifier: Identifier, metrics: Metrics, tracer: trace.Tracer, limits: Limits
    ) -> None:
        self._identifier = identifier
        self._metrics = metrics
        self._tracer = tracer
        self._deadline_max_s = limits.deadline_max.total_seconds()
        self._deadline_default_s = limits.deadline_default.total_seconds()
        self._validator = Validator()
        self._propagated = propagate.get_global_textmap().fields
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._cutting = False
        self.draining = False

    def metrics_of(self, method: Method) -> CallMetrics:
        """Return the metrics of a method, to be made once when it is registered."""
        return CallMetrics(self._metrics, method)

    def cut(self) -> None:
        """End the calls that are still in flight, and tell each that it was ended."""
        self._cutting = True
        for task in self._in_flight:
            task.cancel()

    async def drained(self, limit_s: float) -> int:
        """Wait until no call is in flight. Returns how many still are."""
        if not self._in_flight:
            return 0
        _, late = await asyncio.wait(set(self._in_flight), timeout=limit_s)
        return len(late)

    def parsed(self, method: Method, raw: bytes) -> Message:
        """Return a request that is well-formed and breaks no rule.

        Raises:
            MalformedMessageError: The bytes are no message of that type.
            InvalidRequestError: It breaks rules.
        """
        try:
            request = method.request.FromString(raw)
        except DecodeError:
            raise errors.MalformedMessageError(
                "The request is no protobuf of this method. Generate the stubs anew.",
                metadata={"method": method.path},
            ) from None
        self._validator.check(request)
        return request

    async def run(
        self,
        method: Method,
        counted: CallMetrics,
        context: grpc.aio.ServicerContext[Any, Any],
        work: Any,  # noqa: ANN401 - a coroutine function of (Call); its result differs by kind.
    ) -> Any:  # noqa: ANN401 - what `work` returns.
        """Run one call's work, and tell whatever becomes of it."""
        began = time.monotonic()
        counted.started.inc()
        metadata = _text_metadata(context)
        request_id = identity.request_id(metadata)
        context.set_trailing_metadata(((identity.REQUEST_ID_HEADER, request_id),))
        code = "OK"
        task = asyncio.current_task()
        self._fly(task)
        span = self._span(method, metadata)
        # A call has a task of its own, and with it a context: nothing of this is taken back.
        attach(trace.set_span_in_context(span))
        structlog.contextvars.bind_contextvars(method=method.name, request_id=request_id)
        try:
            if self.draining:
                raise _draining()
            caller = self._identifier.identify(context.peer(), metadata, request_id)
            structlog.contextvars.bind_contextvars(tenant=caller.tenant)
            span.set_attribute(names.TENANT, caller.tenant)
            return await self._in_time(method, context, work, Call(caller, span))
        except asyncio.CancelledError:
            if task is not None and task.cancelling():
                if not self._cutting:
                    code = "CANCELLED"
                    raise
                task.uncancel()
                code = await self._fail(context, request_id, _cut_short(method))
                return None
            # Something inside was cancelled, not the call: without an
            # answer the client would wait for ever.
            code = await self._fail(context, request_id, _internal(), "inner_cancel")
        except grpc.aio.BaseError:
            # The caller left while it was being written to: nobody to tell.
            code = "CANCELLED"
        except errors.SandboxError as error:
            code = await self._fail(context, request_id, error)
        except Exception:  # noqa: BLE001 - the border: nothing else may reach a caller.
            _log.exception("call.bug")
            code = await self._fail(context, request_id, _internal(), "bug")
        finally:
            counted.ended(code, began)
            span.set_attribute(names.RPC_STATUS, code)
            span.end()
            _log.debug("call", code=code, ms=round((time.monotonic() - began) * 1000, 2))

    async def _fail(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        request_id: str,
        error: errors.SandboxError,
        note: str = "",
    ) -> str:
        """Tell the caller; returns the code's name. The abort itself raises and is caught."""
        error.metadata = {**error.metadata, "request_id": request_id}
        status = rpc_status.to_status(to_status(error))
        trace.get_current_span().set_attribute(names.ERROR_REASON, error.reason)
        self._metrics.errors.labels(error.reason).inc()
        ours = status.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
        log = _log.warning if ours else _log.info
        log(
            "call.failed",
            code=status.code.name,
            reason=error.reason,
            message=str(error),
            cause=repr(error.__cause__) if error.__cause__ else None,
            note=note or None,
        )
        trailing = ((identity.REQUEST_ID_HEADER, request_id), *status.trailing_metadata)
        context.set_code(status.code)
        context.set_details(status.details)
        context.set_trailing_metadata(trailing)
        return str(status.code.name)

    def _span(self, method: Method, metadata: dict[str, str]) -> trace.Span:
        # To look for a caller's trace takes longer than to see that there is none.
        above = propagate.extract(metadata) if self._propagated & metadata.keys() else Context()
        span = self._tracer.start_span(method.path, context=above, kind=trace.SpanKind.SERVER)
        span.set_attribute(names.RPC_SYSTEM, "grpc")
        span.set_attribute(names.RPC_METHOD, method.path)
        return span

    def _fly(self, task: asyncio.Task[Any] | None) -> None:
        """Count the call as in flight for as long as its task runs."""
        if task is not None:
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _in_time(
        self,
        method: Method,
        context: grpc.aio.ServicerContext[Any, Any],
        work: Any,  # noqa: ANN401 - see `run`.
        call: Call,
    ) -> Any:  # noqa: ANN401 - see `run`.
        """Do a call's work.

        Raises:
            DeadlineExceededError: It did not end in time.
        """
        limit = asyncio.timeout(self._limit_s(method, context))
        try:
            async with limit:
                return await work(call)
        except TimeoutError:
            if not limit.expired():
                raise
            raise errors.DeadlineExceededError(
                f"{method.name} did not end before the call's deadline. "
                "Look at what it changed before repeating it.",
                metadata={"method": method.path},
            ) from None

    def _limit_s(self, method: Method, context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
        left = context.time_remaining()
        limit = self._deadline_max_s if method.deadline else None
        if left is not None:
            left = max(left - _ANSWER_TIME_S, 0.001)
            limit = left if limit is None else min(left, limit)
        elif method.deadline and not method.waits:
            limit = self._deadline_default_s
        return limit


def _draining() -> errors.DrainingError:
    return errors.DrainingError(
        "This instance is shutting down. Repeat the call: another one answers."
    )


def _cut_short(method: Method) -> errors.SandboxError:
    if method.repeatable:
        return _draining()
    return errors.OutcomeUnknownError(
        "This instance shut down while the call was under way. "
        "Look at what it changed before repeating it."
    )


def _internal() -> errors.InternalError:
    return errors.InternalError(
        "This service failed. The operator finds the cause in the log by the request id."
    )


def _text_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    """Return the call's metadata that is text; of a repeated name the last."""
    return {
        str(name): value
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    }


async def messages(method: Method, calls: Calls, raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Yield the requests of a client's stream, each parsed and validated."""
    async for message in raw:
        yield calls.parsed(method, message)
