"""The tests in Go, compiled and run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.service import REPOSITORY

MODULE = REPOSITORY / "tests/e2e/go"


def names_of_tests(file_name: str) -> list[str]:
    """Return the tests that a file of the Go module defines."""
    lines = (MODULE / file_name).read_text().splitlines()
    return [line[5:].partition("(")[0] for line in lines if line.startswith("func Test")]


def go(*arguments: str, module: Path) -> None:
    """Run the Go tool in a module, and show what it says when it fails."""
    done = subprocess.run(
        ["go", *arguments],
        cwd=module,
        env={**os.environ, "GOWORK": "off"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"go {' '.join(arguments)}:\n{done.stdout}{done.stderr}"


class GoRun:
    """Some of the tests, running.

    Args:
        process: What runs them.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._output: str | None = None

    def finish(self) -> str:
        """Wait for their end, and return what they printed."""
        if self._output is None:
            self._output, _ = self._process.communicate()
        return self._output

    def passed(self, name: str) -> bool:
        """Tell, after the end, whether a test ran and passed."""
        return any(line.startswith(f"--- PASS: {name} ") for line in self.finish().splitlines())

    def close(self) -> None:
        """End them, if nobody waited for that."""
        self._process.kill()
        self.finish()


@dataclass(frozen=True, slots=True)
class GoClient:
    """The compiled tests.

    Attributes:
        program: What Go made of them.
        address: The service that they call.
    """

    program: Path
    address: str

    @classmethod
    def compiled(cls, folder: Path, address: str) -> GoClient:
        """Check and compile the tests."""
        program = folder / "client"
        go("vet", "./...", module=MODULE)
        go("test", "-c", "-o", str(program), ".", module=MODULE)
        return cls(program, address)

    def start(self, *names: str) -> GoRun:
        """Start some of the tests, all at once."""
        process = subprocess.Popen(
            [
                str(self.program),
                "-test.v",
                "-test.parallel=8",
                "-test.timeout=100s",
                f"-test.run=^({'|'.join(names)})$",
            ],
            cwd=MODULE,
            env={**os.environ, "SANDBOX_GRPC": self.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return GoRun(process)
