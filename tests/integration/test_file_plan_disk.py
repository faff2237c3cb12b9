"""A comparison for whose own files the sandbox's disk has no room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox_service.domain.errors import DiskFullError
from tests.integration.sync_home import Home, found, names
from tests.integration.test_file_plan import plan


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Home]:
    """A home on a file system of 1 MiB and 200 entries, with 100 files to compare."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    home = Home(tmp_path)
    home.root.mkdir()
    for number in range(100):
        (home.root / f"{number:03d}{'x' * 200}").touch()
    yield home
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def no_blocks(home: Home) -> Path:
    """Take all room for content."""
    filler = home.path / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def no_inodes(home: Home) -> Path:
    """Take all room for entries."""
    filler = home.path / "filler"
    filler.mkdir()
    with suppress(OSError):
        for number in range(1000):
            (filler / str(number)).touch()
    return filler


@pytest.mark.parametrize("planned_before", [False, True])
@pytest.mark.parametrize("fill", [no_blocks, no_inodes])
async def test_a_full_disk_is_told_and_nothing_is_left_behind(
    small_home: Home, planned_before: bool, fill: Callable[[Home], Path]
) -> None:
    """Whether the folder for its files was there or not; with room again it works."""
    home = small_home
    if planned_before:
        await plan(home.sandbox, [])
    before = found(home.root)
    filler = fill(home)

    with pytest.raises(DiskFullError):
        await plan(home.sandbox, [])

    state = home.path / ".sandbox-sync"
    left = names(state / "stage") if (state / "stage").exists() else set()
    shutil.rmtree(filler) if filler.is_dir() else filler.unlink()
    _, summary = await plan(home.sandbox, [])

    assert left == set()
    assert found(home.root) == before
    assert summary.extra == 100
