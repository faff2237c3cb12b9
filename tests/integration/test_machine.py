"""Real sandboxes: what they keep in, what they keep out, and that nothing of them stays.

They run as whoever runs the tests: as an ordinary user, or as root with host uids.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    BootSpec,
    Guest,
    GuestLostError,
    GuestOSError,
    GuestProcess,
    IsolationUnavailableError,
    Machine,
    MachineConfig,
    PtySize,
    SpawnRefusedError,
    SpawnSpec,
    diagnose,
)
from sandbox_service.e2b_local.machine.machine import TIER_HOST_UID, TIER_OWN_USER
from sandbox_service.e2b_local.machine.process_tree import measure_tree

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it said."""

    status: int
    out: bytes
    err: bytes

    @property
    def code(self) -> int:
        return os.waitstatus_to_exitcode(self.status)


@pytest.fixture
def state_dir():
    """A folder that other uids can pass, as root needs it."""
    # pytest's own temporary folders are closed to them.
    path = Path(tempfile.mkdtemp(prefix="machine-test-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def machine(state_dir):
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    yield machine
    await machine.close()


@pytest.fixture
async def guest(machine):
    return await machine.boot("one")


async def read_all(descriptor: int) -> bytes:
    """Read a non-blocking descriptor to its end, and close it."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    try:
        while True:
            try:
                part = os.read(descriptor, 65536)
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_reader(descriptor, ready.set_result, None)
                await ready
                loop.remove_reader(descriptor)
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # A terminal that nobody holds any more.
                    raise
                break
            if not part:
                break
            parts.append(part)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return b"".join(parts)


async def finish(process: GuestProcess) -> Outcome:
    if process.pty is not None:
        return Outcome(await process.exit, await read_all(process.pty), b"")
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = await asyncio.gather(read_all(process.stdout), read_all(process.stderr))
    return Outcome(await process.exit, out, err)


async def run(guest: Guest, *argv: str, **spec) -> Outcome:
    return await finish(await guest.spawn(SpawnSpec(argv=argv, **spec)))


async def sh(guest: Guest, command: str, **spec) -> str:
    """Run a shell command that must succeed and be silent on stderr."""
    outcome = await run(guest, "/bin/bash", "-l", "-c", command, **spec)
    assert (outcome.code, outcome.err) == (0, b"")
    return outcome.out.decode()


async def read_line(descriptor: int) -> bytes:
    """Read the first line of a pipe that stays open."""
    line = b""
    loop = asyncio.get_running_loop()
    while not line.endswith(b"\n"):
        ready = loop.create_future()
        loop.add_reader(descriptor, ready.set_result, None)
        await ready
        loop.remove_reader(descriptor)
        line += os.read(descriptor, 1)
    return line


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def left_of_sandboxes(state_dir: Path) -> list[Path]:
    return list(state_dir.glob("machine-*/sandboxes/*"))


def exists(path: Path | str) -> bool:
    return Path(path).exists()


def read_status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


async def gone(pid: int) -> None:
    """Wait until a process of the host has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(descriptor, ended.set_result, None)
    await asyncio.wait_for(ended, 20)
    loop.remove_reader(descriptor)
    os.close(descriptor)


# --- What keeps it in -------------------------------------------------------------------


async def test_the_tier_is_that_of_the_user(machine):
    """Whoever operates it must be able to tell what holds."""
    assert machine.tier == (TIER_HOST_UID if os.geteuid() == 0 else TIER_OWN_USER)


async def test_a_program_has_no_privilege(guest):
    """No capability, no way to get one, and a filter on its calls."""
    status = dict(
        line.split(":\t", 1) for line in (await sh(guest, "cat /proc/self/status")).splitlines()
    )

    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split() == ["1000"] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user keeps the groups it has")
async def test_root_gives_each_sandbox_a_user_of_its_own(machine, guest):
    """With root's uid or groups behind it, a hole would be the host's root."""
    other = await machine.boot("other")
    owners = set()
    for one in (guest, other):
        fields = read_status(one._launched.init_pid)
        owners.add(fields["Uid"].split()[0])
        assert fields["Groups"].strip() == ""

    assert len(owners) == 2
    assert "0" not in owners


@pytest.mark.parametrize(
    "command",
    [
        *("cat /etc/shadow", "ls /var/lib", "ls /sys", "cat /proc/1/environ", "ls /proc/1/fd"),
        *("cat /proc/1/mem", "cat /proc/kallsyms", "touch /usr/x", "touch /x", "touch /etc/x"),
        *("echo 1 > /proc/sys/kernel/core_pattern", "mount -t tmpfs t /tmp", "unshare -U true"),
        *("mknod /tmp/n c 1 3", "chown 0 /home/user", "chroot / true", "touch /dev/x"),
    ],
)
async def test_what_a_sandbox_must_not_do_fails(guest, command):
    """Each of these is a step of an escape, or a look at the host."""
    outcome = await run(guest, "/bin/bash", "-c", command)

    assert outcome.code != 0


async def test_it_sees_no_process_but_its_own(guest):
    """Processes of the host have command lines with secrets in them."""
    pids = (await sh(guest, "cd /proc && echo [0-9]*")).split()

    assert len(pids) <= 3
    assert str(os.getpid()) not in (await sh(guest, "cat /proc/[0-9]*/stat"))


async def test_nothing_of_the_servers_environment_comes_in(guest, monkeypatch):
    """The server's environment holds its keys."""
    monkeypatch.setenv("E2B_API_KEY", "secret-of-the-server")

    assert "secret-of-the-server" not in await sh(guest, "env")


async def test_it_has_a_loopback_and_no_other_network(guest):
    """Neither the internet nor the host's own services can be reached."""
    script = (
        "import socket, errno\n"
        "for a in ('1.1.1.1', '169.254.169.254'):\n"
        "    try: socket.create_connection((a, 80), 2)\n"
        "    except OSError as e: print(errno.errorcode[e.errno])\n"
        "print(socket.if_nameindex())\n"
        "for family in (40, 38, 17):\n"
        "    try: socket.socket(family, 3)\n"
        "    except OSError as e: print(errno.errorcode[e.errno])\n"
    )
    outcome = await run(guest, "python3", "-c", script)

    lines = outcome.out.decode().split("\n")
    assert lines[:3] == ["ENETUNREACH", "ENETUNREACH", "[(1, 'lo')]"]
    assert lines[3:6] == ["EAFNOSUPPORT"] * 3


async def test_two_sandboxes_share_nothing(machine, guest):
    """One tenant's files and ports are not another's."""
    other = await machine.boot("other")
    await sh(guest, "echo mine > /workspace/file; echo mine > /tmp/file; echo mine > ~/file")

    assert await sh(other, "ls /workspace /tmp ~") == "/home/user:\n\n/tmp:\n\n/workspace:\n"


async def test_pid_1_survives_its_own_programs(guest):
    """A sandbox must not be able to end its supervision and live on."""
    await run(guest, "/bin/bash", "-c", "kill -9 1; kill -STOP 1; kill -9 -1")

    assert await sh(guest, "echo alive") == "alive\n"


# --- Limits -----------------------------------------------------------------------------


async def test_a_fork_bomb_stays_in_its_sandbox(state_dir):
    """The neighbours do not notice, the caller learns why, and it can still be ended."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, process_limit=40))
    victim, neighbour = await machine.boot("victim"), await machine.boot("neighbour")
    bomb = await victim.spawn(
        SpawnSpec(argv=("/bin/bash", "-c", "while sleep 600 & do :; done 2>/dev/null; sleep 600"))
    )
    refusal = None
    while refusal is None:
        try:
            await finish(await victim.spawn(SpawnSpec(argv=("/bin/true",))))
        except SpawnRefusedError as error:
            refusal = error

    assert refusal.kind == "resources"
    assert measure_tree(victim._launched.init_pid).process_count <= 40
    assert await sh(neighbour, "echo fine") == "fine\n"
    assert await victim.signal(bomb.pid, signal.SIGKILL)
    assert os.WTERMSIG(await bomb.exit) == signal.SIGKILL
    bomb.close()
    await machine.close()


async def test_memory_file_systems_are_full_at_their_size(state_dir):
    """Files in them are memory of the host."""
    size = 4 * 1024**2
    config = MachineConfig(
        state_dir=state_dir, tmp_size_bytes=size, shm_size_bytes=size, home_size_bytes=size
    )
    machine = await Machine.start(config)
    guest = await machine.boot("one")
    for folder in ("/tmp", "/dev/shm", "/home/user", "/workspace"):
        command = f"head -c {size * 2} /dev/zero > {folder}/f; stat -c %s {folder}/f"
        outcome = await run(guest, "/bin/bash", "-c", command)
        assert int(outcome.out) <= size, folder
        assert b"No space left" in outcome.err, folder
    await machine.close()


async def test_one_file_has_a_largest_size(state_dir):
    """The one limit on the disk that needs no help from the file system."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, file_size_limit_bytes=10_000))
    guest = await machine.boot("one")
    outcome = await run(guest, "/bin/bash", "-c", "head -c 20000 /dev/zero > f; stat -c %s f")

    assert outcome.out == b"10000\n"
    await machine.close()


async def test_usage_counts_what_runs(guest):
    """Status shows it to callers."""
    before = await guest.usage()
    process = await guest.spawn(
        SpawnSpec(
            argv=("python3", "-c", "x = bytearray(40_000_000); print(1, flush=True); input()"),
            stdin=True,
        )
    )
    assert process.stdout is not None
    await read_line(process.stdout)
    during = await guest.usage()

    assert before.process_count == 1
    assert during.process_count == 2
    assert during.memory_rss_bytes - before.memory_rss_bytes > 40_000_000
    assert during.cpu_seconds >= before.cpu_seconds
    assert 0 < during.memory_rss_bytes < during.memory_total_bytes
    assert 0 <= during.disk_used_bytes < during.disk_total_bytes
    process.close()


# --- Programs ---------------------------------------------------------------------------


async def test_a_login_shell_is_quiet_and_finds_what_people_type(guest):
    """Whatever the SDK runs, it runs in a login shell."""
    found = await sh(guest, "command -v python python3 sudo bash; python -c 'print(6 * 7)'")

    assert len(found.splitlines()) == 5
    assert found.endswith("42\n")
    assert await sh(guest, "sudo whoami; pwd; echo $HOME $USER") == (
        "user\n/home/user\n/home/user user\n"
    )


async def test_root_is_a_name_with_a_home(guest):
    """Templates expect it; it has no more power."""
    assert await sh(guest, "pwd; echo $HOME $USER; touch x; id -u", user="root") == (
        "/root\n/root root\n1000\n"
    )


async def test_output_is_exact(guest):
    """Bytes are bytes, whatever they mean in any encoding."""
    command = "head -c 5000000 /dev/urandom | tee /tmp/copy; sha256sum < /tmp/copy >&2"
    outcome = await run(guest, "/bin/bash", "-c", command)

    assert len(outcome.out) == 5_000_000
    assert outcome.err.split()[0].decode() == hashlib.sha256(outcome.out).hexdigest()


async def test_input_is_exact_and_its_end_is_seen(guest):
    """A program that reads to the end must get there."""
    process = await guest.spawn(SpawnSpec(argv=("sha256sum",), stdin=True))
    data = bytes(range(256)) * 200
    assert process.stdin is not None
    assert os.write(process.stdin, data) == len(data)
    os.close(process.stdin)

    outcome = await finish(process)
    assert outcome.out.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_without_input_there_is_none(guest):
    """Not the server's terminal, and nothing to wait for."""
    assert (await run(guest, "cat")).out == b""


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
async def test_an_end_is_told_as_it_was(guest, command, code):
    """A signal is not an exit code of 137."""
    assert (await run(guest, "/bin/bash", "-c", command)).code == code


async def test_an_exit_is_told_while_others_hold_the_pipes(guest):
    """The caller decides how long to wait for what a child left behind."""
    process = await guest.spawn(SpawnSpec(argv=("/bin/bash", "-c", "sleep 600 & exit 3")))

    assert os.waitstatus_to_exitcode(await process.exit) == 3
    process.close()


async def test_piped_programs_stay_in_the_agents_session(guest):
    """As in envd: `setsid` then execs in place and keeps its pid."""
    command = "ps -o pid=,sid=,pgid= -p $$; true"
    process = await guest.spawn(SpawnSpec(argv=("setsid", "/bin/bash", "-c", command)))

    assert (await finish(process)).out.split() == [str(process.pid).encode()] * 3


async def test_a_terminal_is_a_terminal(guest):
    """With a size, a session, and a signal when the size changes."""
    command = "trap 'stty size; exit 5' WINCH; tty; stty size; echo ready; while :; do read; done"
    process = await guest.spawn(
        SpawnSpec(argv=("/bin/bash", "-c", command), pty=PtySize(cols=120, rows=40))
    )
    assert process.pty is not None
    lines = [await read_line(process.pty) for _ in range(3)]
    assert lines == [b"/dev/pts/0\r\n", b"40 120\r\n", b"ready\r\n"]
    fcntl.ioctl(process.pty, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 90, 0, 0))
    os.write(process.pty, b"\n")
    outcome = await finish(process)

    assert b"50 90" in outcome.out
    assert outcome.code == 5


async def test_signals_reach_one_process_or_a_group(guest):
    """And it is told when there is nobody to signal."""
    process = await guest.spawn(
        SpawnSpec(argv=("setsid", "/bin/bash", "-c", "sleep 600 & echo $!; wait"))
    )
    assert process.stdout is not None
    child = int(await read_line(process.stdout))
    assert await guest.signal(process.pid, signal.SIGTERM, group=True)
    assert os.WTERMSIG(await process.exit) == signal.SIGTERM
    await finish(process)

    assert not await guest.signal(process.pid, signal.SIGTERM)
    assert not await guest.signal(child, 0)
    with pytest.raises(GuestOSError):
        await guest.signal(-1, signal.SIGKILL)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"argv": ("true",), "cwd": "/missing"}, "cwd"),
        ({"argv": ("true",), "cwd": "/etc/passwd"}, "cwd"),
        ({"argv": ("true",), "user": "somebody"}, "user"),
        ({"argv": ("no-such-program",)}, "exec"),
        ({"argv": ("/etc/passwd",)}, "exec"),
        ({"argv": ("/bin/echo", "x" * 200_000)}, "exec"),
        ({"argv": ("nul\0",)}, "exec"),
        ({"argv": ()}, "exec"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_start_is_refused_with_a_kind(guest, spec, kind):
    """The caller is told what to change; nothing is left of the attempt."""
    before = count_descriptors()
    with pytest.raises(SpawnRefusedError) as caught:
        await guest.spawn(SpawnSpec(**spec))

    assert caught.value.kind == kind
    assert count_descriptors() == before


async def test_an_argument_may_be_as_long_as_the_kernel_allows(guest):
    """Far longer than one message to the agent."""
    outcome = await run(guest, "/bin/echo", "-n", "x" * 120_000, env={"LONG": "y" * 120_000})

    assert len(outcome.out) == 120_000


async def test_a_script_without_a_shebang_runs_as_in_a_shell(guest):
    """The kernel does not know it; shells and envd do."""
    await sh(guest, "echo 'echo from $1' > script; chmod +x script")

    assert (await run(guest, "./script", "here")).out == b"from here\n"


async def test_the_standard_streams_can_be_opened_by_name(guest):
    """`> /dev/stderr` opens the pipe anew, which the owner of the pipe alone may."""
    outcome = await run(guest, "/bin/sh", "-c", "echo e > /dev/stderr; echo o > /dev/stdout")

    assert (outcome.out, outcome.err, outcome.code) == (b"o\n", b"e\n", 0)


async def test_two_hundred_programs_at_once_all_finish(guest):
    """And every one of them gets its own output."""
    outcomes = await asyncio.gather(
        *(run(guest, "/bin/sh", "-c", f"sleep 0.2; echo {number}") for number in range(200))
    )

    assert [int(outcome.out) for outcome in outcomes] == list(range(200))


async def test_a_cancelled_start_leaves_no_program(guest):
    """The caller has gone and will never learn its pid."""
    for _ in range(20):
        starting = asyncio.ensure_future(guest.spawn(SpawnSpec(argv=("sleep", "600"))))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    await sh(guest, "while pgrep sleep >/dev/null; do :; done")


async def test_orphans_are_reaped(guest):
    """Zombies would count against the limit of processes."""
    await sh(guest, "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0.05' >/dev/null & done")
    waiting = "while [ $(ls -d /proc/[0-9]* | wc -l) -gt 4 ]; do :; done"
    await sh(guest, f"{waiting}; ! grep -q 'State:.Z' /proc/[0-9]*/status")


# --- Files and connections --------------------------------------------------------------


async def test_files_are_opened_as_the_sandbox_sees_them(guest):
    """A link to the host's secrets leads to the sandbox's own folders."""
    await sh(guest, "ln -s /etc/shadow secret; ln -s /etc/passwd names")
    with pytest.raises(GuestOSError) as caught:
        await guest.open("/home/user/secret", os.O_RDONLY)
    descriptor = await guest.open("/home/user/names", os.O_RDONLY)
    text = os.read(descriptor, 10_000).decode()
    os.close(descriptor)

    assert caught.value.errno == errno.ENOENT
    assert text.startswith("root:x:0:0:root:/root:")
    assert "user:x:1000:" in text


@pytest.mark.parametrize("path", ["/tmp/fifo", "/dev/zero", "/dev/tty"])
async def test_what_could_make_the_server_wait_is_not_opened(guest, path):
    """A pipe that nobody writes to would hold a thread of the server for ever."""
    await sh(guest, "mkfifo /tmp/fifo")
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with pytest.raises(GuestOSError) as caught:
            await asyncio.wait_for(guest.open(path, flags), 5)
        assert caught.value.errno in (errno.ENODEV, errno.ENXIO)


async def test_the_agents_memory_cannot_be_written_through_it(guest):
    """It would open its own `/proc/self/mem` with its own rights."""
    with pytest.raises(GuestOSError):
        await guest.open("/proc/self/mem", os.O_RDWR)


async def test_files_written_from_outside_belong_to_the_sandbox(guest):
    """Its programs must be able to change and remove them."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    descriptor = await guest.open("/workspace/new", flags, 0o666)
    data = bytes(range(256)) * 1000
    os.write(descriptor, data)
    os.close(descriptor)

    digest = hashlib.sha256(data).hexdigest()
    assert (await sh(guest, "sha256sum /workspace/new")).split()[0] == digest
    assert await sh(guest, "stat -c %U:%a /workspace/new; rm /workspace/new") == "user:644\n"


async def test_entries_tell_links_owners_and_modes(guest):
    """All that envd's EntryInfo is made of."""
    await sh(guest, "mkdir -p d/e; echo abc > d/f; chmod 640 d/f; ln -s f d/l; ln -s no d/x")
    entries = {entry.path: entry for entry in await guest.list_dir("/home/user/d", depth=2)}

    assert list(entries) == [f"/home/user/d/{name}" for name in "eflx"]
    file, link, dangling = (entries[f"/home/user/d/{name}"] for name in "flx")
    assert (file.name, file.size, file.owner, file.group) == ("f", 4, "user", "user")
    assert stat.S_IMODE(file.mode) == 0o640
    assert file.target_mode == file.mode
    assert link.symlink_target == "f"
    assert stat.S_ISLNK(link.mode)
    assert link.target_mode == file.mode
    assert (dangling.symlink_target, dangling.target_mode) == ("no", None)
    assert (await guest.stat("/usr")).owner == "nobody"


async def test_a_listing_goes_as_deep_as_asked_and_through_no_link(guest):
    """A loop of links would never end."""
    await sh(guest, "mkdir -p a/b/c; ln -s . a/loop; ln -s a top")

    assert [entry.path for entry in await guest.list_dir("/home/user/top", depth=2)] == [
        "/home/user/top/b",
        "/home/user/top/b/c",
        "/home/user/top/loop",
    ]


async def test_a_listing_of_many_files_arrives_whole(guest):
    """It is far longer than a message."""
    await sh(guest, "mkdir many; cd many; for i in $(seq 5000); do : > file-$i; done")

    entries = await guest.list_dir("/home/user/many")

    assert {entry.name for entry in entries} == {f"file-{number}" for number in range(1, 5001)}


async def test_folders_are_made_with_their_parents(guest):
    """And it is told whether there was one."""
    assert await guest.make_dir("/workspace/a/b")
    assert not await guest.make_dir("/workspace/a/b")
    await sh(guest, "touch /workspace/file")
    for path in ("/workspace/file", "/workspace/file/below"):
        with pytest.raises(GuestOSError) as caught:
            await guest.make_dir(path)
        assert caught.value.errno == errno.ENOTDIR


async def test_a_move_crosses_file_systems(guest):
    """Home and `/tmp` are two of them here, and one in E2B."""
    await sh(guest, "mkdir -p from/sub; echo x > from/sub/f; chmod 750 from/sub")
    await guest.move("/home/user/from", "/tmp/new/to")

    assert await sh(guest, "cat /tmp/new/to/sub/f; stat -c %a /tmp/new/to/sub; ls ~") == "x\n750\n"
    with pytest.raises(GuestOSError) as caught:
        await guest.move("/home/user/from", "/tmp/again")
    assert caught.value.errno == errno.ENOENT


async def test_removal_is_whole_and_idempotent(guest):
    """A link is removed, not what it leads to."""
    await sh(guest, "mkdir -p d/e keep; touch d/e/f keep/f; ln -s ~/keep d/link")
    await guest.remove("/home/user/d")
    await guest.remove("/home/user/d")

    assert await sh(guest, "find ~ -type f; ls ~") == "/home/user/keep/f\nkeep\n"


async def test_modes_can_be_set(guest):
    """SyncFiles keeps them."""
    await sh(guest, "touch f")
    await guest.chmod("/home/user/f", 0o751)

    assert await sh(guest, "stat -c %a f") == "751\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
async def test_a_port_inside_can_be_reached(guest, address):
    """Previews are made of this; no port of the host is opened."""
    script = (
        "import socket, sys\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "server = socket.create_server((sys.argv[1], 0), family=family)\n"
        "print(server.getsockname()[1], flush=True)\n"
        "peer, _ = server.accept()\n"
        "peer.sendall(peer.recv(100).upper())\n"
    )
    process = await guest.spawn(SpawnSpec(argv=("python3", "-c", script, address)))
    assert process.stdout is not None
    port = int(await read_line(process.stdout))
    connection = await guest.connect(port)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"hello")
    answer = await loop.sock_recv(connection, 100)
    connection.close()
    await finish(process)

    assert answer == b"HELLO"
    with pytest.raises(ConnectionRefusedError):
        await guest.connect(port)


