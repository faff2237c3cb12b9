"""Sandboxes without namespaces: what holds them all the same, and what does not work there."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest
from e2b import Sandbox

from sandbox_service.e2b_local.machine import (
    GuestOSError,
    Image,
    IsolationUnavailableError,
    Machine,
    MachineConfig,
    PtySize,
    SpawnSpec,
    diagnose,
)
from sandbox_service.e2b_local.machine.tiers.unsafe.keeper import landlock_version
from tests.integration.local_backend import LocalBackend
from tests.integration.machine_bench import finish, run, sh, until
from tests.integration.test_machine_tiers import read_status, start_server
from tests.support.processes import Watched, family

pytestmark = pytest.mark.skipif(
    landlock_version() < (1 if os.geteuid() == 0 else 6),
    reason="this kernel has too little of Landlock",
)


@pytest.fixture
def isolation():
    return "process-unsafe"


async def test_nobody_gets_it_without_asking(state_dir):
    """It is no boundary, so nothing may lead to it but its name."""
    config = MachineConfig(state_dir=state_dir, bwrap=Path("/nowhere/bwrap"))
    with pytest.raises(IsolationUnavailableError):
        await Machine.start(config)


async def test_programs_files_and_terminals_work(guest):
    """By the paths that clients use; what a program is told has the host's."""
    descriptor = await guest.open("/home/user/f", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"text\n")
    os.close(descriptor)
    assert await sh(guest, "cat f ~/f; echo more > ~/g; cat <(echo piped)") == "text\ntext\npiped\n"
    outcome = await run(guest, "cat", "/home/user/g", cwd="/tmp")
    assert (outcome.code, outcome.out) == (0, b"more\n")

    entries = await guest.list_dir("/home/user")
    assert [(one.path, one.owner) for one in entries] == [
        ("/home/user/f", "user"),
        ("/home/user/g", "user"),
    ]
    assert await sh(guest, 'echo $KEPT; cd "$TMPDIR" && touch t', env={"KEPT": "/home/users"}) == (
        "/home/users\n"
    )
    assert (await guest.stat("/tmp/t")).size == 0
    spec = SpawnSpec(argv=("/bin/bash", "-c", "stty size; exit 3"), pty=PtySize(80, 24))
    shown = await finish(await guest.spawn(spec))
    assert (shown.code, shown.out) == (3, b"24 80\r\n")


async def test_what_is_not_its_own_is_closed(machine, guest, state_dir):
    """Files and processes of the host, of the server, and of a neighbour."""
    (state_dir / "secret").write_text("secret")
    neighbour = await machine.boot("neighbour")
    (folder,) = state_dir.glob("machine-*/sandboxes/neighbour")
    server = f"/proc/{os.getpid()}"
    reached = []
    for command in (
        *("cat /etc/shadow", "ls /var", "ls /root", "ls /proc/1/fd", "cat /proc/1/environ", "ls /"),
        *(f"ls {server}/root", f"cat {server}/mem", f"cat {server}/maps", f"cat {server}/environ"),
        *("touch /tmp/x", "touch /var/tmp/x", "touch /usr/x", "touch /dev/shm/x", "ls /sys"),
        *(f"ls {state_dir}", f"cat {state_dir}/secret", "echo 1 > /proc/sys/vm/swappiness"),
        *(f"ls {folder}", f"touch {folder}/home/x", f"kill {neighbour._launched.init_pid}"),
        *("unshare -U true", "mount -t tmpfs t ~"),
    ):
        if (await run(guest, "/bin/bash", "-c", command)).code == 0:
            reached.append(command)

    assert reached == []
    assert await sh(guest, "echo alive") == "alive\n"
    assert await sh(neighbour, "echo alive") == "alive\n"


async def test_no_socket_can_be_made(guest, tmp_path):
    """Neither to the network nor to a daemon of the host that listens on a path."""
    path = Path("/var/tmp") / f"daemon-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        path.chmod(0o777)
        script = (
            "import socket\n"
            "for family in (1, 2, 10, 16):\n"
            "    for kind in (1, 2):\n"
            "        try: socket.socket(family, kind); print('made')\n"
            "        except OSError as error: print(error.errno)\n"
            "a, b = socket.socketpair(); a.send(b'pair'); print(b.recv(9))\n"
        )
        told = (await run(guest, "python3", "-c", script)).out.decode().split()
        path.unlink()

    assert told == [str(errno.EACCES)] * 8 + ["b'pair'"]
    with pytest.raises(ConnectionRefusedError):
        await guest.connect(8000)
    with pytest.raises(GuestOSError) as refused:
        await guest.listen(8000)
    assert refused.value.errno == errno.EACCES


