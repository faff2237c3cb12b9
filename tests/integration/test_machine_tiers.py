"""Every way to isolate that may be used here, also those that a better one comes before.

The attempts to escape run in each of them too: see `test_escapes`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    Image,
    IsolationUnavailableError,
    Machine,
    MachineConfig,
    PtySize,
    SpawnSpec,
    diagnose,
)
from sandbox_service.e2b_local.machine.tiers import bubblewrap
from sandbox_service.e2b_local.machine.tiers.tier import tiers_to_try
from tests.integration.machine_bench import finish, names_in, run, sh
from tests.support.processes import Watched, family

REPOSITORY = Path(__file__).parents[2]
WITHOUT_USERNS = Path(__file__).parent / "programs" / "host_without_userns.py"
RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
HERE = tiers_to_try("auto")

# What a server says of how it isolates, or why it does not; told to, it waits to be killed.
SERVER = """
import asyncio, json, sys
from pathlib import Path
from sandbox_service.e2b_local.machine import *

async def main(folder, isolation, *wait):
    config = MachineConfig(state_dir=Path(folder), isolation=isolation)
    try:
        machine = await Machine.start(config)
    except IsolationUnavailableError as error:
        print(json.dumps({"cause": error.cause, "fix": error.fix}))
        return
    guest = await machine.boot("one")
    await guest.spawn(SpawnSpec(argv=("setsid", "sleep", "600")))
    pid = guest._launched.init_pid
    if wait:
        await guest.freeze()
    print(json.dumps({"tier": machine.tier.name, "pid": pid}), flush=True)
    if wait:
        await asyncio.Event().wait()
    await machine.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=[tier.name for tier in HERE])
def isolation(request):
    return request.param


def start_server(*arguments: str, under: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*under, sys.executable, "-c", SERVER, *arguments],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(filter(None, [str(REPOSITORY), *sys.path]))},
    )


def read_status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


# --- In each of them -------------------------------------------------------------------------


async def test_a_sandbox_has_no_right_on_the_host(machine, guest, isolation):
    """In what was asked for, and no other; and each is another user there."""
    assert machine.tier.name == isolation
    assert machine.tier.boundary
    await sh(guest, "sleep 600 >/dev/null 2>&1 & disown")
    other = await machine.boot("other")
    owners = []
    for one in (guest, other):
        for pid in family(one._launched.init_pid):
            status = read_status(pid)
            assert {int(status[name], 16) for name in RIGHTS} == {0}
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            owners.append((one.sandbox_id, *status["Uid"].split(), *status["Gid"].split()))
            assert status["Groups"].strip() == "" or not machine.tier.as_root

    assert len(owners) == 3
    if machine.tier.as_root:
        assert {uid for _, *ids in owners for uid in ids}.isdisjoint({"0", "65534"})
        assert len({uid for _, *ids in owners for uid in ids}) == 2


async def test_its_user_has_a_name_and_owns_its_files(guest):
    """Whatever number the host knows it by."""
    assert (
        await sh(guest, "whoami; touch ~/f /workspace/f /tmp/f; stat -c %U ~/f") == "user\nuser\n"
    )

    entry = await guest.stat("/home/user/f")
    assert (entry.owner, entry.group) == ("user", "user")
    assert await sh(
        guest, "python3 -c 'import os, pwd; print(pwd.getpwuid(os.getuid()).pw_dir)'"
    ) == ("/home/user\n")


async def test_programs_terminals_and_ports_work(guest):
    """What a sandbox is for."""
    spec = SpawnSpec(argv=("/bin/bash", "-c", "tty; stty size; exit 3"), pty=PtySize(80, 24))
    shown = await finish(await guest.spawn(spec))
    assert (shown.code, shown.out) == (3, b"/dev/pts/0\r\n24 80\r\n")
    told = await run(guest, "/bin/bash", "-c", "echo told > /dev/stderr; cat <(echo piped)")
    assert (told.out, told.err) == (b"piped\n", b"told\n")

    serve = "import socket; s = socket.create_server(('127.0.0.1', 8000)); print(flush=True)\n"
    serve += "s.accept()[0].sendall(b'served')"
    server = await guest.spawn(SpawnSpec(argv=("python3", "-c", serve)))
    async with asyncio.timeout(30):
        while True:
            try:
                connection = await guest.connect(8000)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0)
    assert await asyncio.get_running_loop().sock_recv(connection, 10) == b"served"
    connection.close()
    await finish(server)


