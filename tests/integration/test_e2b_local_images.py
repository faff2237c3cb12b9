"""Templates with a root filesystem of their own, through the unmodified SDK and gRPC."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from e2b import AsyncSandbox, PtySize
from google.protobuf.duration_pb2 import Duration

from tests.integration.e2b_wire import connected
from tests.integration.local_backend import LocalBackend
from tests.integration.sdk_calls import api, sandbox_of
from tests.support.calls import Client
from tests.support.service import command_line, environment, served, state_folder
from tests.support.trees import File, header, parts

_FREE_PORTS = ("--grpc-address=127.0.0.1:0", "--http-address=127.0.0.1:0")


def write_templates(folder: Path, **roots: object) -> Path:
    path = folder / "templates.json"
    templates = {name: {"rootfs": str(root)} for name, root in roots.items()}
    path.write_text(json.dumps({**templates, "base": {}}))
    return path


@pytest.fixture(scope="module")
def backend(
    tmp_path_factory: pytest.TempPathFactory, small_root: Path, images_dir: Path
) -> Iterator[LocalBackend]:
    """A local backend with one template that has no Python, and one on the host's files."""
    templates = write_templates(tmp_path_factory.mktemp("templates"), small=small_root)
    backend = LocalBackend.start("--templates", str(templates), "--images-dir", str(images_dir))
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@pytest.fixture
async def sandbox(backend):
    async with sandbox_of(backend, template="small", envs={"OWN": "yes"}) as sandbox:
        yield sandbox


async def test_commands_files_and_terminals_work_without_python(sandbox):
    """The SDK needs nothing of the image but a shell."""
    result = await sandbox.commands.run(
        "id -u; echo $OWN $E2B_TEMPLATE_ID; command -v python3; pwd"
    )
    assert result.stdout == "0\nyes small\n/home/user\n"

    background = await sandbox.commands.run("cat; exit 4", background=True, stdin=True)
    await sandbox.commands.send_stdin(background.pid, "text")
    await sandbox.commands.close_stdin(background.pid)
    with pytest.raises(Exception, match="4") as caught:
        await background.wait()
    assert caught.value.stdout == "text"

    await sandbox.files.write("/usr/share/own/a", b"\0data")
    assert await sandbox.files.read("/usr/share/own/a", format="bytes") == b"\0data"
    entry = await sandbox.files.get_info("/usr/share/own/a")
    assert (entry.owner, entry.size) == ("root", 5)
    await sandbox.files.rename("/usr/share/own/a", "/tmp/b")
    assert [one.name for one in await sandbox.files.list("/tmp")] == ["b"]

    shown = asyncio.Queue()
    terminal = await sandbox.pty.create(
        size=PtySize(rows=24, cols=80), on_data=shown.put, envs={"PS1": ">"}
    )
    await sandbox.pty.send_stdin(terminal.pid, b"stty -echo 2>/dev/null; echo o''k; exit\n")
    await terminal.wait()
    data = b"".join([shown.get_nowait() for _ in range(shown.qsize())])
    assert b"ok\r\n" in data


async def test_changes_in_a_layer_are_seen(sandbox):
    """Of files that the image brought as well as of new ones."""
    seen = asyncio.Queue()
    handle = await sandbox.files.watch_dir("/etc", on_event=seen.put, recursive=True)
    await sandbox.commands.run("echo x >> /etc/passwd; mkdir /etc/d; echo y > /etc/new")
    async with asyncio.timeout(15):
        names = set()
        while not {"passwd", "d", "new"} <= names:
            names.add((await seen.get()).name)
    await handle.stop()


async def test_two_sandboxes_of_a_template_are_apart(backend, sandbox):
    """And the template stays as it is."""
    await sandbox.commands.run("rm /bin/seq; echo mine > /bin/own")
    async with sandbox_of(backend, template="small") as other:
        result = await other.commands.run("seq 1; ls /bin/own || true")
        assert result.stdout == "1\n"


@pytest.mark.parametrize("memory", [True, False])
async def test_a_pause_keeps_what_was_installed(backend, sandbox, memory):
    """With its programs or without them."""
    await sandbox.commands.run("rm /bin/seq; echo mine > /bin/own; echo t > /tmp/t")
    async with connected(backend) as client:
        path = f"/sandboxes/{sandbox.sandbox_id}/pause"
        assert (await client.post(path, json={"memory": memory})).status_code == 204
    await sandbox.connect(timeout=60)

    result = await sandbox.commands.run("cat /bin/own /tmp/t; ls /bin/seq || true")
    assert result.stdout == "mine\nt\n"


@pytest.mark.parametrize("state", ["running", "paused", "shelved"])
async def test_snapshots_keep_what_was_installed(backend, sandbox, state):
    """They are of the template's files, too."""
    await sandbox.commands.run("rm /bin/seq; echo mine > /bin/own; echo t > /tmp/t; echo h > h")
    async with connected(backend) as client:
        if state != "running":
            body = {"memory": state == "paused"}
            path = f"/sandboxes/{sandbox.sandbox_id}/pause"
            assert (await client.post(path, json=body)).status_code == 204
        taken = await client.post(f"/sandboxes/{sandbox.sandbox_id}/snapshots", json={})
        assert taken.status_code == 201, taken.text
    snapshot = taken.json()["snapshotID"]
    async with sandbox_of(backend, template=snapshot) as made:
        result = await made.commands.run("cat /bin/own /tmp/t h; ls /bin/seq || true; echo $OWN")
        assert result.stdout == "mine\nt\nh\nyes\n"
    assert await AsyncSandbox.delete_snapshot(snapshot, **api(backend))


