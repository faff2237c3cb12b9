"""Measuring a folder that somebody hostile has shaped."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.limits.folder_size import UnmeasurableError, measure_folder
from sandbox_service.e2b_local.machine.limits.open_files import count_unlinked

BLOCK = 4096
NOBODY = 65534
LONG_NAME = "d" * 20


@pytest.fixture
def users_folder():
    """A folder of the ordinary user that `measure_as_user` becomes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def measure_as_user(folder):
    """Measure as somebody who may not enter every folder, as root may."""
    if os.geteuid() != 0:
        return measure_folder(folder)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writer, str(measure_folder(folder)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = os.read(reader, 64)
    os.close(reader)
    os.waitpid(child, 0)
    return int(told)


def test_every_file_counts_and_an_empty_one_as_a_block(tmp_path):
    """A file system has only so many files."""
    for number in range(10):
        (tmp_path / f"empty{number}").touch()
    (tmp_path / "large").write_bytes(bytes(BLOCK * 5))

    assert measure_folder(tmp_path) == BLOCK * 15


def test_holes_are_free(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)

    assert measure_folder(tmp_path) == BLOCK


def test_links_lead_nowhere_and_a_second_name_costs_nothing(tmp_path):
    """A link out would count somebody else's files, or read them for ever."""
    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(bytes(BLOCK * 100))
    (box / "out").symlink_to(tmp_path / "elsewhere")
    (box / "loop").symlink_to(box)
    (box / "one").write_bytes(bytes(BLOCK))
    os.link(box / "one", box / "two")

    assert measure_folder(box) == BLOCK * 3


def test_a_folder_that_is_gone_holds_nothing(tmp_path):
    assert measure_folder(tmp_path / "missing") == 0


def test_a_chain_of_folders_may_be_longer_than_any_path(tmp_path):
    """What lies at its end counts, though no path leads there."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    depth = 300
    for _ in range(depth):
        os.mkdir(LONG_NAME, dir_fd=descriptor)
        below = os.open(LONG_NAME, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, bytes(BLOCK * 7))
    os.fsync(file)
    os.close(file)
    os.close(descriptor)

    assert measure_folder(tmp_path) >= BLOCK * (depth + 7)
    remove_chain(tmp_path)


def remove_chain(folder):
    """Pytest's own removal walks by paths, and these are too long for that."""
    while (folder / LONG_NAME).exists():
        below, here = folder / LONG_NAME, folder / "here"
        below.rename(here)
        for child in list(here.iterdir()):
            child.rename(folder / child.name)
        here.rmdir()


def test_what_cannot_be_walked_is_said_to_be_so(tmp_path):
    """Two folders in each, as deep as it goes, would cost a descriptor a level."""
    folder = tmp_path
    for _ in range(300):
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        # The walk takes the last one first, and must come back for the other.
        folder = list(folder.iterdir())[-1]
        if len(str(folder)) > 3000:
            pytest.skip("the path of pytest's folder is too long here")
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(UnmeasurableError):
        measure_folder(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_walk_ends_when_nobody_wants_it(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(BLOCK * 100))

    assert measure_folder(tmp_path, cancelled=lambda: True) == BLOCK * 3


@pytest.mark.needs("user")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100, 0o300])
def test_a_closed_folder_hides_nothing_and_stays_closed(users_folder, mode):
    """Its owner could otherwise fill the disk behind that door."""
    closed = users_folder / "closed"
    closed.mkdir()
    (closed / "below").mkdir()
    (closed / "below" / "file").write_bytes(bytes(BLOCK * 20))
    for path in (closed / "below" / "file", closed / "below", closed):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    closed.chmod(mode)

    assert measure_as_user(users_folder) == BLOCK * 22
    assert closed.stat().st_mode & 0o777 == mode
    closed.chmod(0o700)


def test_files_without_a_name_are_found_in_whoever_holds_them(tmp_path):
    """They fill a disk that no walk finds full."""
    with (tmp_path / "gone").open("wb", buffering=0) as file:
        file.write(bytes(BLOCK * 3))
        os.fsync(file.fileno())
        device = tmp_path.stat().st_dev
        before = count_unlinked([os.getpid()], (device,)).get(os.getpid(), 0)
        (tmp_path / "gone").unlink()
        again = os.dup(file.fileno())

        found = count_unlinked([os.getpid()], (device,))
        assert found == {os.getpid(): before + BLOCK * 3}
        assert count_unlinked([os.getpid()], (device + 1,)) == {}
        os.close(again)
    assert count_unlinked([os.getpid(), 1 << 30], (device,)) == {}
