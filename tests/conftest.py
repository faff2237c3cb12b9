"""What every suite shares: a clean environment, parts that a machine may lack, the service."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from tests.support.calls import Client
    from tests.support.service import Service

_OURS = ("E2B_", "SANDBOX_", "OTEL_", "MIOSA_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")

for _name in list(os.environ):
    if _name.startswith(_OURS) or _name.lower() in _PROXIES:
        # What the developer's shell says must not decide what a test talks to.
        del os.environ[_name]
# Tests start programs beside a running gRPC; none of them goes on in a forked child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ["GRPC_VERBOSITY"] = "ERROR"

_SHOWN_BYTES = 8000


@dataclass(frozen=True, slots=True)
class _Part:
    """A part that a machine may lack.

    Attributes:
        missing: Why it is not there; empty when it is.
    """

    name: str
    missing: str


def _program(name: str) -> str:
    return "" if shutil.which(name) else f"the program {name} is not installed"


def _mmdebstrap() -> str:
    """Say why no Debian can be built for sandboxes: an ordinary user needs a range of ids."""
    return _program("mmdebstrap") or (_program("newuidmap") if os.geteuid() != 0 else "")


def _ordinary_user() -> str:
    """Say why no test can run as an ordinary user: it needs one to run as."""
    if os.geteuid() != 0:
        return ""
    known = subprocess.run(["id", "-u", "nobody"], capture_output=True, check=False)
    return "" if known.returncode == 0 else "there is no user 'nobody' to become"


@functools.cache
def _javascript_sdk() -> str:
    """Say why E2B's JavaScript SDK is not there, after trying to install it."""
    if missing := _program("npm"):
        return missing
    install = Path(__file__).parent / "e2e/javascript/install"
    try:
        done = subprocess.run([install], capture_output=True, text=True, timeout=100, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm could not install it: {error}"
    return "" if done.returncode == 0 else f"npm could not install it: {done.stderr[-500:]}"


def _pip() -> str:
    """Say why sandboxes have no pip: they see the system's own."""
    asked = ["/usr/bin/python3", "-I", "-m", "pip", "--version"]
    try:
        done = subprocess.run(asked, capture_output=True, check=False)
    except OSError as error:
        return f"the system has no python3: {error}"
    return "" if done.returncode == 0 else "the system's python3 has no pip"


@functools.cache
def _registry() -> str:
    """Say why no package can be had from the public registries."""
    try:
        socket.create_connection(("pypi.org", 443), 5).close()
    except OSError as error:
        return f"pypi.org:443 does not answer from here: {error}"
    return ""


_PARTS = {
    "go": lambda: _program("go"),
    "grpcurl": lambda: _program("grpcurl"),
    "javascript_sdk": _javascript_sdk,
    "mmdebstrap": _mmdebstrap,
    "node": lambda: _program("node"),
    "npm": lambda: _program("npm"),
    "pip": _pip,
    "registry": _registry,
    "root": lambda: "" if os.geteuid() == 0 else "the tests do not run as root",
    "user": _ordinary_user,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        metavar="PART,...",
        help=f"fail, rather than skip, tests whose part is missing: {', '.join(_PARTS)} or all",
    )


def pytest_configure(config: pytest.Config) -> None:
    unknown = _required(config) - set(_PARTS)
    if unknown:
        raise pytest.UsageError(f"--require: unknown parts {', '.join(sorted(unknown))}")


def _required(config: pytest.Config) -> set[str]:
    named = {part.strip() for part in config.getoption("--require").split(",") if part.strip()}
    return set(_PARTS) if "all" in named else named


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose part is missing, or fail it when that part is required."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            missing = _PARTS[name]()
            if missing and name in _required(item.config):
                pytest.fail(f"needs {name}, which --require names: {missing}", pytrace=False)
            if missing:
                pytest.skip(f"needs {name}: {missing}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the service logged during a test that failed."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and service is not None:
        log = service.log_since_mark()[-_SHOWN_BYTES:]
        report.sections.append(("the service's log during this test", log))
    return report


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The service in a process of its own, on its embedded backend: one for all tests."""
    from tests.support.service import Service

    running = Service.start()
    try:
        running.wait_until_ready()
        yield running
        bugs = [it for it in running.events() if it.get("event") == "call.bug"]
    finally:
        left = running.close()
    assert left == []
    assert bugs == []


@pytest_asyncio.fixture(loop_scope="session")
async def client(service: Service) -> AsyncIterator[Client]:
    """A caller with a tenant of its own, whose sandboxes end with the test."""
    from tests.support.calls import Client

    service.mark()
    async with Client.connected(service.grpc_address) as caller:
        yield caller
        await caller.destroy_all()
