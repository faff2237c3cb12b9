"""Root filesystems on their way into the state."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.images import Images, digest_of

OWN = range(0)


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, text: str = "", **fields) -> tuple:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.size = len(text)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, text.encode()


def write_tar(path: Path, *entries: tuple, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in (entry("./usr/bin", tarfile.DIRTYPE), *entries):
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def images(tmp_path):
    return Images(tmp_path / "state" / "images", OWN)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_tar_is_unpacked_once(images, tmp_path):
    """The second start of a server takes what the first one made."""
    source = write_tar(tmp_path / "a.tar", entry("./usr/bin/tool", text="#!/bin/sh\n"))

    first = images.take(source)
    marked = first.image.root / "usr/bin/tool"
    marked.write_text("made before")
    first.close()
    second = images.take(source)

    assert (second.image, second.digest) == (first.image, first.digest)
    assert marked.read_text() == "made before"
    assert second.image.owner is None
    second.close()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_work(images, tmp_path, mode):
    """As people have them."""
    source = write_tar(tmp_path / "a", entry("usr/bin/tool", text="text"), mode=mode)

    held = images.take(source)

    assert (held.image.root / "usr/bin/tool").read_text() == "text"
    held.close()


def test_a_link_to_a_folder_is_the_folder(images, tmp_path):
    """As whoever keeps several versions beside one another names the current one."""
    (tmp_path / "v1/usr/bin").mkdir(parents=True)
    (tmp_path / "v1/usr/bin/tool").write_text("text")
    (tmp_path / "current").symlink_to("v1")

    held = images.take(tmp_path / "current")

    assert (held.image.root / "usr/bin/tool").read_text() == "text"
    assert digest_of(tmp_path / "current") == digest_of(tmp_path / "v1") == held.digest
    held.close()


def test_a_folder_is_copied(images, tmp_path):
    """Links, hard links and modes; without what a sandbox has its own of."""
    source = tmp_path / "source"
    for path in ("usr/bin", "dev", "proc/1"):
        (source / path).mkdir(parents=True)
    (source / "usr/bin/tool").write_text("text")
    (source / "usr/bin/tool").chmod(0o4755)
    (source / "usr/bin/same").hardlink_to(source / "usr/bin/tool")
    (source / "bin").symlink_to("usr/bin")
    (source / "dev/null").write_text("filled by mistake")
    os.mkfifo(source / "pipe")

    held = images.take(source)

    root = held.image.root
    assert (root / "usr/bin/same").samefile(root / "usr/bin/tool")
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755
    assert str((root / "bin").readlink()) == "usr/bin"
    assert not list((root / "dev").iterdir())
    assert not list((root / "proc").iterdir())
    assert not (root / "pipe").exists()
    (root / "usr/bin/tool").write_text("changed")
    assert (source / "usr/bin/tool").read_text() == "text"
    held.close()


def test_devices_and_privileges_stay_outside(images, tmp_path):
    """A tar of a system is full of both."""
    source = write_tar(
        tmp_path / "a.tar",
        entry("./dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("./disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("./pipe", tarfile.FIFOTYPE),
        entry("./usr/bin/su", text="x", mode=0o4755),
        entry("./var/mail", tarfile.DIRTYPE, mode=0o2775),
    )

    held = images.take(source)

    root = held.image.root
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in root.rglob("*")}
    assert kinds == {stat.S_IFDIR, stat.S_IFREG}
    assert not any(path.lstat().st_mode & 0o6000 for path in root.rglob("*"))
    held.close()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("/etc/cron.d/evil", text="x")],
        [entry("../evil", text="x")],
        [entry("usr/../../evil", text="x")],
        [entry("usr/lib", tarfile.SYMTYPE, linkname="/tmp"), entry("usr/lib/evil", text="x")],
        [entry("up", tarfile.SYMTYPE, linkname=".."), entry("up/evil", text="x")],
        [entry("passwd", tarfile.LNKTYPE, linkname="/etc/passwd")],
        [entry("passwd", tarfile.LNKTYPE, linkname="../../../../../../etc/passwd")],
        [entry("etc", tarfile.SYMTYPE, linkname="/etc"), entry("p", tarfile.LNKTYPE,
                                                              linkname="etc/passwd")],
        [entry(".", text="x")],
    ],
)  # fmt: skip
def test_a_hostile_tar_is_refused_and_leaves_nothing(images, tmp_path, entries):
    """Whoever names a template may have it from somebody else."""
    source = write_tar(tmp_path / "a.tar", *entries)
    before = names_in(tmp_path)

    with pytest.raises(ConfigError) as caught:
        images.take(source)

    assert str(source) in caught.value.cause
    assert names_in(tmp_path) == sorted([*before, "state"])
    assert names_in(tmp_path / "state" / "images") == [".lock"]


def test_times_that_are_none_do_not_matter(images, tmp_path):
    """An archive may say anything of when."""
    odd = (float("inf"), float("-inf"), float("nan"), -5, 10.0**30)
    entries = [
        entry(f"usr/{at}", pax_headers={"mtime": str(time)}, mtime=0) for at, time in enumerate(odd)
    ]
    source = write_tar(tmp_path / "a.tar", *entries)

    images.take(source).close()


@pytest.mark.parametrize("content", [b"", b"no tar" * 1000, b"\x1f\x8bbroken"])
def test_what_is_no_tar_is_refused(images, tmp_path, content):
    """A wrong path in the settings is the likeliest mistake."""
    source = tmp_path / "file"
    source.write_bytes(content)

    with pytest.raises(ConfigError):
        images.take(source)


def test_a_tar_that_was_cut_short_is_refused(images, tmp_path):
    """Half a system would fail in ways that nobody could explain."""
    source = write_tar(tmp_path / "a.tar", entry("usr/big", text="x" * 100_000))
    source.write_bytes(source.read_bytes()[:50_000])

    with pytest.raises(ConfigError):
        images.take(source)


def test_a_source_that_is_missing_or_no_system_is_refused(images, tmp_path):
    """With the setting's value in the message."""
    (tmp_path / "empty").mkdir()

    for name in ("missing", "empty"):
        with pytest.raises(ConfigError) as caught:
            images.take(tmp_path / name)
        assert name in caught.value.cause