async def test_nothing_is_left_in_the_hosts_memory(guest):
    """What System V shares has no owner that could end, and no limit counts it."""
    script = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "made = (libc.shmget(0, 4096, 0o600), libc.semget(0, 1, 0o600), libc.msgget(0, 0o600))\n"
        "print(made, ctypes.get_errno())\n"
    )
    told = (await run(guest, "python3", "-c", script)).out.decode()

    assert told == f"(-1, -1, -1) {errno.EACCES}\n"


async def test_a_program_has_no_privilege(guest):
    """As the host sees it, where it runs as any other process."""
    process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    status = read_status(process.pid)

    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    if os.geteuid() == 0:
        assert "0" not in status["Uid"].split()
        assert status["Groups"].strip() == ""
    process.close()


async def test_all_of_it_ends_also_what_left_its_session(machine, guest, state_dir):
    """There is no namespace whose end would take everything along."""
    bomb = "for i in 1 2 3; do setsid sh -c 'sleep 600 & sleep 600' & done >/dev/null 2>&1; wait"
    await guest.spawn(SpawnSpec(argv=("/bin/bash", "-c", bomb)))
    init = guest._launched.init_pid
    await until(lambda: len(family(init)) >= 11)
    pids = Watched(family(init))
    await guest.kill()

    assert pids.left() == []
    assert list(state_dir.glob("machine-*/sandboxes/*")) == []


async def test_all_of_it_ends_with_a_server_that_is_killed(state_dir, isolation):
    """Also while it is frozen."""
    with start_server(str(state_dir), isolation, "wait") as server:
        assert server.stdout is not None
        told = await asyncio.to_thread(server.stdout.readline)
        pid = int(told.split(b'"pid": ')[1].rstrip(b"}\n"))
        pids = Watched(family(pid))
        assert len(pids) == 2
        server.kill()

    assert await asyncio.to_thread(pids.left_after, 20) == []


async def test_it_is_shelved_and_neither_copied_nor_given_a_root(machine, guest, state_dir):
    """What cannot be done is refused, not done by half."""
    await sh(guest, "echo kept > ~/f; echo kept > $TMPDIR/f")
    with pytest.raises(GuestOSError) as refused:
        await machine.archive("one", -1)
    assert refused.value.errno == errno.EOPNOTSUPP
    with pytest.raises(IsolationUnavailableError):
        await machine.prepare_images([Image(Path("/"), None)])

    await machine.shelve("one")
    again = await machine.boot("one")
    assert await sh(again, "cat ~/f $TMPDIR/f") == "kept\nkept\n"


async def test_a_diagnosis_calls_it_a_fault(state_dir, isolation):
    """Nobody is to overlook it."""
    config = MachineConfig(state_dir=state_dir, isolation=isolation)
    found = {finding.name: finding for finding in await diagnose(config)}

    assert not found["isolation"].ok
    assert "NO BOUNDARY" in found["isolation"].detail


def test_the_backend_serves_the_sdk_and_says_what_it_is():
    """In what it tells its starter when it is ready."""
    backend = LocalBackend.start("--isolation=process-unsafe")
    status = backend.status
    with Sandbox.create(**backend.sdk) as sandbox:
        sandbox.files.write("/home/user/f", "text")
        told = sandbox.commands.run("cat f ~/f")
    assert backend.stop() == 0

    assert told.stdout == "texttext"
    assert (status["ready"], status["tier"]) == (True, "process-unsafe")
    assert status["tier_detail"].startswith("NO BOUNDARY")


def test_a_way_out_is_refused_with_it():
    """It could never be used."""
    backend = LocalBackend.start("--isolation=process-unsafe", "--egress=proxy")
    backend.stop()

    assert not backend.status["ready"]
    assert "SANDBOX_LOCAL_EGRESS" in backend.status["fix"]
