"""What keeps a sandbox in, and what it sees of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.tiers.tier import HOST_UID, OWN_USER
from tests.integration.machine_bench import run, sh


def read_status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


async def test_the_tier_is_that_of_the_user(machine):
    """Whoever operates it must be able to tell what holds."""
    assert machine.tier == (HOST_UID if os.geteuid() == 0 else OWN_USER)


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
        *("cat /etc/shadow", "ls /var/lib", "ls /sys/class", "touch /sys/x"),
        *("cat /proc/1/environ", "ls /proc/1/fd"),
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
    told = (await sh(guest, "cd /proc && cut -d' ' -f1 [0-9]*/stat")).split()
    assert str(os.getpid()) not in told


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
