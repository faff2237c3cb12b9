"""Files and folders, as the SDK handles them."""

from __future__ import annotations

import io
import os

import e2b
import pytest
from e2b import FileType

ODD_NAMES = ["with space", "quote's", "ünïcode-\U0001f600", "-dash", "a\\b", "%41"]


async def run(sandbox, command):
    return (await sandbox.commands.run(command)).stdout


@pytest.mark.parametrize("size", [0, 1, 5, 65_536, 3_000_017])
async def test_files_keep_every_byte_value(sandbox, name, size):
    """What was written is what is read, in each form."""
    data = os.urandom(size)
    path = f"{name}/deep/er/all.bin"
    written = await sandbox.files.write(path, data)

    assert bytes(await sandbox.files.read(path, format="bytes")) == data
    assert written.path == f"/home/user/{path}"
    assert written.name == "all.bin"
    assert (await run(sandbox, f"stat -c '%s %U %a' {path}")) == f"{size} user 644\n"


async def test_a_file_is_read_as_a_stream(sandbox, name):
    """Piece by piece, for what does not fit into memory."""
    data = os.urandom(2_000_003)
    await sandbox.files.write(name, data)
    stream = await sandbox.files.read(name, format="stream")
    pieces = [piece async for piece in stream] if hasattr(stream, "__aiter__") else list(stream)

    assert b"".join(pieces) == data


@pytest.mark.parametrize("octets", [False, True])
async def test_every_form_of_upload_is_the_same(sandbox, name, octets):
    """Text, bytes and files, as a form or as octets."""
    how = {"use_octet_stream": octets}
    await sandbox.files.write(f"{name}/text", "t\u00e9xt", **how)
    await sandbox.files.write(f"{name}/bytes", b"\0\xff", **how)
    await sandbox.files.write(f"{name}/file", io.BytesIO(b"from a file"), **how)

    assert await sandbox.files.read(f"{name}/text") == "t\u00e9xt"
    assert bytes(await sandbox.files.read(f"{name}/bytes", format="bytes")) == b"\0\xff"
    assert await sandbox.files.read(f"{name}/file") == "from a file"


async def test_compressed_transfers_are_the_same(sandbox, name):
    """`gzip` both ways."""
    data = "again and again " * 50_000
    await sandbox.files.write(name, data, gzip=True)

    assert await sandbox.files.read(name, gzip=True) == data
    assert await sandbox.files.read(name) == data


@pytest.mark.parametrize("octets", [False, True])
async def test_many_files_are_written_at_once(sandbox, name, octets):
    """Each where it belongs."""
    files = [{"path": f"{name}/{n}/f{n}", "data": f"{n}" * n} for n in range(40)]
    written = await sandbox.files.write_files(files, use_octet_stream=octets)
    read = [await sandbox.files.read(file["path"]) for file in files]

    assert [it.path for it in written] == [f"/home/user/{file['path']}" for file in files]
    assert read == [file["data"] for file in files]


async def test_no_files_are_no_request(sandbox):
    """And no error."""
    assert await sandbox.files.write_files([]) == []


@pytest.mark.parametrize(
    ("odd", "octets"),
    # A form spells a double quote in its own way.
    [('double"quote', True), *((odd, octets) for odd in ODD_NAMES for octets in (False, True))],
)
async def test_odd_names_are_names(sandbox, name, odd, octets):
    """Nothing in them is read as anything else."""
    path = f"{name}/{odd}"
    await sandbox.files.write(path, odd, use_octet_stream=octets)

    assert await sandbox.files.read(path) == odd
    assert [entry.name for entry in await sandbox.files.list(name)] == [odd]


async def test_a_write_replaces_what_was_there(sandbox, name):
    """All of it, and with its mode."""
    await sandbox.files.write(name, "long, longer")
    await sandbox.commands.run(f"chmod 700 {name}")
    await sandbox.files.write(name, "short")

    assert await sandbox.files.read(name) == "short"
    assert await run(sandbox, f"stat -c %a {name}") == "700\n"


async def test_paths_mean_what_they_mean_to_envd(sandbox, name):
    """Relative to home, `~`, and absolute."""
    await sandbox.files.write(f"~/{name}", "home")

    assert await sandbox.files.read(name) == "home"
    assert await sandbox.files.read(f"/home/user/{name}") == "home"
    assert await sandbox.files.read(f"../user/./{name}") == "home"
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.files.list("~bob")


async def test_what_is_not_there_is_told_as_such(sandbox, name):
    """By each call that needs it."""
    for call in (
        sandbox.files.read(name),
        sandbox.files.list(name),
        sandbox.files.get_info(name),
        sandbox.files.rename(name, f"{name}2"),
    ):
        with pytest.raises(e2b.FileNotFoundException):
            await call
    assert await sandbox.files.exists(name) is False
    await sandbox.files.remove(name)


async def test_a_folder_is_no_file(sandbox, name):
    """And a file no folder."""
    await sandbox.files.make_dir(name)
    await sandbox.files.write(f"{name}/file", "x")

    with pytest.raises(e2b.InvalidArgumentException, match="is a directory"):
        await sandbox.files.read(name)
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.files.write(name, "x")
    with pytest.raises(e2b.InvalidArgumentException, match="not a directory"):
        await sandbox.files.list(f"{name}/file")
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.files.make_dir(f"{name}/file")


# Folders


async def test_folders_are_made_once(sandbox, name):
    """With their parents, as the user's."""
    assert await sandbox.files.make_dir(f"{name}/a/b") is True
    assert await sandbox.files.make_dir(f"{name}/a/b") is False
    assert await run(sandbox, f"stat -c '%U %a' {name} {name}/a/b") == "user 755\n" * 2


