"""ReadFile and ListFiles: what is in the sandbox, exactly, or why not."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, unlikely
from tests.support.reads import listed, opened, page, read

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL_BYTES = bytes(range(256)) * 3


@pytest.fixture
def folder():
    """A folder that no other test uses."""
    return f"/tmp/reads-{secrets.token_hex(4)}"


async def in_folder(box, folder, script):
    ran = await box.run(f"mkdir -p {folder} && cd {folder} && {script}")
    assert ran.outcome == ("EXIT", 0), ran.stderr


async def test_a_file_comes_out_byte_for_byte_with_what_it_is(box, folder):
    """No decoding, no end of line, no NUL is changed."""
    octal = "".join(f"\\{byte:03o}" for byte in ALL_BYTES)
    await in_folder(box, folder, f"printf '{octal}' >it && chmod 640 it && touch -d @1500.25 it")
    got = await read(box, f"{folder}/it")

    assert got.data == ALL_BYTES
    assert got.info.path == f"{folder}/it"
    assert (got.info.kind, got.info.size, got.info.mode) == (pb.ENTRY_KIND_FILE, 768, 0o640)
    assert got.info.modify_time.ToDatetime(UTC) == datetime.fromtimestamp(1500.25, UTC)
    assert got.info.link_target == ""
    assert got.info.user
    assert got.info.group


async def test_links_are_followed_and_the_answer_names_the_file(box, folder):
    """Whoever writes back must not write to the link."""
    await in_folder(box, folder, "echo hi >real && ln -s real one && ln -s one two")
    got = await read(box, f"{folder}/two")

    assert (got.info.path, got.info.kind) == (f"{folder}/real", pb.ENTRY_KIND_FILE)
    assert got.data == b"hi\n"


async def test_a_path_may_begin_at_home(box):
    """As that of a sync does."""
    name = f"at-home-{secrets.token_hex(4)}"
    await box.run(f"echo here >~/{name}")
    home = (await box.run("printf %s ~")).text

    assert (await read(box, name)).info.path == f"{home}/{name}"
    assert f"{home}/{name}" in [it.path for it in await listed(box, ".")]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"offset": 3}, b"3456789"),
        ({"offset": 3, "length": 4}, b"3456"),
        ({"length": 4}, b"0123"),
        ({"offset": 8, "length": 99}, b"89"),
        ({"offset": 10}, b""),
        ({"length": 0}, b""),
        ({"length": 2**64 - 1}, b"0123456789"),
    ],
)
async def test_a_range_is_what_was_asked_for(box, folder, asked, expected):
    """One that ends behind the end of the file is no error."""
    await in_folder(box, folder, "printf 0123456789 >it")
    got = await read(box, f"{folder}/it", **asked)

    assert got.data == expected
    assert got.info.size == 10


@pytest.mark.parametrize("offset", [11, 2**63, 2**64 - 1])
async def test_an_offset_behind_the_end_is_out_of_range(box, folder, offset):
    """So that whoever reads on notices that the file is not the one any more."""
    await in_folder(box, folder, "printf 0123456789 >it")
    failed = await failure(read(box, f"{folder}/it", offset=offset))

    assert failed.seen == ("OUT_OF_RANGE", "POSITION_OUT_OF_RANGE")
    assert failed.metadata["requested"] == str(offset)
    assert failed.metadata["actual"] == "10"


async def test_files_of_the_kernel_are_read_though_they_claim_to_be_empty(box):
    """Their size is 0, their content is not."""
    got = await read(box, "/proc/version")

    assert got.info.size == 0
    assert got.data.startswith(b"Linux")


@pytest.mark.parametrize(
    ("path", "seen", "actual"),
    [
        ("folder", ("FAILED_PRECONDITION", "NOT_A_FILE"), "directory"),
        ("link-to-folder", ("FAILED_PRECONDITION", "NOT_A_FILE"), "directory"),
        ("pipe", ("FAILED_PRECONDITION", "NOT_A_FILE"), "other"),
        ("socket", ("FAILED_PRECONDITION", "NOT_A_FILE"), "other"),
        ("missing", ("NOT_FOUND", "FILE_NOT_FOUND"), None),
        ("dangling", ("NOT_FOUND", "FILE_NOT_FOUND"), None),
        ("round", ("NOT_FOUND", "FILE_NOT_FOUND"), None),
        ("file/below", ("NOT_FOUND", "FILE_NOT_FOUND"), None),
        ("closed", ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE"), None),
        ("locked/file", ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE"), None),
    ],
)
async def test_what_cannot_be_read_is_refused_at_once_and_says_why(box, folder, path, seen, actual):
    """A pipe above all must not be waited for."""
    await in_folder(
        box,
        folder,
        "mkdir folder locked && ln -s folder link-to-folder && mkfifo pipe && echo >file && "
        "ln -s nothing dangling && ln -s round round && echo >closed && chmod 0 closed && "
        "echo >locked/file && chmod 0 locked && "
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"",
    )
    failed = await failure(read(box, f"{folder}/{path}"))

    assert failed.seen == seen
    assert failed.metadata.get("actual") == actual
    assert failed.metadata["path"].startswith(folder)


async def test_a_user_is_one_of_the_sandboxes(box, folder):
    """It is that user who reads, so that it has to be there."""
    await in_folder(box, folder, "echo hi >it")
    assert (await read(box, f"{folder}/it", user="user")).data == b"hi\n"
    failed = await failure(read(box, f"{folder}/it", user="no-such-user"))

    assert failed.seen == ("FAILED_PRECONDITION", "USER_NOT_FOUND")


@pytest.mark.parametrize("path", ["/tmp/../etc/passwd", "../etc/passwd", "a//b", "x" * 300])
async def test_a_path_that_is_none_is_invalid(box, path):
    """As everywhere in the contract."""
    assert (await failure(read(box, path))).seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert (await failure(page(box, path))).seen == ("INVALID_ARGUMENT", "INVALID_PATH")


async def test_a_reader_that_leaves_ends_what_reads(box, folder):
    """Nothing goes on reading for nobody."""
    await in_folder(box, folder, f"truncate -s 2G {(mark := unlikely())}")
    call = opened(box, f"{folder}/{mark}")
    await call.read()
    assert (await call.read()).data
    ran = await box.run(f"pgrep -fc '[r]ead {folder}/{mark}'")
    call.cancel()

    assert int(ran.text) > 0
    for _ in range(200):
        ran = await box.run(f"pgrep -fc '[r]ead {folder}/{mark}'")
        if int(ran.text) == 0:
            break
    assert int(ran.text) == 0


async def test_a_folder_is_listed_in_byte_order_with_what_each_entry_is(box, folder):
    """Links are told, not followed."""
    await in_folder(
        box,
        folder,
        "mkdir -m 750 b b/c && printf 12345 >b/c/five && ln -s ../nothing a && mkfifo p && "
        "echo >b.txt && touch -d @1500.25 Z && chmod 4711 Z",
    )
    flat = await listed(box, folder)
    deep = await listed(box, folder, depth=256)
    by_name = {it.path.removeprefix(f"{folder}/"): it for it in deep}

    assert [it.path.removeprefix(f"{folder}/") for it in flat] == ["Z", "a", "b", "b.txt", "p"]
    assert list(by_name) == ["Z", "a", "b", "b.txt", "b/c", "b/c/five", "p"]
    assert [it for it in deep if it.path.count("/") == 3] == flat
    assert by_name["Z"].mode == 0o4711
    assert by_name["Z"].modify_time.ToDatetime(UTC) == datetime.fromtimestamp(1500.25, UTC)
    assert (by_name["a"].kind, by_name["a"].link_target) == (pb.ENTRY_KIND_LINK, "../nothing")
    assert (by_name["b"].kind, by_name["b"].mode) == (pb.ENTRY_KIND_DIRECTORY, 0o750)
    assert (by_name["b/c/five"].kind, by_name["b/c/five"].size) == (pb.ENTRY_KIND_FILE, 5)
    assert by_name["p"].kind == pb.ENTRY_KIND_OTHER
    assert {it.size for name, it in by_name.items() if name in ("a", "b", "p")} == {0}
    assert len({(it.user, it.group) for it in deep}) == 1


async def test_pages_are_the_whole_without_holes_whatever_the_names(box, folder):
    """Names with line breaks, glob characters and no UTF-8 are names."""
    names = ["[a]*", "\\", "^.$", "a\nb", "a\n", " ", "-n", "ü", "..."]
    quoted = " ".join(f"$'{it.encode().hex(' ')}'" for it in names)
    quoted = " ".join(
        "$'" + "".join(f"\\x{byte:02x}" for byte in it.encode()) + "'" for it in names
    )
    await in_folder(box, folder, f"touch -- {quoted} $'\\xff' $'a\\xfe' && mkdir -p d && touch d/e")
    whole = await page(box, folder, depth=2)
    paths = [it.path for it in whole.files]
    found = await listed(box, folder, depth=2, page_size=1)

    assert sorted(it.removeprefix(f"{folder}/") for it in paths) == sorted([*names, "d", "d/e"])
    assert paths == sorted(paths, key=str.encode)
    assert found == list(whole.files)
    assert whole.unnameable_count == 2
    assert not whole.next_page_token


async def test_a_page_token_is_good_for_the_same_list_only(box, folder):
    """Another folder, depth, user or sandbox is another list."""
    await in_folder(box, folder, "touch a b c")
    token = (await page(box, folder, page_size=2)).next_page_token

    assert [it.path[-1] for it in (await page(box, folder, page_token=token)).files] == ["c"]
    for other in ({"depth": 2}, {"user": "root"}, {"page_token": "x"}, {"page_token": token[4:]}):
        failed = await failure(page(box, folder, **{"page_token": token, **other}))
        assert failed.seen == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
    failed = await failure(page(box, "/tmp", page_token=token))
    assert failed.seen == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


async def test_a_page_goes_on_behind_an_entry_that_is_gone(box, folder):
    """What changes between two pages may be missed, and nothing else."""
    await in_folder(box, folder, "touch a b c d")
    token = (await page(box, folder, page_size=2)).next_page_token
    await in_folder(box, folder, "rm b && touch aa bb")

    rest = await page(box, folder, page_token=token)
    assert [it.path.rpartition("/")[2] for it in rest.files] == ["bb", "c", "d"]


async def test_what_is_no_folder_of_the_users_is_not_listed(box, folder):
    """A folder below it that is closed is listed without what is in it."""
    await in_folder(
        box, folder, "echo >file && mkdir -p closed/in && chmod 0 closed && ln -s closed door"
    )
    assert (await failure(page(box, f"{folder}/file"))).metadata["actual"] == "file"
    assert (await failure(page(box, f"{folder}/door"))).reason == "FILE_NOT_ACCESSIBLE"
    assert (await failure(page(box, f"{folder}/none"))).reason == "FILE_NOT_FOUND"
    assert (await failure(page(box, folder, user="no-such-user"))).reason == "USER_NOT_FOUND"
    names = [it.path.rpartition("/")[2] for it in await listed(box, folder, depth=9)]
    assert names == ["closed", "door", "file"]
    assert "/etc" in [it.path for it in await listed(box, "/")]


async def test_a_page_with_long_names_ends_before_the_message_is_too_large(box, folder):
    """One message holds 4 MiB; 10,000 paths may have ten times that."""
    code = (
        "import os; d = '/'.join(['x' * 250] * 13); os.makedirs(d); os.chdir(d)\n"
        "for i in range(1100): open(f'{i:04}' + 'y' * 240, 'w')"
    )
    await in_folder(box, folder, f'python3 -c "{code}"')
    first = await page(box, folder, depth=20, page_size=10_000)
    found = await listed(box, folder, depth=20, page_size=10_000)

    assert first.next_page_token
    assert len(first.SerializeToString()) < 4 << 20
    assert len({it.path for it in found}) == len(found) == 1113


async def test_what_is_paused_or_gone_is_told_as_such(client):
    """Looking wakes nobody up."""
    own = await client.sandbox()
    await client.destroy(own.sandbox_id)
    for call in (read(own, "/etc/passwd"), page(own, "/")):
        assert (await failure(call)).seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")


async def test_a_sandbox_that_ends_while_it_is_read_ends_the_call(client):
    """With what became of it."""
    own = await client.sandbox()
    await own.run("truncate -s 4G /tmp/large")
    call = opened(own, "/tmp/large")
    await call.read()
    await client.destroy(own.sandbox_id)

    async def rest():
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() is grpc.StatusCode.OK

    assert (await failure(rest())).seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")
