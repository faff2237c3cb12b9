"""Packing what a sandbox of an image has written."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.model import Image
from sandbox_service.e2b_local.machine.roots import layers
from sandbox_service.e2b_local.machine.roots.rootfs import LAYER, make_folders

IMAGE = Image(Path("/images/1/root"), None)
OPAQUE = "user.overlay.opaque"


@pytest.fixture
def folder(tmp_path):
    """A sandbox's folder, with what the kernel's overlay writes."""
    folder = tmp_path / "one"
    make_folders(folder, IMAGE)
    layer = folder / LAYER
    (layer / "usr/bin").mkdir(parents=True)
    subprocess.run(["mknod", layer / "usr/bin/removed", "c", "0", "0"], check=True)
    os.setxattr(layer / "usr", OPAQUE, b"y")
    (layer / "file").write_bytes(b"a" * 100_000)
    (layer / "file").chmod(0o640)
    (layer / "link").symlink_to("/etc/shadow")
    return folder


@pytest.fixture
def archive(tmp_path):
    descriptor = os.open(tmp_path / "layer.tar", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def test_a_layer_comes_back_as_it_was(folder, archive, tmp_path):
    """Removed files must stay removed, and replaced folders replaced."""
    again = tmp_path / "again"
    make_folders(again, IMAGE)

    (folder / "saved.tar").write_text("of /tmp")

    layers.pack(folder, archive, beside=["saved.tar"])
    os.lseek(archive, 0, os.SEEK_SET)
    layers.unpack(archive, again, None)

    assert (again / "saved.tar").read_text() == "of /tmp"
    layer = again / LAYER
    removed = (layer / "usr/bin/removed").lstat()
    assert stat.S_ISCHR(removed.st_mode)
    assert removed.st_rdev == 0
    assert os.getxattr(layer / "usr", OPAQUE) == b"y"
    assert (layer / "file").read_bytes() == b"a" * 100_000
    assert stat.S_IMODE((layer / "file").stat().st_mode) == 0o640
    assert str((layer / "link").readlink()) == "/etc/shadow"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes sandboxes of other users")
def test_a_layer_is_unpacked_as_its_owner(folder, archive, tmp_path):
    """Root's own rights must not be at the service of a stranger's archive."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o011)
    again = tmp_path / "again"
    make_folders(again, Image(IMAGE.root, 65534))

    layers.pack(folder, archive)
    os.lseek(archive, 0, os.SEEK_SET)
    layers.unpack(archive, again, 65534)

    assert {path.lstat().st_uid for path in (again / LAYER).rglob("*")} == {65534}


def test_what_tar_says_is_told(folder, archive, tmp_path):
    """A snapshot that is not whole must not look like one."""
    os.write(archive, b"no tar at all" * 100)
    os.lseek(archive, 0, os.SEEK_SET)
    with pytest.raises(OSError, match="tar") as caught:
        layers.unpack(archive, folder, None)
    assert caught.value.errno == errno.EIO

    with pytest.raises(OSError, match="tar"):
        layers.pack(tmp_path, archive)


def test_packing_takes_no_longer_than_it_may(folder, archive):
    """A layer of millions of files must not hold a server up."""
    with pytest.raises(OSError, match="in time") as caught:
        layers.pack(folder, archive, timeout_seconds=0)

    assert caught.value.errno == errno.ETIMEDOUT
