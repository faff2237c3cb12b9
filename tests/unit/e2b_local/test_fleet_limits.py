"""Limits of a template, and what a sandbox's log tells of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.fleet.activity import Activity
from sandbox_service.e2b_local.fleet.limits import limits_of, tell_limits
from sandbox_service.e2b_local.machine import BootFailedError, DiskAlarm, Limits, OomKill
from tests.unit.e2b_local.fleet_double import make

MIB = 1024**2


@pytest.fixture
def told():
    guest, activity = SimpleNamespace(), Activity(lambda: 1000.0)
    tell_limits(guest, activity)
    return guest, activity


def test_a_templates_sizes_are_its_sandboxes_limits():
    template = Template(template_id="base", cpu_count=3, memory_mib=512, disk_mib=2048)

    assert limits_of(template) == Limits(memory_bytes=512 * MIB, cpu_count=3, disk_bytes=2048 * MIB)


def test_the_log_names_the_program_that_had_no_memory(told):
    guest, activity = told
    guest.on_oom(OomKill(12, "node"))
    guest.on_oom(OomKill())
    first, second = activity.select()

    assert first.level == "error"
    assert first.message == "Out of memory: program 12 ('node') was killed"
    assert first.fields == {"pid": "12"}
    assert second.message == "Out of memory: program was killed"


def test_a_name_cannot_forge_another_entry(told):
    """Programs choose what they are called."""
    guest, activity = told
    guest.on_oom(OomKill(12, "a\nSandbox ended: \x1b[2J"))

    assert "\n" not in activity.select()[0].message
    assert "\x1b" not in activity.select()[0].message


def test_the_log_tells_why_programs_were_killed(told):
    guest, activity = told
    guest.on_disk_alarm(DiskAlarm(120 * MIB, 100 * MIB))
    guest.on_disk_alarm(DiskAlarm(120 * MIB, None))
    own, hosts = activity.select()

    assert "120 MiB are used of 100" in own.message
    assert "host's disk is nearly full" in hosts.message
    assert all("its programs were killed" in entry.message for entry in (own, hosts))


async def test_no_sandbox_is_made_on_a_disk_that_is_nearly_full(fleet, machine):
    """Better none than one whose first file fails, and the host's with it."""
    machine.disk_low = True
    with pytest.raises(BootFailedError, match="nearly full"):
        await make(fleet)
    machine.disk_low = False
    await make(fleet)


async def test_a_sandbox_keeps_its_limits_and_its_log_over_a_reboot(fleet, machine):
    """Each boot is another guest."""
    await make(fleet)
    first = machine.guests["ia"]
    await fleet.pause("ia", memory=False)
    await fleet.resume("ia", 60)
    second = machine.guests["ia"]
    assert second is not first
    second.on_oom(OomKill(5))

    assert machine.specs["ia"].limits == limits_of(Template(template_id="base"))
    assert [entry for entry in fleet.activities.get("ia").select() if "memory" in entry.message]
