"""What the end-to-end tests share: a client in Go, on the running service."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.go_client import GoClient, GoRun, names_of_tests
from tests.support.service import REPOSITORY, Service

# Where `.ci/tools` puts what it installs.
os.environ["PATH"] = f"{REPOSITORY / '.tools/bin'}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def go_client(service: Service, tmp_path_factory: pytest.TempPathFactory) -> GoClient:
    """A program of an orchestrator's kind, compiled against the committed stubs."""
    return GoClient.compiled(tmp_path_factory.mktemp("go"), service.grpc_address)


@pytest.fixture(scope="session")
def quiet_connections(go_client: GoClient) -> Iterator[GoRun]:
    """The Go tests that wait for 35 s, running: other tests pass the time beside them."""
    running = go_client.start(*names_of_tests("keepalive_test.go"))
    try:
        yield running
    finally:
        running.close()