async def test_forks_have_what_was_installed(backend, sandbox):
    """Each on a layer of its own."""
    await sandbox.commands.run("echo mine > /bin/own")
    async with connected(backend) as client:
        forked = await client.post(f"/sandboxes/{sandbox.sandbox_id}/fork", json={"count": 2})
        forks = [one["sandbox"]["sandboxID"] for one in forked.json()]
        for sandbox_id in forks:
            fork = await AsyncSandbox.connect(sandbox_id, **backend.sdk)
            result = await fork.commands.run("cat /bin/own; echo other > /bin/own")
            assert result.stdout == "mine\n"
            await fork.kill()


async def test_templates_without_a_root_are_as_before(backend):
    """They show the host's own files."""
    async with sandbox_of(backend, template="base") as usual:
        assert (await usual.commands.run("id -u; ls -d /usr/share")).stdout == "1000\n/usr/share\n"


async def test_the_backend_says_which_images_it_has(backend, small_root):
    """Whoever looks at two machines can tell whether they offer the same."""
    async with connected(backend) as client:
        info = (await client.get("/local/info")).json()

    assert info["images"].keys() == {"small"}
    assert info["images"]["small"]["source"] == str(small_root)
    assert len(info["images"]["small"]["digest"]) >= 32


# --- The start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "No such file"), (b"no tar", "cannot be unpacked"), ("empty", "neither /bin nor /usr")],
)
def test_what_is_no_root_filesystem_is_refused(tmp_path, content, cause):
    """At the start, and by name."""
    source = tmp_path / "root"
    if content == "empty":
        source.mkdir()
    elif content is not None:
        source.write_bytes(content)
    backend = LocalBackend.start("--templates", str(write_templates(tmp_path, bad=source)))

    assert not backend.status["ready"]
    assert cause in backend.status["cause"]
    assert str(source) in backend.status["cause"]
    assert backend.stop() == 2


def test_a_root_is_named_from_the_folder_of_its_file(tmp_path, small_root):
    """A folder with both can be moved, and the second start finds what the first made."""
    with tarfile.open(tmp_path / "small.tar", "w") as archive:
        archive.add(small_root, ".")
    templates = write_templates(tmp_path, small="small.tar")
    state = state_folder()
    images = f"{state}/images"
    for _ in range(2):
        backend = LocalBackend.start("--templates", str(templates), "--images-dir", images)
        assert backend.status["ready"], backend.status
        assert backend.stop() == 0
        (image,) = Path(images).glob("*/root")
        assert (image / "bin/bash").exists()
    shutil.rmtree(state)


# --- The service --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Path:
    """A file of templates whose first stands on a root without Python."""
    folder = tmp_path_factory.mktemp("catalogue")
    path = folder / "catalogue.yaml"
    (folder / "small").symlink_to(small_root)
    templates = {
        "small": {"id": "small", "cpu": 1, "memory_mib": 256, "rootfs": "small"},
        "base": {"id": "base", "cpu": 1, "memory_mib": 256},
    }
    languages = {"bash": {"command": ["bash"], "extension": ".sh"}}
    path.write_text(yaml.safe_dump({"languages": languages, "templates": templates}))
    return path


async def test_the_service_works_on_such_a_template(catalogue):
    """Its scripts need a shell and the usual programs, and neither Python nor the host's files."""
    with served(f"--catalogue={catalogue}") as service:
        async with Client.connected(service.grpc_address) as client:
            box = await client.sandbox(template="small")
            tree = {"bin/run": File(b"#!/bin/sh\necho synced\n", 0o755), "a b": File(b"data")}
            receipt = await client.sync([header(box.sandbox_id, "/srv/app"), *parts(tree)])
            ran = await box.run(
                "bin/run; cat 'a b'; command -v python3; chown 33 'a b'; exit 3", cwd="/srv/app"
            )
            assert (receipt.added, ran.text, ran.outcome) == (2, "synced\ndata", ("EXIT", 3))
            again = await client.sync([header(box.sandbox_id, "/srv/app"), *parts(tree)])
            assert (again.added, again.modified, again.unchanged) == (0, 0, 2)
            late = await box.run("sleep 600", timeout=Duration(nanos=500_000_000))
            assert late.outcome[0] == "TIMEOUT"

            other = await client.sandbox(template="base")
            assert (await other.run("ls /srv/app 2>/dev/null; id -u")).text == "1000\n"


def test_doctor_tries_the_roots_of_the_catalogue(catalogue, tmp_path):
    """What a start would find out, it finds out before."""
    state = state_folder()
    bad = tmp_path / "bad.yaml"
    bad.write_text(catalogue.read_text().replace("rootfs: small", "rootfs: missing"))
    said = []
    for path in (catalogue, bad):
        done = subprocess.run(
            command_line("doctor", f"--catalogue={path}", f"--state-dir={state}", *_FREE_PORTS),
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said.append((done.returncode, done.stdout))
    shutil.rmtree(state)

    assert said[0][0] == 0, said[0]
    assert "template small: " in said[0][1]
    assert said[1][0] == 1
    assert "missing cannot be used" in " ".join(said[1][1].split())
