"""The system call filter, run by an interpreter of classic BPF."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.tiers import seccomp

X86_64 = seccomp.ARCHITECTURES["x86_64"]
AARCH64 = seccomp.ARCHITECTURES["aarch64"]
CLONE_NEWUSER = 0x10000000
CLONE_THREAD_FLAGS = 0x3D0F00


def judge(machine: str, call: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter on one call, as the kernel would."""
    program = seccomp.build_program(machine)
    instructions = list(struct.iter_unpack("=HBBI", program))
    padded = [*arguments, *[0] * (6 - len(arguments))]
    if audit is None:
        audit = seccomp.ARCHITECTURES[machine].audit
    data = struct.pack("=IIQ6Q", call, audit, 0, *padded)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, constant = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == 0x06:
            return constant
        else:
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x45: bool(accumulator & constant),
            }[code]
            at += if_true if holds else if_false


both = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


@both
@pytest.mark.parametrize("name", ["unshare", "setns", "mount", "bpf", "keyctl", "pivot_root"])
def test_calls_that_a_sandbox_has_no_use_for_are_not_permitted(machine, name):
    """These reach the parts of the kernel that most holes were found in."""
    number = seccomp.ARCHITECTURES[machine].calls[name]

    assert judge(machine, number) == seccomp.fail_with(errno.EPERM)


@both
@pytest.mark.parametrize("name", ["clone3", "io_uring_setup", "fsopen", "open_tree_attr"])
def test_calls_with_an_older_way_do_not_exist(machine, name):
    """ENOSYS makes programs fall back; EPERM on clone3 would break every thread."""
    number = seccomp.ARCHITECTURES[machine].calls[name]

    assert judge(machine, number) == seccomp.fail_with(errno.ENOSYS)


@both
def test_ordinary_calls_pass(machine):
    """The filter must not be in the way of programs: read, write, execve, futex, ptrace."""
    ordinary = {"x86_64": (0, 1, 59, 202, 101), "aarch64": (63, 64, 221, 98, 117)}

    for number in ordinary[machine]:
        assert judge(machine, number) == seccomp.ALLOW


@both
def test_clone_makes_threads_but_no_namespaces(machine):
    """The flags of clone are the same as those of unshare."""
    clone = seccomp.ARCHITECTURES[machine].calls["clone"]

    assert judge(machine, clone, CLONE_THREAD_FLAGS) == seccomp.ALLOW
    assert judge(machine, clone, CLONE_NEWUSER | 17) == seccomp.fail_with(errno.EPERM)


@both
@pytest.mark.parametrize(("family", "allowed"), [(1, True), (2, True), (10, True), (16, True)])
def test_sockets_of_the_network_namespace_are_allowed(machine, family, allowed):
    """Unix, IPv4, IPv6 and netlink are what programs use."""
    number = seccomp.ARCHITECTURES[machine].calls["socket"]

    assert (judge(machine, number, family) == seccomp.ALLOW) is allowed


@both
@pytest.mark.parametrize("name", ["socket", "socketpair"])
@pytest.mark.parametrize("family", [40, 38, 17, 44])
def test_sockets_that_leave_the_network_namespace_are_refused(machine, family, name):
    """A vsock reaches the hypervisor; ALG, PACKET and XDP are kernel attack surface."""
    number = seccomp.ARCHITECTURES[machine].calls[name]

    assert judge(machine, number, family) == seccomp.fail_with(errno.EAFNOSUPPORT)


@both
@pytest.mark.parametrize("request_number", [0x5412, 0x541C])
def test_nobody_types_into_a_terminal(machine, request_number):
    """TIOCSTI puts characters into the input of whoever holds the terminal."""
    ioctl = seccomp.ARCHITECTURES[machine].calls["ioctl"]

    assert judge(machine, ioctl, 0, request_number) == seccomp.fail_with(errno.EPERM)
    assert judge(machine, ioctl, 0, 0x5413) == seccomp.ALLOW


@both
def test_a_debugger_may_switch_randomisation_off(machine):
    """Other personalities are compatibility code that nobody needs."""
    personality = seccomp.ARCHITECTURES[machine].calls["personality"]

    assert judge(machine, personality, 0x40000) == seccomp.ALLOW
    assert judge(machine, personality, 0x5) == seccomp.fail_with(errno.EPERM)


def test_another_architecture_is_killed():
    """A 32-bit program numbers its calls otherwise and would pass unseen."""
    assert judge("x86_64", 0, audit=0x40000003) == seccomp.KILL
    assert judge("aarch64", 0, audit=X86_64.audit) == seccomp.KILL


@pytest.mark.parametrize("number", [seccomp.HIGHEST_KNOWN_CALL + 1, 0x40000000, 0x40000000 + 56])
def test_calls_that_this_file_does_not_know_do_not_exist(number):
    """Neither tomorrow's calls nor the x32 table slip through."""
    assert judge("x86_64", number) == seccomp.fail_with(errno.ENOSYS)


def test_an_unknown_processor_has_no_filter():
    """No filter is better than a wrong one: the machine then refuses to start."""
    with pytest.raises(KeyError):
        seccomp.build_program("m68k")


@pytest.mark.parametrize(
    ("architecture", "header", "pattern"),
    [
        (X86_64, "x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)"),
        (AARCH64, "asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
    ],
    ids=["x86_64", "aarch64"],
)
def test_numbers_are_those_of_the_kernels_headers(architecture, header, pattern):
    """One wrong digit forbids the wrong call and permits the right one."""
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    known = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
    compared = {name: number for name, number in architecture.calls.items() if name in known}

    assert len(compared) > 30
    assert compared == {name: known[name] for name in compared}
