"""Writing below a folder that strangers have shaped."""

from __future__ import annotations

import io
import os
import stat

import pytest

from sandbox_service.e2b_local.machine.roots.tree import PathRefusedError, Tree, split

WHEN = 1_600_000_000_000_000_000


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    """What must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("untouched")
    return folder


def add(tree: Tree, path: str, text: str = "x", mode: int = 0o644) -> None:
    tree.add_file(path, io.BytesIO(text.encode()), mode, WHEN)


@pytest.mark.parametrize("path", ["/etc/passwd", "..", "a/../../b", "a/..", "a\0b"])
def test_names_that_lead_out_are_refused(path):
    """An archive may say anything."""
    with pytest.raises(PathRefusedError):
        split(path)


def test_dots_and_slashes_in_between_do_not_matter():
    """`tar` writes `./usr/bin`, and folders with a slash at the end."""
    assert split("./usr//bin/.") == ("usr", "bin")
    assert split("./") == ()


@pytest.mark.parametrize("path", ["link/file", "link/new", "link/below/new"])
def test_nothing_is_written_through_a_link(root, outside, path):
    """The oldest trick of hostile archives: a link first, then a file below it."""
    (root / "link").symlink_to(outside)

    with Tree(root, None) as tree, pytest.raises(PathRefusedError):
        add(tree, path)

    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "untouched"


def test_a_link_in_a_files_place_is_replaced(root, outside):
    """Not what it points to."""
    (root / "file").symlink_to(outside / "file")

    with Tree(root, None) as tree:
        add(tree, "file", "new")

    assert (root / "file").read_text() == "new"
    assert not (root / "file").is_symlink()
    assert (outside / "file").read_text() == "untouched"


@pytest.mark.parametrize("existing", ["../outside/file", "link/file", "symlink", "missing", "dir"])
def test_a_hard_link_leads_to_a_file_of_the_tree_or_nowhere(root, outside, existing):
    """Otherwise a write inside would be a write to the host's file."""
    (root / "link").symlink_to(outside)
    (root / "symlink").symlink_to(outside / "file")
    (root / "dir").mkdir()

    with Tree(root, None) as tree, pytest.raises(PathRefusedError):
        tree.add_hard_link("name", existing)

    assert (outside / "file").stat().st_nlink == 1


def test_a_hard_link_is_one(root):
    """Archives of systems are full of them."""
    with Tree(root, None) as tree:
        add(tree, "usr/bin/perl")
        tree.add_hard_link("usr/bin/perl5", "./usr/bin/perl")

    assert (root / "usr/bin/perl5").samefile(root / "usr/bin/perl")


@pytest.mark.parametrize(
    ("mode", "kept"), [(0o4755, 0o755), (0o6711, 0o711), (0o444, 0o644), (0o000, 0o600)]
)
def test_a_file_is_its_owners_and_runs_as_nobody_else(root, mode, kept):
    """Nothing setuid comes in, and its owner can read and write what root could."""
    with Tree(root, None) as tree:
        add(tree, "file", mode=mode)

    assert stat.S_IMODE((root / "file").stat().st_mode) == kept


def test_modes_and_times_of_folders_are_set_at_the_end(root):
    """A folder that is closed first could not be filled."""
    with Tree(root, None) as tree:
        tree.add_folder("closed", 0o2055, WHEN)
        tree.add_folder("tmp", 0o1777, WHEN)
        add(tree, "closed/file")
        tree.finish()

    status = (root / "closed").stat()
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert status.st_mtime_ns == WHEN
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_links_are_kept_as_they_are(root):
    """`/etc/alternatives` is full of absolute ones, which mean the sandbox's own root."""
    with Tree(root, None) as tree:
        tree.add_symlink("a/link", "/etc/shadow", WHEN)

    assert str((root / "a/link").readlink()) == "/etc/shadow"
    assert (root / "a/link").lstat().st_mtime_ns == WHEN


def test_a_folder_is_not_replaced(root):
    """An archive that says both is not to be trusted with either."""
    with Tree(root, None) as tree:
        add(tree, "a/file")
        with pytest.raises(PathRefusedError):
            add(tree, "a")
        with pytest.raises(PathRefusedError):
            tree.add_folder("a/file/below", 0o755, WHEN)


def test_reading_stays_inside_too(root, outside):
    """The host's passwd must not become the image's."""
    (root / "etc").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    os.mkfifo(root / "pipe")

    with Tree(root, None) as tree:
        add(tree, "own", "text")
        assert tree.read_file("own", 3) == b"tex"
        for path in ("etc/file", "file", "pipe", "missing"):
            assert tree.read_file(path, 100) is None
        assert stat.S_ISLNK(tree.mode_of("etc") or 0)
        assert tree.mode_of("etc/file") is None
        assert tree.mode_of("missing") is None


def test_a_way_is_cleared_of_what_stands_in_it(root, outside):
    """Where something is to be mounted, a link would lead the mount elsewhere."""
    (root / "opt").symlink_to(outside)
    (root / "etc").mkdir()
    (root / "etc/preload").symlink_to(outside / "file")
    (root / "closed/below").mkdir(parents=True)
    (root / "closed").chmod(0)
    root.chmod(0o600)

    with Tree(root, None) as tree:
        for path in ("opt/sandbox", "etc/preload", "closed/below", "missing/below"):
            tree.clear_way(path)

    assert sorted(path.name for path in root.iterdir()) == ["closed", "etc"]
    assert not list((root / "etc").iterdir())
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o711
    assert (outside / "file").read_text() == "untouched"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_all_that_is_written_belongs_to_the_owner(root):
    """Parents that were made on the way, and links, too."""
    with Tree(root, 65534) as tree:
        add(tree, "a/b/file")
        tree.add_symlink("a/link", "b", WHEN)
        tree.add_folder("c", 0o755, WHEN)
        tree.finish()

    owners = {path.lstat().st_uid for path in root.rglob("*")}
    assert owners == {65534}