def test_a_changed_source_is_another_image(images, tmp_path):
    """And the one of before goes, unless somebody makes sandboxes of it."""
    source = write_tar(tmp_path / "a.tar")
    first = images.take(source)
    write_tar(source, entry("usr/new", text="x"))
    second = images.take(source)
    assert second.digest != first.digest
    assert first.image.root.exists()

    first.close()
    images.take(source).close()

    assert not first.image.root.exists()
    assert (second.image.root / "usr/new").exists()
    second.close()


def test_other_sources_images_stay(images, tmp_path):
    """They are for the next start with the other template."""
    one = images.take(write_tar(tmp_path / "a.tar"))
    one.close()
    images.take(write_tar(tmp_path / "b.tar")).close()

    assert one.image.root.exists()


def test_what_a_dead_server_began_is_removed(images, tmp_path):
    """Nobody else will ever finish it."""
    begun = tmp_path / "state/images/begun-1"
    (begun / "root").mkdir(parents=True)

    images.take(write_tar(tmp_path / "a.tar")).close()

    assert not begun.exists()


def test_two_servers_make_an_image_once(tmp_path):
    """They may start at the same time, on one state folder."""
    source = write_tar(tmp_path / "a.tar", entry("usr/big", text="x" * 1_000_000))
    script = (
        "import sys; from pathlib import Path\n"
        "from sandbox_service.e2b_local.images import Images\n"
        "held = Images(Path(sys.argv[1]), range(0)).take(Path(sys.argv[2]))\n"
        "print(held.image.root.stat().st_ino)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "images"), str(source)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in running}

    assert len(answers) == 1
    assert [process.returncode for process in running] == [0, 0, 0]


def test_a_folders_digest_sees_every_change(tmp_path):
    """But not what reading it changes."""
    source = tmp_path / "source"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/tool").write_text("a")
    seen = [digest_of(source)]
    assert digest_of(source) == seen[0]

    (source / "usr/bin/tool").write_text("bb")
    seen.append(digest_of(source))
    (source / "usr/bin/tool").chmod(0o700)
    seen.append(digest_of(source))
    (source / "usr/link").symlink_to("bin")
    seen.append(digest_of(source))
    (source / "usr/link").rename(source / "usr/other")
    seen.append(digest_of(source))

    assert len(set(seen)) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives images to other users")
def test_each_image_has_an_owner_of_its_own(tmp_path):
    """One template's sandboxes must be strangers to another's."""
    images = Images(tmp_path / "images", range(59_000, 59_002))
    before = os.umask(0o077)
    try:
        one = images.take(write_tar(tmp_path / "a.tar", entry("usr/x")))
        two = images.take(write_tar(tmp_path / "b.tar"))
    finally:
        os.umask(before)

    assert {one.image.owner, two.image.owner} == {59_000, 59_001}
    assert {path.lstat().st_uid for path in one.image.root.rglob("*")} == {one.image.owner}
    assert stat.S_IMODE(one.image.root.stat().st_mode) == 0o755
    for folder in (one.image.root.parent, tmp_path / "images"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
    with pytest.raises(ConfigError, match="uid"):
        images.take(write_tar(tmp_path / "c.tar"))
    one.close()
    two.close()


def test_people_are_told_of_what_takes_long(tmp_path):
    """Once: the second time there is nothing to wait for."""
    said = []
    images = Images(tmp_path / "images", OWN, tell=said.append)
    source = write_tar(tmp_path / "a.tar")
    for _ in range(2):
        images.take(source).close()

    assert len(said) == 2
    assert str(source) in said[0]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_the_work_can_be_given_up(tmp_path, kind):
    """Nothing is left of it, and the next start makes it whole."""
    looks = iter([False, False, True])

    def check() -> None:
        if next(looks):
            raise _StopError

    source = tmp_path / "folder"
    (source / "usr/bin").mkdir(parents=True)
    for name in "abc":
        (source / name).touch()
    if kind == "tar":
        entries = [entry(f"usr/{name}") for name in "abc"]
        source = write_tar(tmp_path / "a.tar", *entries)
    with pytest.raises(_StopError):
        Images(tmp_path / "images", OWN, check=check).take(source)

    assert names_in(tmp_path / "images") == [".lock"]
    Images(tmp_path / "images", OWN).take(source).close()