# --- The end ----------------------------------------------------------------------------


async def test_a_killed_sandbox_leaves_nothing(machine, state_dir):
    """No process, no folder, no descriptor; and its id can be used again."""
    before = count_descriptors()
    for _ in range(5):
        guest = await machine.boot("again", BootSpec(hostname="box"))
        assert await sh(guest, "hostname") == "box\n"
        init = guest._launched.init_pid
        process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
        await guest.kill()
        await guest.kill()

        assert not exists(f"/proc/{init}")
        assert await guest.ended == "it was killed"
        with pytest.raises(GuestLostError):
            await process.exit
        with pytest.raises(GuestLostError):
            await guest.spawn(SpawnSpec(argv=("true",)))
        process.close()

    assert count_descriptors() == before
    assert left_of_sandboxes(state_dir) == []


async def test_whoever_waits_learns_that_a_sandbox_died(guest):
    """It may be the host that ends it, out of memory."""
    process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    os.kill(guest._launched.init_pid, signal.SIGKILL)

    assert "agent" in await asyncio.wait_for(guest.ended, 10)
    with pytest.raises(GuestLostError):
        await process.exit
    process.close()


async def test_a_closed_machine_leaves_an_empty_folder(state_dir):
    """Whatever its sandboxes wrote."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    guests = await asyncio.gather(*(machine.boot(f"box-{number}") for number in range(5)))
    await sh(guests[0], "mkdir -p a/b; touch a/b/f; chmod 0 a/b a")
    await machine.close()

    assert names_in(state_dir) == [".lock"]
    assert all(guest.ended.done() for guest in guests)


SERVER = """
import asyncio, sys
from pathlib import Path
from sandbox_service.e2b_local.machine import Machine, MachineConfig, SpawnSpec

