"""The server's life: start, serve, drain, stop. Users stop before what they use."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sandbox_service import __version__
from sandbox_service.app import instance as instances
from sandbox_service.app.errors import StartError
from sandbox_service.app.settings import Settings, images_dir
from sandbox_service.app.supervisor import BackendReady, EmbeddedBackend
from sandbox_service.app.wiring import Wired, wire
from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.limits import MESSAGE_BYTES_MAX
from sandbox_service.http.endpoint import HttpEndpoint, application
from sandbox_service.operations.execs.recovery import recover_all
from sandbox_service.operations.sandboxes import DEPLOYMENT
from sandbox_service.providers.catalogue import CatalogueError, YamlCatalogue
from sandbox_service.rpc.call import Calls
from sandbox_service.rpc.identity import TrustedPeers
from sandbox_service.rpc.servicers.sandboxes import SandboxServicer
from sandbox_service.rpc.services import SERVICES, implemented, register

_log = structlog.get_logger(__name__)

_CLEANUP_S: Final = 5.0
_GOODBYE_S: Final = 0.5
_HOUSEKEEPING_S: Final = 60.0
# How long the embedded backend may take to start; and to unpack root filesystems, which it
# does once for each.
_STARTED_S: Final = 30.0
_UNPACKED_S: Final = 900.0
_PORT_MAX: Final = 65535

_OPTIONS: Final = (
    # A second server on the port would otherwise bind silently and steal connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX + 64 * 1024),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX + 64 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The one that acts on a client which froze; its default is a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Go clients may ping every 10 s, with jitter. Under the name that the
    # documentation gives this option it does nothing.
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ("grpc.max_concurrent_streams", 10_000),
    ("grpc.max_metadata_size", 16 * 1024),
)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server that has started listens."""

    grpc_address: str
    http_address: str
    backend: BackendReady | None


class Server:
    """The service, from its first socket to its last.

    Args:
        settings: What the operator set.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._not_ready = "starting"
        self._calls: Calls | None = None
        self._wired: Wired | None = None
        self._grpc: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()

    async def start(self) -> Listening:
        """Start everything, in the order of dependency.

        Raises:
            StartError: Something is wrong; nothing is left running.
        """
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Drain and stop: say so, finish what runs, end what does not finish, close."""
        settings = self._settings
        self._not_ready = "draining"
        await self._health.enter_graceful_shutdown()
        _log.info("server.draining", limit_s=settings.drain_seconds)
        await asyncio.sleep(settings.drain_delay_seconds)
        if self._calls is None or self._wired is None or self._grpc is None:
            await self._stack.aclose()
            return
        self._calls.draining = True
        late = await self._calls.drained(settings.drain_seconds)
        if late:
            _log.warning("server.calls_cut", count=late)
        operations = self._wired.operations
        await operations.execs.drain(_CLEANUP_S)
        await operations.create.drain(_CLEANUP_S)
        # Readers of what was just ended are told how; whoever stalls is not waited for.
        await self._calls.drained(_GOODBYE_S)
        self._calls.cut()
        await operations.file_sync.drain(_CLEANUP_S)
        await self._grpc.stop(_GOODBYE_S)
        # stop() does not wait for what handlers still clean up.
        await self._calls.drained(_CLEANUP_S)
        await self._stack.aclose()
        _log.info("server.stopped")

    async def _start(self) -> Listening:
        settings = self._settings
        # Looked at first: a server that cannot have its port starts no backend.
        _bind(settings.grpc_address, "SANDBOX_GRPC_ADDRESS").close()
        instance = instances.claim(settings.state_dir)
        self._stack.callback(instance.release)
        http_socket = _bind(settings.http_address, "SANDBOX_HTTP_ADDRESS")
        self._stack.callback(http_socket.close)
        catalogue = _catalogue(settings)
        backend = await self._start_backend(instance, catalogue)
        server = grpc.aio.server(options=_options(settings))
        # Methods that are registered one by one cost every call a wait over all of
        # them (5 to 9 % of a unary call with grpcio 1.85); generic handlers do not.
        server.add_registered_method_handlers = lambda *_: None
        grpc_address = _add_port(server, settings.grpc_address)
        wired = self._wired = await wire(settings, instance, backend, catalogue, self._stack)
        await wired.operations.sandboxes.load()
        if backend is not None:
            await wired.operations.sandboxes.backend_stopped()
        self._register(server, wired)
        http = HttpEndpoint(application(wired.metrics, lambda: self._not_ready), http_socket)
        http.start()
        self._stack.push_async_callback(http.stop)
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        self._grpc = server
        await self._check_backend(wired)
        for work in (_keep_house(wired), _recover(wired, instance)):
            task = asyncio.create_task(work)
            self._stack.callback(task.cancel)
        await self._set_serving(serving=True)
        host, port = http_socket.getsockname()[:2]
        return Listening(grpc_address, f"{host}:{port}", backend)

    async def _start_backend(
        self, instance: instances.Instance, catalogue: YamlCatalogue
    ) -> BackendReady | None:
        settings = self._settings
        if not settings.embedded:
            if not settings.e2b_api_key.get_secret_value():
                raise StartError("There is no E2B key.", "Set E2B_API_KEY.")
            return None
        owned = EmbeddedBackend(
            instance.folder / "backend",
            images_dir=images_dir(settings.state_dir),
            domain=settings.local_domain,
            port=settings.local_port,
            isolation=settings.local_isolation,
            limits=settings.local_limits,
            warm=settings.local_warm,
            bwrap=settings.local_bwrap,
            log_level="debug" if settings.log_level == "debug" else "warning",
            templates=_write_templates(instance.folder / "templates.json", catalogue),
            egress=settings.egress_flags,
            start_limit_s=_UNPACKED_S if catalogue.roots else _STARTED_S,
        )
        self._stack.push_async_callback(owned.stop)
        ready = await owned.start()
        owned.watch(self._backend_lost, self._backend_back)
        _log.warning(
            "backend.embedded",
            note="No E2B key is set: sandboxes run on this machine, and end with this service.",
            isolation=f"{ready.tier}: {ready.tier_detail}",
            limits=ready.limits,
        )
        return ready

    def _register(self, server: grpc.aio.Server, wired: Wired) -> None:
        tracer = wired.traces.get_tracer("sandbox_service", __version__)
        calls = self._calls = Calls(
            TrustedPeers(self._settings.trusted_peers),
            wired.metrics,
            tracer,
            self._settings.limits,
        )
        sandboxes = SERVICES[0].full_name
        served = implemented({sandboxes: SandboxServicer})
        register(server, calls, {sandboxes: SandboxServicer(wired.operations, served)})
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.channelz:
            channelz.add_channelz_servicer(server)
        if self._settings.reflection:
            names = [service.full_name for service in SERVICES]
            names += [health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)

    async def _set_serving(self, *, serving: bool) -> None:
        self._not_ready = "" if serving else "the backend is being started again"
        status = health_pb2.HealthCheckResponse.ServingStatus
        value = status.SERVING if serving else status.NOT_SERVING
        for name in ("", *(service.full_name for service in SERVICES)):
            await self._health.set(name, value)

    async def _backend_lost(self) -> None:
        """Send callers elsewhere, and note that all its sandboxes are gone."""
        await self._set_serving(serving=False)
        if self._wired is not None:
            await self._wired.operations.sandboxes.backend_stopped()

    async def _backend_back(self) -> None:
        await self._set_serving(serving=True)

    async def _check_backend(self, wired: Wired) -> None:
        """Say at once what every call would say later; serve all the same."""
        try:
            await asyncio.wait_for(
                wired.provider.list({DEPLOYMENT: self._settings.deployment}), timeout=15
            )
        except SandboxError as error:
            _log.error("backend.check_failed", reason=error.reason, message=str(error))
        except TimeoutError:
            _log.error("backend.check_failed", message="The backend did not answer in 15 s.")


