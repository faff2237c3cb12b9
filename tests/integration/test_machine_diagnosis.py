"""A machine that cannot isolate, and the diagnosis that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    IsolationUnavailableError,
    Machine,
    MachineConfig,
    diagnose,
)
from tests.integration.machine_bench import count_descriptors, names_in


@pytest.mark.parametrize("program", ["/nowhere/bwrap", "/bin/true", "/bin/cat"])
async def test_a_machine_that_cannot_isolate_does_not_start(state_dir, program):
    """Never with less, and never without saying what to do."""
    before = count_descriptors()
    with pytest.raises(IsolationUnavailableError) as caught:
        await Machine.start(MachineConfig(state_dir=state_dir, bwrap=Path(program)))

    assert program in caught.value.cause
    assert caught.value.fix
    assert names_in(state_dir) == [".lock"]
    assert count_descriptors() <= before


async def test_a_diagnosis_names_every_part_and_proves_the_whole(state_dir):
    """What `doctor` prints on a machine where sandboxes run."""
    findings = await diagnose(MachineConfig(state_dir=state_dir))

    assert [finding.name for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} == {
        *("bubblewrap", "user namespaces", "system call filter", "state folder", "limits"),
        *("isolation", "limits of sandboxes"),
    }


async def test_a_diagnosis_of_a_machine_that_cannot_says_what_to_do(state_dir):
    """It must not fail where it is needed."""
    config = MachineConfig(state_dir=state_dir, bwrap=Path("/nowhere/bwrap"))
    failed = {finding.name: finding for finding in await diagnose(config) if not finding.ok}

    assert set(failed) == {"bubblewrap", "isolation"}
    assert all(finding.fix for finding in failed.values())