async def test_a_folder_is_listed_to_a_depth(sandbox, name):
    """One level unless asked; links to folders are not followed."""
    await sandbox.files.write_files(
        [{"path": f"{name}/{it}", "data": ""} for it in ("a", "q/b", "q/r/c")]
    )
    await sandbox.commands.run(f"ln -s q {name}/link; ln -s /nowhere {name}/broken")
    one = await sandbox.files.list(name)
    two = await sandbox.files.list(name, depth=2)
    three = await sandbox.files.list(name, depth=3)
    home = f"/home/user/{name}"

    # The SDK leaves out what has no kind, as a link to nowhere.
    assert {entry.name for entry in one} == {"a", "q", "link"}
    assert {entry.path for entry in two} - {entry.path for entry in one} == {
        f"{home}/q/b",
        f"{home}/q/r",
    }
    assert {entry.path for entry in three} - {entry.path for entry in two} == {f"{home}/q/r/c"}
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.files.list(name, depth=0)


async def test_an_entry_tells_all_that_there_is(sandbox, name):
    """Kind, size, mode, owner, time, and where a link leads."""
    await sandbox.files.write(f"{name}/file", "12345")
    await sandbox.commands.run(
        f"cd {name}; chmod 640 file; touch -d 2020-05-06T07:08:09Z file; mkdir -m 711 dir;"
        " ln -s file link"
    )
    entries = {entry.name: entry for entry in await sandbox.files.list(name)}
    file, folder, link = (entries[it] for it in ("file", "dir", "link"))

    assert (file.type, file.size, file.mode) == (FileType.FILE, 5, 0o640)
    assert (file.permissions, file.owner, file.group) == ("-rw-r-----", "user", "user")
    assert file.modified_time.isoformat() == "2020-05-06T07:08:09+00:00"
    assert file.symlink_target is None
    assert (folder.type, folder.permissions) == (FileType.DIR, "drwx--x--x")
    assert link.symlink_target == f"/home/user/{name}/file"
    # Older ones tell the kind of what it leads to.
    assert link.type in {FileType.FILE, FileType.SYMLINK}
    assert await sandbox.files.get_info(f"{name}/file") == file


async def test_a_move_takes_all_with_it(sandbox, name):
    """To a folder that is not there yet."""
    await sandbox.files.write(f"{name}/from/a", "12")
    moved = await sandbox.files.rename(f"{name}/from", f"{name}/to/there")

    assert moved.path == f"/home/user/{name}/to/there"
    assert await sandbox.files.read(f"{name}/to/there/a") == "12"
    assert not await sandbox.files.exists(f"{name}/from")


async def test_a_remove_takes_all_of_it(sandbox, name):
    """Links as links; and what is not there is gone already."""
    await sandbox.files.write(f"{name}/kept", "x")
    await sandbox.files.write(f"{name}/gone/a/b", "x")
    await sandbox.commands.run(f"ln -s ../kept {name}/gone/link")
    await sandbox.files.remove(f"{name}/gone")
    await sandbox.files.remove(f"{name}/gone")

    assert not await sandbox.files.exists(f"{name}/gone")
    assert await sandbox.files.exists(f"{name}/kept")


async def test_a_remove_is_not_stopped_by_modes(sandbox, name):
    """Envd is root; what the user locked is removed as well."""
    await sandbox.files.write(f"{name}/locked/file", "x")
    await sandbox.commands.run(f"chmod 500 {name}/locked")
    await sandbox.files.remove(name)

    assert not await sandbox.files.exists(name)


# Metadata


async def test_metadata_of_an_upload_is_kept_with_the_file(sandbox, name):
    """And replaced, not added to, by the next upload."""
    written = await sandbox.files.write(name, "x", metadata={"a": "1", "B": "two words"})
    first = (await sandbox.files.get_info(name)).metadata
    moved = await sandbox.files.rename(name, f"{name}-2")
    await sandbox.files.write(f"{name}-2", "y", metadata={"c": "3"})
    second = (await sandbox.files.get_info(f"{name}-2")).metadata
    await sandbox.files.write(f"{name}-2", "z")

    assert first == written.metadata == moved.metadata == {"a": "1", "b": "two words"}
    assert second == {"c": "3"}
    assert not (await sandbox.files.get_info(f"{name}-2")).metadata


async def test_metadata_is_listed(sandbox, name):
    """And is an attribute that programs see."""
    await sandbox.files.write(f"{name}/with", "x", metadata={"k": "v"})
    await sandbox.files.write(f"{name}/without", "x")
    listed = {entry.name: entry.metadata for entry in await sandbox.files.list(name)}
    program = f"import os; print(os.getxattr('{name}/with', 'user.e2b.k').decode())"

    assert listed["with"] == {"k": "v"}
    assert not listed["without"]
    assert await run(sandbox, f'python3 -c "{program}"') == "v\n"


# Out of the box


async def test_the_hosts_files_cannot_be_reached_through_a_link(sandbox, name, tmp_path):
    """Paths are resolved inside, so a link leads nowhere outside."""
    secret = tmp_path / "secret"
    secret.write_text("host")
    await sandbox.files.make_dir(name)
    await sandbox.commands.run(f"cd {name}; ln -s {secret} evil; ln -s / root")

    with pytest.raises(e2b.FileNotFoundException):
        await sandbox.files.read(f"{name}/evil")
    with pytest.raises(e2b.FileNotFoundException):
        await sandbox.files.read(f"{name}/root{secret}")