async def _keep_house(wired: Wired) -> None:
    """Compare the store with the backend now and then, whoever asks or does not."""
    while True:
        await asyncio.sleep(_HOUSEKEEPING_S)
        try:
            await wired.operations.sandboxes.keep_house()
        except SandboxError as error:
            _log.warning("housekeeping.failed", reason=error.reason, message=str(error))


async def _recover(wired: Wired, instance: instances.Instance) -> None:
    """Take over from the processes that had this instance's place before."""
    operations = wired.operations
    await recover_all(operations.execs, operations.sandboxes.live, instance.predecessors)
    instance.tidied_up()


async def serve(settings: Settings, on_listening: Any = None) -> None:  # noqa: ANN401 - a callable or None.
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends at once.

    Args:
        settings: What the operator set.
        on_listening: Called with `Listening` when calls are served.

    Raises:
        StartError: The service cannot start.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    server = Server(settings)
    # A start may take minutes, where root filesystems are to be unpacked.
    starting = asyncio.create_task(server.start())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, starting.cancel)
    try:
        listening = await starting
    except asyncio.CancelledError:
        _log.warning("server.start_cancelled")
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    _log.info(
        "server.listening",
        grpc=listening.grpc_address,
        http=listening.http_address,
        version=__version__,
    )
    if on_listening is not None:
        on_listening(listening)
    await told.wait()
    stopping = asyncio.create_task(server.stop())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.cancel)
    try:
        await stopping
    except asyncio.CancelledError:
        _log.warning("server.aborted", note="A second signal came; the rest dies with us.")


def _catalogue(settings: Settings) -> YamlCatalogue:
    try:
        return YamlCatalogue.load(settings.catalogue)
    except CatalogueError as error:
        raise StartError(f"{error}.", "Correct the file that SANDBOX_CATALOGUE names.") from error


def _write_templates(path: Path, catalogue: YamlCatalogue) -> Path:
    """Tell the embedded backend the catalogue's templates, so that both say the same of each."""
    roots = catalogue.roots
    templates = {
        it.backend_id: {
            "cpu_count": it.resources.cpu_count,
            "memory_mib": it.resources.memory_mib,
            **({"rootfs": str(roots[it.backend_id])} if it.backend_id in roots else {}),
        }
        for it in catalogue.templates
    }
    path.write_text(json.dumps(templates))
    return path


def _options(settings: Settings) -> tuple[tuple[str, int], ...]:
    return (*_OPTIONS, ("grpc.enable_channelz", int(settings.channelz)))


def _checked(address: str, setting: str) -> tuple[str, int]:
    """Return host and port; gRPC itself would take 99999 modulo 65536."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _PORT_MAX:
        raise StartError(f"{address!r} is not host:port.", f"Correct {setting}.")
    return host.strip("[]"), int(port)


def _bind(address: str, setting: str) -> socket.socket:
    host, port = _checked(address, setting)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise StartError(
            f"{address} cannot be listened on: {error.strerror}.",
            f"Set {setting} to a free address.",
        ) from error
    return bound


def _add_port(server: grpc.aio.Server, address: str) -> str:
    host = address.rpartition(":")[0]
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(
            f"{address} cannot be listened on: it is taken, or no address of this machine.",
            "Set SANDBOX_GRPC_ADDRESS to a free address.",
        ) from error
    return f"{host}:{port}"
