"""One sandbox's envd: who may call, and which service answers."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.envd.connect import (
    READABLE,
    ConnectError,
    end_of_stream,
    negotiate,
    read_single,
    stream_head,
)
from sandbox_service.e2b_local.envd.files import FileTransfer
from sandbox_service.e2b_local.envd.filesystem_service import FilesystemService
from sandbox_service.e2b_local.envd.messages import filesystem_pb, process_pb
from sandbox_service.e2b_local.envd.paths import user_of_authorization
from sandbox_service.e2b_local.envd.process_service import ProcessService
from sandbox_service.e2b_local.envd.watch_service import WatchService
from sandbox_service.e2b_local.machine import GuestFrozenError, GuestLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from protobuf import Message

    from sandbox_service.e2b_local.envd.connect import Codec
    from sandbox_service.e2b_local.envd.processes import Process
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

ENVD_PORT: Final = 49983
_JSON: Final = (("content-type", "application/json"), READABLE)
_RESERVED: Final = frozenset(
    {"/init", "/freeze", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade"}
)
_CORS: Final = (
    READABLE,
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ("access-control-allow-headers", "*, authorization"),
    ("access-control-max-age", "7200"),
)


@dataclass(frozen=True, slots=True)
class _Unary:
    request: type[Message[Any]]
    answer: Callable[[Exchange, Any], Awaitable[Message[Any]]]


@dataclass(frozen=True, slots=True)
class _ServerStream:
    request: type[Message[Any]]
    serve: Callable[[Exchange, Codec, Any], Awaitable[None]]


class Envd:
    """What answers on a sandbox's port 49983.

    Args:
        guest: The sandbox.
        env: Variables of every program in it.
        access_token: What callers must send. None: nothing.
        cpu_count: CPUs that the metrics speak of.
        on_program: Told of each program that was started, if anybody is.
    """

    def __init__(
        self,
        guest: Guest,
        env: Mapping[str, str],
        access_token: str | None,
        cpu_count: int,
        on_program: Callable[[Process], None] | None = None,
    ) -> None:
        self._guest = guest
        self._env = env
        self._access_token = access_token
        self._cpu_count = cpu_count
        self._cpu_sample = (time.monotonic(), 0.0)
        self._files = FileTransfer(guest, access_token)
        self._processes = processes = ProcessService(guest, env, on_program)
        files = FilesystemService(guest)
        self._watches = watches = WatchService(guest)
        self._unary: dict[str, _Unary] = {
            "/process.Process/List": _Unary(process_pb.ListRequest, processes.list),
            "/process.Process/Update": _Unary(process_pb.UpdateRequest, processes.update),
            "/process.Process/SendInput": _Unary(process_pb.SendInputRequest, processes.send_input),
            "/process.Process/SendSignal": _Unary(
                process_pb.SendSignalRequest, processes.send_signal
            ),
            "/process.Process/CloseStdin": _Unary(
                process_pb.CloseStdinRequest, processes.close_stdin
            ),
            "/filesystem.Filesystem/Stat": _Unary(filesystem_pb.StatRequest, files.stat),
            "/filesystem.Filesystem/MakeDir": _Unary(filesystem_pb.MakeDirRequest, files.make_dir),
            "/filesystem.Filesystem/Move": _Unary(filesystem_pb.MoveRequest, files.move),
            "/filesystem.Filesystem/ListDir": _Unary(filesystem_pb.ListDirRequest, files.list_dir),
            "/filesystem.Filesystem/Remove": _Unary(filesystem_pb.RemoveRequest, files.remove),
            "/filesystem.Filesystem/CreateWatcher": _Unary(
                filesystem_pb.CreateWatcherRequest, watches.create
            ),
            "/filesystem.Filesystem/GetWatcherEvents": _Unary(
                filesystem_pb.GetWatcherEventsRequest, watches.events
            ),
            "/filesystem.Filesystem/RemoveWatcher": _Unary(
                filesystem_pb.RemoveWatcherRequest, watches.remove
            ),
        }
        self._server_streams: dict[str, _ServerStream] = {
            "/process.Process/Start": _ServerStream(process_pb.StartRequest, processes.start),
            "/process.Process/Connect": _ServerStream(process_pb.ConnectRequest, processes.connect),
            "/filesystem.Filesystem/WatchDir": _ServerStream(
                filesystem_pb.WatchDirRequest, watches.watch_dir
            ),
        }

    def close(self) -> None:
        """Close every pipe and every watch: the sandbox is gone."""
        self._processes.table.abandon()
        self._watches.close()

    def pause(self) -> None:
        """Let the time limits of programs stand still: the sandbox is about to be frozen."""
        for process in self._processes.table:
            process.pause()

    def resume(self) -> None:
        """Let the time limits of programs go on: the sandbox was thawed."""
        for process in self._processes.table:
            process.resume()

    def accepts_signature(self, exchange: Exchange) -> bool:
        """Whether this sandbox's token signed the request for a file."""
        return self._files.accepts_signature(exchange)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path, method = exchange.path, exchange.method
        if path in _RESERVED:
            message = (
                "This endpoint is reserved for the E2B control plane"
                " and is not reachable through the sandbox URL"
            )
            _plain_error(exchange, 404, message)
        elif method == "OPTIONS":
            exchange.respond(204, headers=_CORS)
        elif path == "/health" and method in {"GET", "HEAD"}:
            exchange.respond(204, headers=[("cache-control", "no-store")])
        elif path == "/files":
            await self._files(exchange)
        elif not self._authorized(exchange):
            message = (
                "unauthorized access, please provide a valid access token"
                " or method signing if supported"
            )
            _plain_error(exchange, 401, message)
        elif path == "/files/compose" and method == "POST":
            await self._files.compose(exchange)
        elif path == "/envs" and method == "GET":
            exchange.respond(200, json.dumps(dict(self._env)).encode(), _JSON)
        elif path == "/metrics" and method == "GET":
            exchange.respond(200, json.dumps(await self._metrics()).encode(), _JSON)
        else:
            await self._call(exchange)

    def _authorized(self, exchange: Exchange) -> bool:
        if self._access_token is None:
            return True
        given = exchange.headers.get(b"x-access-token") or ""
        return hmac.compare_digest(given.encode(), self._access_token.encode())

    async def _call(self, exchange: Exchange) -> None:
        path = exchange.path
        service = path.rpartition("/")[0]
        if service not in {"/process.Process", "/filesystem.Filesystem"}:
            exchange.respond(404, b"404 page not found\n", [("content-type", "text/plain")])
            return
        if exchange.method != "POST":
            exchange.respond(405, headers=[("allow", "POST")])
            return
        negotiated = negotiate(exchange.headers.get(b"content-type"))
        if negotiated is None:
            exchange.respond(415, headers=[("accept-post", "application/json, application/proto")])
            return
        codec, streaming = negotiated
        try:
            # Whether the call needs a user or not: a wrong name is told at once.
            user_of_authorization(exchange.headers.get(b"authorization"))
            await self._dispatch(exchange, codec, streaming=streaming)
        except ConnectError as error:
            _fail(exchange, codec, error, streaming=streaming)
        except (GuestLostError, GuestFrozenError):
            # The SDK reads these words: the sandbox is gone, repeating is no use.
            gone = ConnectError("unavailable", "The sandbox was not found")
            _fail(exchange, codec, gone, streaming=streaming)

    async def _dispatch(self, exchange: Exchange, codec: Codec, *, streaming: bool) -> None:
        path = exchange.path
        if streaming and path == "/process.Process/StreamInput":
            await self._processes.stream_input(exchange, codec)
            return
        server_stream = self._server_streams.get(path) if streaming else None
        if server_stream is not None:
            payload = await read_single(exchange, streaming=True)
            request = codec.decode(server_stream.request, payload)
            await server_stream.serve(exchange, codec, request)
            return
        unary = None if streaming else self._unary.get(path)
        if unary is None:
            raise ConnectError("unimplemented", f"{path} is not implemented")
        payload = await read_single(exchange, streaming=False)
        answer = await unary.answer(exchange, codec.decode(unary.request, payload))
        content_type = f"application/{codec.name}"
        exchange.respond(200, codec.encode(answer), [("content-type", content_type), READABLE])

    async def _metrics(self) -> dict[str, float | int]:
        usage = await self._guest.usage()
        now = time.monotonic()
        then, cpu_before = self._cpu_sample
        self._cpu_sample = now, usage.cpu_seconds
        share = (usage.cpu_seconds - cpu_before) / max(now - then, 0.001) / self._cpu_count
        return {
            "ts": int(time.time()),
            "cpu_count": self._cpu_count,
            "cpu_used_pct": round(100 * min(max(share, 0.0), 1.0), 2),
            "mem_total": usage.memory_total_bytes,
            "mem_used": usage.memory_rss_bytes,
            "mem_cache": usage.memory_cache_bytes,
            "mem_total_mib": usage.memory_total_bytes // 1024**2,
            "mem_used_mib": usage.memory_rss_bytes // 1024**2,
            "disk_used": usage.disk_used_bytes,
            "disk_total": usage.disk_total_bytes,
        }


def _plain_error(exchange: Exchange, status: int, message: str) -> None:
    body = json.dumps({"code": status, "message": message}).encode()
    exchange.respond(status, body, _JSON)


def _fail(exchange: Exchange, codec: Codec, error: ConnectError, *, streaming: bool) -> None:
    if exchange.started:
        exchange.finish(end_of_stream(error))
    elif streaming:
        exchange.respond(200, end_of_stream(error), stream_head(codec))
    else:
        exchange.respond(error.status, error.body(), _JSON)
