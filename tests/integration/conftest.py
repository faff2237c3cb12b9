"""A sandbox that many tests share, for a new one each would take most of their time.

gRPC's own threads serve one event loop per process well, and several badly: tests that
call the service share one loop, for which they set `loop_scope="session"`.

Beside it, what some tests stand on: a local backend, a machine, a guest of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from sandbox_service.e2b_local.machine import Guest, IsolationMode, Machine, MachineConfig
from tests.integration.local_backend import API_KEY, LocalBackend
from tests.support.calls import Box, Client
from tests.support.roots import make_small_root
from tests.support.service import Service, served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_box(service: Service) -> AsyncIterator[Box]:
    """A sandbox for as long as the tests run."""
    async with Client.connected(service.grpc_address) as client:
        yield await client.sandbox(lifetime={"seconds": 3600})
        await client.destroy_all()


@pytest_asyncio.fixture(loop_scope="session")
async def box(service: Service, shared_box: Box) -> AsyncIterator[Box]:
    """The shared sandbox, over a connection of the test's own."""
    service.mark()
    async with Client.connected(service.grpc_address, shared_box.client.tenant) as client:
        yield Box(client, shared_box.sandbox_id)


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    """A local backend in a process of its own."""
    backend = LocalBackend.start()
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@pytest.fixture(scope="module")
def faulty() -> Iterator[LocalBackend]:
    """A local backend that can be told to fail."""
    backend = LocalBackend.start("--faults")
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@pytest.fixture(scope="module")
def on_faulty(faulty: LocalBackend) -> Iterator[Service]:
    """A service on that backend."""
    env = {"E2B_API_KEY": API_KEY, "E2B_API_URL": faulty.url, "E2B_SANDBOX_URL": faulty.url}
    with served(env=env) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def broken(
    faulty: LocalBackend, on_faulty: Service
) -> AsyncIterator[tuple[Box, httpx.AsyncClient]]:
    """A sandbox of that service, and what makes its backend fail until the test's end."""
    async with (
        httpx.AsyncClient(base_url=faulty.url, headers={"X-API-Key": API_KEY}) as client,
        Client.connected(on_faulty.grpc_address) as caller,
    ):
        yield await caller.sandbox(), client
        await client.delete("/local/faults")
        await caller.destroy_all()


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of a few programs, without Python."""
    return make_small_root(tmp_path_factory.mktemp("root") / "small")


@pytest.fixture(scope="session")
def images_dir() -> Iterator[Path]:
    """Where root filesystems are unpacked, once for all tests."""
    path = Path(tempfile.mkdtemp(prefix="images-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A folder that other uids can pass, as root needs it."""
    # pytest's own temporary folders are closed to them.
    path = Path(tempfile.mkdtemp(prefix="machine-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def isolation() -> IsolationMode:
    """How the machine isolates; a module of tests may have its own, with several."""
    return "auto"


@pytest.fixture
async def machine(state_dir: Path, isolation: IsolationMode) -> AsyncIterator[Machine]:
    """A machine of whoever runs the tests: an ordinary user, or root with host uids."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, isolation=isolation))
    yield machine
    await machine.close()


@pytest.fixture
async def guest(machine: Machine) -> Guest:
    """A real sandbox of the machine."""
    return await machine.boot("one")