async def main():
    machine = await Machine.start(MachineConfig(state_dir=Path(sys.argv[1])))
    guest = await machine.boot("orphan")
    await guest.spawn(SpawnSpec(argv=("setsid", "sleep", "600")))
    print(guest._launched.init_pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start_server(state_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(state_dir)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(filter(None, [str(REPOSITORY), *sys.path]))},
    )


async def test_a_killed_server_takes_its_sandboxes_along(state_dir):
    """Nobody else would end them; the next server removes their folders."""
    first = await Machine.start(MachineConfig(state_dir=state_dir))
    survivor = await first.boot("survivor")
    with start_server(state_dir) as server:
        assert server.stdout is not None
        init = int(await asyncio.to_thread(server.stdout.readline))
        (left,) = (path for path in left_of_sandboxes(state_dir) if path.name == "orphan")
        server.kill()
    await gone(init)
    second = await Machine.start(MachineConfig(state_dir=state_dir))

    assert not exists(left)
    assert await sh(survivor, "echo alive") == "alive\n"
    await first.close()
    await second.close()


# --- Machines that cannot ---------------------------------------------------------------


@pytest.mark.parametrize("program", ["/nowhere/bwrap", "/bin/true", "/bin/cat"])
async def test_a_machine_that_cannot_isolate_does_not_start(state_dir, program):
    """Never with less, and never without saying what to do."""
    before = count_descriptors()
    with pytest.raises(IsolationUnavailableError) as caught:
        await Machine.start(MachineConfig(state_dir=state_dir, bwrap=Path(program)))

    assert program in caught.value.cause
    assert caught.value.fix
    assert names_in(state_dir) == [".lock"]
    assert count_descriptors() == before


async def test_a_diagnosis_names_every_part_and_proves_the_whole(state_dir):
    """What `doctor` prints on a machine where sandboxes run."""
    findings = await diagnose(MachineConfig(state_dir=state_dir))

    assert [finding.name for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} == {
        *("bubblewrap", "user namespaces", "system call filter", "state folder", "limits"),
        "isolation",
    }


async def test_a_diagnosis_of_a_machine_that_cannot_says_what_to_do(state_dir):
    """It must not fail where it is needed."""
    config = MachineConfig(state_dir=state_dir, bwrap=Path("/nowhere/bwrap"))
    failed = {finding.name: finding for finding in await diagnose(config) if not finding.ok}

    assert set(failed) == {"bubblewrap", "isolation"}
    assert all(finding.fix for finding in failed.values())
