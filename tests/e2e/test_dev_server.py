"""A real dev server inside a sandbox: edit, sync, and the page has changed."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import events, until
from tests.support.trees import File, header, parts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("registry")]

EDITS = 3
APP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def page():
    return "version {version}"
"""
SERVE = (
    "exec env PYTHONPATH=vendor PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1"
    " python3 -m flask --app app run --reload --port 3000"
)


@pytest.fixture(scope="module")
def flask(tmp_path_factory):
    """Flask and what it needs, as files: sandboxes have no way to the registry."""
    folder = tmp_path_factory.mktemp("vendor")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-compile", "--target", folder, "flask"], check=True, timeout=100)
    return {
        f"vendor/{path.relative_to(folder)}": File(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "bin"
    }


def app(version: int) -> dict[str, File]:
    return {"app.py": File(APP.format(version=version).encode())}


@pytest.mark.timeout(300)
async def test_flask_serves_the_next_version_after_a_sync_and_nothing_else(client, flask):
    """It watches its own files: no reload action, and the receipt says that it listens."""
    box = await client.sandbox(template="python")

    async def sync(tree: dict[str, File]) -> pb.SyncFilesResponse:
        return await client.sync([header(box.sandbox_id, "app"), *parts(tree)])

    first = await sync({**flask, **app(0)})
    call = box.exec(SERVE, cwd=first.root, exec_id="flask", retention=pb.RETENTION_DETACHED)
    await events(call, 1)
    call.cancel()
    began = time.monotonic()
    request = pb.GetPreviewRequest(sandbox_id=box.sandbox_id, wait=Duration(seconds=60))
    answer = await client.call("GetPreview", request)
    print(f"the server answered {time.monotonic() - began:.2f} s after its start")
    assert (answer.preview_state, answer.http_status) == (pb.PREVIEW_STATE_LISTENING, 200)

    url, took = httpx.URL(answer.preview.url), []
    async with httpx.AsyncClient(trust_env=False, timeout=10) as web:
        # The host of the address stands for this machine where no resolver knows it.
        address = url.copy_with(host="127.0.0.1")
        headers = {**answer.preview.headers, "host": f"{url.host}:{url.port}"}

        async def page() -> str:
            try:
                return (await web.get(address, headers=headers)).text
            except httpx.TransportError:
                return ""

        async def shows(version: int) -> bool:
            return await page() == f"version {version}"

        await until(lambda: shows(0))
        for version in range(1, EDITS + 1):
            began = time.monotonic()
            receipt = await sync(app(version))
            synced = time.monotonic() - began
            await until(lambda version=version: shows(version), limit_s=30)
            took.append((synced, time.monotonic() - began))
            assert (receipt.modified, receipt.added, receipt.deleted) == (1, 0, 0)
            assert not receipt.HasField("reload")
            assert receipt.preview_state == pb.PREVIEW_STATE_LISTENING
    for synced, seen in took:
        print(f"synced in {synced:.2f} s, page changed in {seen:.2f} s")
