"""The main job as a user sees it: `make demo`.

Starts the service as a program of its own, does with it what an orchestrator
does, checks every result, and ends everything.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb
from rich.console import Console

from sandbox_service.client.service import Service

_PORT: Final = 3000
_ROOT: Final = "/workspace/app"
_START_S: Final = 60.0

_console = Console(highlight=False)


class DemoError(Exception):
    """Something did not come out as it should; the message says what.

    Attributes:
        exit_code: What the command line ends with.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


async def run() -> None:
    """Show the main job.

    Raises:
        DemoError: A step's result is not what it should be.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sandbox-demo-") as scratch:
        project = Path(scratch) / "app"
        with resources.as_file(resources.files(__package__) / "demo_project") as shipped:
            shutil.copytree(shipped, project, ignore=shutil.ignore_patterns("__pycache__"))
        _step("Starting the service on its embedded backend: no account, no Docker")
        async with _service() as address, Service(address, tenant="demo") as service:
            _say(f"gRPC on {address}, ready after {time.monotonic() - began:.1f} s")
            await _main_job(service, project)
        _say("the service has stopped, and its backend with it")
    _console.print(f"\n[bold green]Done[/] in {time.monotonic() - began:.1f} s.")


async def _main_job(service: Service, project: Path) -> None:
    _step("Creating a sandbox")
    created = await service.create(pb.CreateRequest(metadata={"project": "demo"}))
    sandbox_id = created.sandbox.sandbox_id
    for timing in created.timings:
        _say(f"{timing.phase}: {timing.duration.ToMilliseconds()} ms")
    _say(f"sandbox {sandbox_id}, template {created.sandbox.template!r}")
    try:
        await _work(service, project, sandbox_id)
    finally:
        _step("Destroying the sandbox")
        await service.destroy(sandbox_id)
    status = await service.status(sandbox_id)
    _require(status.sandbox.state == pb.SANDBOX_STATE_ENDED, "the sandbox has ended")
    cause = pb.EndCause.Name(status.sandbox.end.cause)
    _say(f"it is gone; its status still tells how it ended: {cause}")


async def _work(service: Service, project: Path, sandbox_id: str) -> None:
    _step("Syncing a project into it")
    header = pb.SyncFilesHeader(sandbox_id=sandbox_id, root=_ROOT)
    synced = await service.folder_sync(cached=False).sync(project, header)
    receipt = synced.receipt or pb.SyncFilesResponse()
    _require(synced.identical is True, "the sandbox's folder is the same, by its digest")
    _say(f"{receipt.added} added, {receipt.received_bytes} bytes, verified inside by SHA-256")
    _require(receipt.added > 0, "files were added")

    _step("Running its tests; each line arrives as it is written")
    code = await _show_run(service, sandbox_id, "python3 checks.py")
    _require(code == 0, "the tests passed")

    _step("Starting its web app, and opening the page through the preview")
    request = _shell(sandbox_id, f"exec python3 app.py {_PORT}")
    app = asyncio.create_task(_drain(service, request))
    try:
        await _pages(service, project, sandbox_id, header)
    finally:
        app.cancel()
        await asyncio.gather(app, return_exceptions=True)


async def _pages(
    service: Service, project: Path, sandbox_id: str, header: pb.SyncFilesHeader
) -> None:
    found = await service.preview(
        pb.GetPreviewRequest(sandbox_id=sandbox_id, port=_PORT, wait=Duration(seconds=20))
    )
    _require(found.preview_state == pb.PREVIEW_STATE_LISTENING, "the app listens")
    _say(f"preview: {found.preview.url}")
    first = await _fetch(found.preview)
    _say(_shown(first))
    _require("first version" in first, "the page shows the first version")

    _step("Looking at its status")
    status = await service.status(sandbox_id)
    usage = status.usage
    _say(f"state {pb.SandboxState.Name(status.sandbox.state)}, {len(status.running_execs)} exec")
    _say(
        f"memory {usage.memory_used_bytes / 2**20:.0f} MiB, CPU {usage.cpu_utilization:.0%}, "
        f"lifetime left {status.lifetime_left.seconds} s"
    )

    _step("Changing one file, and syncing only that one")
    page = project / "static" / "page.html"
    page.write_text(page.read_text().replace("first version", "second version"))
    synced = await service.folder_sync(cached=False).sync(project, header)
    receipt = synced.receipt or pb.SyncFilesResponse()
    _say(f"{receipt.modified} modified, {receipt.received_bytes} bytes")
    _require(receipt.modified == 1 and receipt.added == 0, "one file was modified")
    second = await _fetch(found.preview)
    _say(_shown(second))
    _require("second version" in second, "the page shows the second version")


async def _show_run(service: Service, sandbox_id: str, command: str) -> int:
    """Run a command, print its output as it comes, and return its exit code."""
    began = time.monotonic()
    async with aclosing(service.exec(_shell(sandbox_id, command))) as events:  # type: ignore[type-var]
        async for event in events:
            if event.HasField("output"):
                at = f"{time.monotonic() - began:5.2f} s"
                for line in event.output.data.decode(errors="replace").splitlines():
                    _console.print(f"    [dim]{at}[/]  {line}", markup=True)
            if event.HasField("exited"):
                _say(f"exit code {event.exited.exit_code}")
                return int(event.exited.exit_code)
    raise DemoError("the command did not say how it ended")


async def _drain(service: Service, request: pb.ExecRequest) -> None:
    async for _ in service.exec(request):
        pass


def _shell(sandbox_id: str, command: str) -> pb.ExecRequest:
    return pb.ExecRequest(
        sandbox_id=sandbox_id, program=pb.Program(shell_command=command), cwd=_ROOT
    )


async def _fetch(preview: pb.Preview) -> str:
    """Open the page as a program on this machine does."""
    request = urllib.request.Request(  # noqa: S310 - the service's own preview.
        preview.direct_url or preview.url,
        headers=dict(preview.direct_headers if preview.direct_url else preview.headers),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get() -> str:
        with opener.open(request, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(get)


@asynccontextmanager
async def _service() -> AsyncIterator[str]:
    """Run the service as a user would, on free ports; yields its gRPC address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sandbox_service", "serve", "--backend", "embedded", "--log-format", "json"),
        *("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield await asyncio.wait_for(_address(process), _START_S)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            # Its log is read to the end: a full pipe would keep it from ending.
            await process.communicate()
    _require(process.returncode == 0, "the service ends with exit code 0")


async def _address(process: asyncio.subprocess.Process) -> str:
    """Read the service's log until it says where it listens."""
    if process.stderr is None:
        raise RuntimeError("the service was started without a pipe")
    said = []
    async for raw in process.stderr:
        line = raw.decode(errors="replace").strip()
        said.append(line)
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("event") == "server.listening":
            return str(event["grpc"])
        if event.get("event") == "backend.embedded":
            _say(f"sandboxes are isolated by {event['isolation']}")
    code = await process.wait()
    raise DemoError("The service did not start.\n" + "\n".join(said), exit_code=code or 1)


def _step(text: str) -> None:
    _console.print(f"\n[bold]{text}[/]")


def _say(text: str) -> None:
    _console.print(f"    {text}", markup=False)


def _shown(page: str) -> str:
    return " ".join(page.split()).removeprefix("<!doctype html>").strip()


def _require(truth: bool, fact: str) -> None:  # noqa: FBT001 - reads as a sentence.
    if not truth:
        raise DemoError(f"It should be so that {fact}; it is not.")
