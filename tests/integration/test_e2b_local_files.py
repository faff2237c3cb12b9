"""Files of a real sandbox: parts, conditions, packing, odd names."""

from __future__ import annotations

import gzip
import os

import httpx
import pytest
from e2b import AsyncSandbox

from tests.integration.e2b_wire import connected, new_box


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


@pytest.fixture
async def box(client):
    box = await new_box(client, timeout=60)
    yield box
    await client.delete(f"/sandboxes/{box.id}")


async def upload(box, path, data, **headers):
    kind = {"content-type": "application/octet-stream"}
    response = await box.client.post(
        "/files", params={"path": path}, content=data, headers=box.headers(**kind, **headers)
    )
    assert response.status_code == 200, response.text
    return response.json()


async def download(box, path, **headers):
    return await box.client.get("/files", params={"path": path}, headers=box.headers(**headers))


async def test_parts_of_a_file_are_joined_wherever_they_lie(box):
    """`/tmp` is memory and the home is disk: the kernel copies between them in another way."""
    parts = {"/tmp/1": os.urandom(3_000_000), "2": b"", "~/3": os.urandom(100_000)}
    for path, data in parts.items():
        await upload(box, path, data)
    answer = await box.client.post(
        "/files/compose",
        json={"source_paths": list(parts), "destination": "out/whole"},
        headers=box.headers(),
    )
    whole = await download(box, "out/whole")
    left = [(await download(box, path)).status_code for path in parts]

    assert answer.json() == {"path": "/home/user/out/whole", "name": "whole", "type": "file"}
    assert whole.content == b"".join(parts.values())
    assert left == [404, 404, 404]


async def test_joining_reaches_nothing_outside_through_a_link(box, tmp_path):
    """Its paths mean what they mean inside, like those of any upload."""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    async with box.start(f"ln -s {secret} link; ln -s {tmp_path} folder; echo x > part") as stream:
        assert [event async for event in stream][-1].value.exit_code == 0
    for document in (
        {"source_paths": ["link"], "destination": "got"},
        {"source_paths": ["part"], "destination": "folder/got"},
    ):
        answer = await box.client.post("/files/compose", json=document, headers=box.headers())
        assert answer.status_code in {403, 404, 500}

    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


async def test_a_file_that_has_not_changed_is_not_sent_again(box):
    """The time it was changed is the sandbox's own."""
    await upload(box, "f", b"first")
    first = await download(box, "f")
    changed = first.headers["last-modified"]
    again = await download(box, "f", **{"if-modified-since": changed})
    rest = await download(box, "f", **{"range": "bytes=2-", "if-range": changed})

    assert (again.status_code, again.content) == (304, b"")
    assert (rest.status_code, rest.content) == (206, b"rst")


async def test_a_packed_download_is_the_same_file(backend, box):
    """Several connections' worth of data, and the connection is used again afterwards."""
    data = os.urandom(1_000_000) + bytes(3_000_000)
    await upload(box, "f", data)
    async with httpx.AsyncClient(base_url=backend.url) as client:
        headers = box.headers(**{"accept-encoding": "gzip"})
        for _ in range(2):
            async with client.stream("GET", "/files?path=f", headers=headers) as response:
                packed = b"".join([part async for part in response.aiter_raw()])
            assert response.headers["content-encoding"] == "gzip"
            assert gzip.decompress(packed) == data


async def test_the_sdk_packs_files_both_ways(backend):
    """`gzip=True` of its calls."""
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk)
    text = "line\n" * 100_000
    await sandbox.files.write("f", text, gzip=True)
    packed = await sandbox.files.read("f", gzip=True)
    plain = await sandbox.files.read("f")
    await sandbox.kill()

    assert packed == plain == text


async def test_names_that_are_no_text_do_not_hide_the_others(backend):
    """A tool's leftovers must not make a whole folder unreadable."""
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk)
    await sandbox.commands.run("mkdir d; touch d/a $'d/\\xff'")
    listed = await sandbox.files.list("d")
    await sandbox.kill()

    assert sorted(entry.name for entry in listed) == ["a", "\ufffd"]
