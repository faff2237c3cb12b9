"""The filter of sandboxes whose one user is called root."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.roots import ownership
from sandbox_service.e2b_local.machine.tiers import seccomp

DONE_NOTHING = seccomp.fail_with(0)
GETPID = {"x86_64": 39, "aarch64": 172}

both = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def judge(machine: str, call: int, audit: int | None = None) -> int:
    """Run the filter on a call without arguments, as the kernel would."""
    instructions = list(struct.iter_unpack("=HBBI", ownership.build_program(machine)))
    if audit is None:
        audit = seccomp.ARCHITECTURES[machine].audit
    data = struct.pack("=II14I", call, audit, *[0] * 14)
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


@both
def test_changes_of_owner_and_user_seem_to_work(machine):
    """`apt-get install git` fails over the group of one file otherwise."""
    assert {"fchownat", "setgroups", "setresuid"} <= ownership.PRETENDED[machine].keys()
    for number in ownership.PRETENDED[machine].values():
        assert judge(machine, number) == DONE_NOTHING


@both
def test_everything_else_is_judged_as_before(machine):
    """It is put before the whole of the ordinary filter, and takes nothing out of it."""
    calls = seccomp.ARCHITECTURES[machine].calls

    assert judge(machine, GETPID[machine]) == seccomp.ALLOW
    assert judge(machine, calls["mount"]) == seccomp.fail_with(errno.EPERM)
    assert judge(machine, calls["clone3"]) == seccomp.fail_with(errno.ENOSYS)
    assert ownership.build_program(machine).endswith(seccomp.build_program(machine))


@both
def test_a_foreign_table_of_numbers_is_not_looked_up(machine):
    """On another architecture the same number is another call."""
    number = ownership.PRETENDED[machine]["fchownat"]

    assert judge(machine, number, audit=0x40000003) == seccomp.KILL


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_the_kernels(machine, header):
    """A wrong number would pretend that some other call had worked."""
    path = Path(header)
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", path.read_text()))

    for name, number in ownership.PRETENDED[machine].items():
        assert numbers[name] == str(number)
