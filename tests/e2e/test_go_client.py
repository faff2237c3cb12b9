"""A program in Go, made from the committed stubs, does an orchestrator's work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.go_client import MODULE, GoClient, go, names_of_tests
from tests.e2e.readme import blocks
from tests.support.service import REPOSITORY, Service

# Go compiles gRPC first, where it has not done so before.
pytestmark = [pytest.mark.needs("go"), pytest.mark.timeout(400)]

NAMES = [
    name
    for file_name in ("loop_test.go", "exec_test.go", "errors_test.go")
    for name in names_of_tests(file_name)
]


@pytest.mark.usefixtures("quiet_connections")  # Started here, so that they are done soon.
@pytest.mark.parametrize("name", NAMES)
def test_go_client(go_client: GoClient, name: str) -> None:
    """What the orchestrator meets is Go's gRPC, whose rules differ from Python's."""
    running = go_client.start(name)
    try:
        assert running.passed(name), running.finish()
    finally:
        running.close()


def test_go_example_of_the_readme_runs(service: Service, tmp_path: Path) -> None:
    """What a newcomer copies first has to work as it stands."""
    [(_, program)] = blocks("go")
    assert "127.0.0.1:50051" in program
    (tmp_path / "main.go").write_text(program.replace("127.0.0.1:50051", service.grpc_address))
    shutil.copy(REPOSITORY / "protos/service_config.json", tmp_path)
    for name in ("go.mod", "go.sum"):
        shutil.copy(MODULE / name, tmp_path)
    stubs = REPOSITORY / "generated/go"
    go("mod", "edit", f"-replace=miosa.dev/sandbox={stubs}", module=tmp_path)
    go("vet", "./...", module=tmp_path)
    go("build", "-buildvcs=false", "-o", "example", ".", module=tmp_path)

    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hello from ")
    assert done.stdout.endswith("exited: CAUSE_EXIT 0\n")