async def test_it_stands_still_is_kept_and_goes(machine, guest, state_dir):
    """Frozen, shelved and started again it has its files; killed it leaves nothing."""
    await sh(guest, "echo kept | tee ~/f > /tmp/f")
    await guest.freeze()
    await guest.thaw()
    await machine.shelve("one")
    again = await machine.boot("one")
    assert await sh(again, "cat ~/f /tmp/f") == "kept\nkept\n"

    pids = Watched(family(again._launched.init_pid))
    await again.kill()
    assert pids.left() == []
    assert list(state_dir.glob("machine-*/sandboxes/*")) == []


async def test_all_of_it_ends_with_a_server_that_is_killed(state_dir, isolation):
    """Even a sandbox whose agent cannot notice, because it is frozen."""
    with start_server(str(state_dir), isolation, "wait") as server:
        assert server.stdout is not None
        told = json.loads(await asyncio.to_thread(server.stdout.readline))
        assert told["tier"] == isolation
        pids = Watched(family(told["pid"]))
        assert len(pids) == 2
        server.kill()

    assert await asyncio.to_thread(pids.left_after, 20) == []


@pytest.mark.needs("root")
@pytest.mark.parametrize("isolation", ["bwrap-no-userns"])
async def test_root_filesystems_are_refused_where_there_are_none(machine, small_root):
    """Half of one would be worse than none. In the others `test_escapes` runs in them."""
    with pytest.raises(IsolationUnavailableError) as refused:
        await machine.prepare_images([Image(small_root, 2_000_000)])

    assert machine.tier.name in refused.value.cause
    assert "user namespaces" in refused.value.fix


# --- Which of them is taken ------------------------------------------------------------------


@pytest.fixture
def denying_bwrap(tmp_path: Path, state_dir: Path) -> Path:
    """A bubblewrap that only root may use, as where the system's policy restricts others."""
    candidates = bubblewrap.find_candidates(None)
    program = state_dir / "bwrap"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$(id -u)" = 0 ] || { echo "bwrap: setting up uid map: Permission denied" >&2\n'
        "exit 1; }\n"
        f'exec {candidates[0].program} "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.needs("root")
async def test_the_next_best_is_taken_where_the_best_is_denied(state_dir, denying_bwrap, caplog):
    """And the log says what was not to be had."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, bwrap=denying_bwrap))
    guest = await machine.boot("one")

    assert machine.tier.name == "bwrap-given-userns"
    assert await sh(guest, "id -u") == "1000\n"
    assert "bwrap-host-uid does not work here: bwrap: setting up uid map" in caplog.text
    await machine.close()


@pytest.mark.needs("root")
async def test_a_better_one_that_is_named_is_not_replaced(state_dir, denying_bwrap):
    """Never less than what was asked for."""
    config = MachineConfig(state_dir=state_dir, bwrap=denying_bwrap, isolation="bwrap-host-uid")
    with pytest.raises(IsolationUnavailableError) as refused:
        await Machine.start(config)

    assert "Permission denied" in refused.value.cause
    assert "apparmor" in refused.value.fix
    assert set(names_in(state_dir)) == {".lock", "bwrap"}


@pytest.mark.needs("root")
@pytest.mark.parametrize("isolation", ["auto", "bwrap-no-userns"])
async def test_root_isolates_without_user_namespaces(state_dir, isolation):
    """On a host where they are switched off for everybody."""
    with start_server(
        str(state_dir), isolation, under=(sys.executable, str(WITHOUT_USERNS))
    ) as server:
        told, _ = await asyncio.to_thread(server.communicate)

    assert json.loads(told)["tier"] == "bwrap-no-userns"


@pytest.mark.needs("root")
@pytest.mark.parametrize("isolation", ["bwrap-host-uid", "bwrap-given-userns"])
async def test_what_needs_user_namespaces_is_refused_without_them(state_dir, isolation):
    """With the switch that forbids them."""
    with start_server(
        str(state_dir), isolation, under=(sys.executable, str(WITHOUT_USERNS))
    ) as server:
        told, _ = await asyncio.to_thread(server.communicate)

    assert "max_user_namespaces" in json.loads(told)["fix"]


async def test_a_diagnosis_names_the_one_that_is_used(state_dir, isolation):
    """For whoever must judge what it is worth."""
    config = MachineConfig(state_dir=state_dir, isolation=isolation)
    found = {finding.name: finding for finding in await diagnose(config)}

    assert found["isolation"].ok
    assert found["isolation"].detail.startswith(f"{isolation}: ")
