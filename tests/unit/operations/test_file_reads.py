"""What the service makes of what its scripts say, and of their ends: nothing is called whole."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from contextlib import aclosing

import pytest

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    FileNotFoundInSandboxError,
    InvalidPageTokenError,
    OutcomeUnknownError,
    SandboxEndedError,
)
from sandbox_service.domain.execs import Stream
from sandbox_service.domain.file_errors import FileChangedError
from sandbox_service.domain.file_reads import (
    FileInfo,
    FileRange,
    FolderQuery,
    ReadSummary,
    TreeQuery,
    TreeSummary,
)
from sandbox_service.domain.files import SyncData, SyncDirectory, SyncFile, SyncLink
from sandbox_service.domain.processes import ProcessEnd, ProcessGap, ProcessOutput
from sandbox_service.operations import page_tokens
from sandbox_service.operations.file_reads import FileReads
from tests.support.scripted import ScriptedProvider, SetClock, running_record

HEAD = b"=file\0/a/b\x0010\x00644\x001500.250000000\0user\0group\0"
RECORD = running_record(SetClock())
END = ProcessEnd(0, "")
DIGEST = hashlib.sha256(b"0123456789").hexdigest().encode()


def sandbox(*events):
    """A provider whose next program does this."""
    provider = ScriptedProvider()
    process = provider.next
    for event in events:
        match event:
            case bytes():
                process.writes(event)
            case ProcessOutput(stream, data):
                process.writes(data, stream)
            case ProcessGap():
                process.gap()
            case ProcessEnd(code, signal):
                process.ends(code, signal)
            case _:
                process.fails(event)
    return provider, process


def stderr(data):
    return ProcessOutput(Stream.STDERR, data)


async def read(provider, **what):
    return [it async for it in FileReads(provider).read(RECORD, FileRange(path="b", **what))]


async def download(provider):
    return [it async for it in FileReads(provider).download(RECORD, TreeQuery(root="r"))]


async def listing(provider, **query):
    query = {"path": "f", "depth": 1, "page_size": 10, **query}
    return await FileReads(provider).list(RECORD, FolderQuery(**query))


def tar(*members):
    """Return what tar writes of (path, content | target | None for a folder)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, bufsize=65536) as archive:
        for path, content in members:
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return raw.getvalue().ljust(-(-len(raw.getvalue()) // 65536) * 65536, b"\0")


def batch(hashed, *members):
    """What the script writes of files with hashes, and of what tar has packed."""
    found = len({*hashed, *(path.encode(errors="surrogateescape") for path, _ in members)})
    lines = b"".join(
        b"%b  %b\0" % (hashlib.sha256(content).hexdigest().encode(), path)
        for path, content in hashed.items()
    )
    return b"=batch\0%d\0" % found + lines + b"\0" + tar(*members) + b"=gone\0" + b"0\0"


async def test_a_file_is_what_it_is_its_bytes_and_a_summary():
    """In pieces as they come; small ones are gathered."""
    provider, process = sandbox(HEAD[:7], HEAD[7:] + b"0123", b"456789", END)
    info, data, summary = await read(provider)

    assert isinstance(info, FileInfo)
    assert (info.path, info.size, info.mode, info.user) == ("/a/b", 10, 0o644, "user")
    assert data == b"0123456789"
    assert summary == ReadSummary(10, hashlib.sha256(data).digest())
    assert process.closed
    assert process.kills == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (DIGEST, {}),
        (hashlib.sha256(b"0123456789").hexdigest().encode(), {"length": 99}),
    ],
)
async def test_a_file_that_is_touched_is_whole_when_its_range_is_the_same(said, what):
    """A log that grows would otherwise never be read."""
    provider, _ = sandbox(HEAD + b"0123456789", stderr(b"=changed\0" + said + b"\0"), END)
    assert isinstance((await read(provider, **what))[-1], ReadSummary)


@pytest.mark.parametrize("said", [DIGEST[:-1] + b"x", b"", DIGEST[:-1]])
async def test_a_file_whose_range_is_another_one_is_told(said):
    """Also when the sandbox could not hash it any more."""
    provider, _ = sandbox(HEAD + b"0123456789", stderr(b"=changed\0" + said + b"\0"), END)
    with pytest.raises(FileChangedError):
        await read(provider)


async def test_a_file_that_was_cut_short_is_told():
    """Its shorter content is a state of it, but not that of the size that was told."""
    said = b"=changed\0" + hashlib.sha256(b"01").hexdigest().encode() + b"\0"
    provider, _ = sandbox(HEAD + b"01", stderr(said), END)
    with pytest.raises(FileChangedError):
        await read(provider)


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ((), BackendUnavailableError("lost")),
        ((HEAD, b"0123"), BackendUnavailableError("lost")),
        ((HEAD, b"0123"), SandboxEndedError("gone")),
        ((HEAD, b"0123"), OutcomeUnknownError("lost")),
    ],
)
async def test_a_reading_that_breaks_says_how_and_is_ended(events, error):
    """Nothing has changed, so that the caller may simply repeat it."""
    provider, process = sandbox(*events, error)
    kind = SandboxEndedError if isinstance(error, SandboxEndedError) else BackendUnavailableError
    with pytest.raises(kind) as caught:
        await read(provider)

    assert process.closed
    assert len(process.kills) == 1
    if kind is BackendUnavailableError:
        assert caught.value.retry_after


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((HEAD, ProcessGap(Stream.STDOUT), b"3", END), BackendUnavailableError),
        ((HEAD, b"0123", ProcessEnd(1, "")), BackendError),
        ((HEAD, b"0123", ProcessEnd(None, "KILL")), BackendError),
        ((HEAD[:-1], END), BackendError),
        ((b"", END), BackendError),
        ((b"=else\0", END), BackendError),
        ((b"x" * 10_000, END), BackendError),
        ((HEAD.replace(b"644", b"6x4"), END), BackendError),
        ((HEAD.replace(b"\x0010\0", b"\0?\0"), END), BackendError),
    ],
)
async def test_an_answer_that_makes_no_sense_is_no_file(events, kind):
    """What is in a sandbox may answer what it likes."""
    provider, _ = sandbox(*events)
    with pytest.raises(kind):
        await read(provider)


async def test_a_refusal_is_told_and_needs_no_kill():
    """The script has ended by itself."""
    provider, process = sandbox(b"=failed\0missing\0/a/b\0other\0", ProcessEnd(3, ""))
    with pytest.raises(FileNotFoundInSandboxError) as caught:
        await read(provider)

    assert caught.value.metadata == {"path": "/a/b"}
    assert process.kills == []


async def test_a_reader_that_leaves_lets_go_and_ends_the_script():
    """Closing comes first, so that a backend that does not answer holds nobody."""
    provider, process = sandbox(HEAD + b"0123")
    order = []
    process.on_kill = lambda: order.append(process.closed)
    async with aclosing(FileReads(provider).read(RECORD, FileRange(path="b"))) as parts:
        await anext(parts)

    assert order == [True]


async def test_nothing_is_asked_of_the_backend_before_it_is_wanted():
    """A slow reader holds the read back."""
    provider, process = sandbox(HEAD, *[bytes(256 * 1024)] * 8, END)
    async with aclosing(FileReads(provider).read(RECORD, FileRange(path="b"))) as parts:
        await anext(parts)
        assert process.taken == 1
        await anext(parts)
        assert process.taken == 2


async def test_a_tree_comes_in_order_and_is_counted():
    """Folders, then what is in them; what has no name in UTF-8 is left out."""
    sent = []
    provider, _ = sandbox(
        b"=root\0/r\0",
        batch({b"./d/f": b"abc"}, ("./d", None), ("./d/f", b"abc"), ("./l", "d/f")),
        batch({b"./d2/\xff": b"x"}, ("./d2", None), ("./d2/\udcff", b"x")),
        b"=end\x002\0",
        END,
    )
    reads = FileReads(provider, on_sent=sent.append)
    root, *parts, summary = [it async for it in reads.download(RECORD, TreeQuery(root="r"))]

    assert root.path == "/r"
    assert [type(it) for it in parts] == [
        SyncDirectory, SyncFile, SyncData, SyncLink, SyncDirectory,
    ]  # fmt: skip
    assert isinstance(summary, TreeSummary)
    assert (summary.entries, summary.sent_bytes, summary.skipped) == (4, 3, 3)
    assert sent == [3]


def alone(path, content, sent=None):
    """What the script writes of a file that is just being written."""
    sha256 = hashlib.sha256(content).hexdigest().encode()
    head = b"=file\0" + b"\0".join([path, b"%d" % len(content), b"640", b"1.5", sha256]) + b"\0"
    return head + (content if sent is None else sent)


def batch_alone(*files):
    return b"=batch\0%d\0\0" % len(files) + tar() + b"".join(files) + b"=gone\x000\0"


async def test_files_that_are_just_being_written_come_by_themselves():
    """As they were when they were opened; of no use without a name in UTF-8."""
    files = [alone(b"./log", b"abc"), alone(b"./\xff", b"abc"), alone(b"./empty", b"")]
    provider, _ = sandbox(b"=root\0/r\0", batch_alone(*files), b"=end\x000\0", END)
    _, log, data, empty, summary = await download(provider)

    assert (log.path, log.size, log.mode, log.mtime.timestamp()) == ("log", 3, 0o640, 1.5)
    assert data == SyncData(b"abc")
    assert (empty.path, empty.size) == ("empty", 0)
    assert (summary.entries, summary.skipped) == (2, 1)


CHANGED = {
    "one that is just being written": batch_alone(alone(b"./f", b"abc", b"ab\0")),
    "another content": batch({b"./f": b"abc"}, ("./f", b"abd")),
    "gone after it was hashed": batch({b"./f": b"abc"}),
    "there after it was not": batch({}, ("./f", b"abc")),
    "its folder is a link": batch({b"./d/f": b""}, ("./d", "/etc"), ("./d/f", b"")),
    "its folder is gone": batch({b"./d/f": b""}, ("./d/f", b"")),
    "an entry is missing": batch({}, ("./d", None)).replace(b"=batch\x001", b"=batch\x002"),
    "a missing entry is there": batch({}, ("./d", None)).replace(b"=gone\x000", b"=gone\x001"),
    "a file twice": batch({b"./f": b""}, ("./f", b"")) * 2,
    "a file for a link": batch({b"./f": b""}, ("./f", "/etc/x"), ("./f", b"")),
}


@pytest.mark.parametrize("output", CHANGED.values(), ids=CHANGED)
async def test_a_tree_that_changes_on_the_way_is_never_called_whole(output):
    """Nor is anything told that would lie in what is no folder."""
    provider, _ = sandbox(b"=root\0/r\0", output, b"=end\x000\0", END)
    with pytest.raises(FileChangedError):
        await download(provider)


@pytest.mark.parametrize(
    "path", ["../f", "./../f", "/etc/passwd", "./d/../../f", "./", "./a//b", "./."]
)
async def test_no_path_of_a_tree_leaves_it(path):
    """Whoever makes the tree anew may trust that."""
    provider, _ = sandbox(
        b"=root\0/r\0", batch({path.encode(): b""}, ("./a", None), (path, b"")), b"=end\x000\0", END
    )
    with pytest.raises((BackendError, FileChangedError)):
        await download(provider)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"=root\0",
        b"=else\0/r\0",
        b"=root\0/r\0",
        b"=root\0/r\0=end\0many\0",
        b"=root\0/r\0=else\x000\0",
        b"=root\0/r\0=batch\x001\0nothex  ./f\0\0",
        b"=root\0/r\0=end\x000\0and more",
        b"=root\0/r\0" + batch({}, ("./d", None))[:-20],
        b"=root\0/r\0=batch\x001\0" + b"".join(b"0" * 64 + b"  ./%d\0" % i for i in range(300)),
        b"=root\0/r\0=failed\0broken\0\0\0",
    ],
)
async def test_a_tree_without_its_end_is_not_whole(output):
    """However it was cut off."""
    provider, _ = sandbox(output, END)
    with pytest.raises(BackendError):
        await download(provider)


def entry(path, kind=b"f", size=b"1"):
    return b"\0".join([kind, size, b"644", b"1.5", b"u", b"g", path, b""]) + b"\0"


async def test_a_page_is_read_and_goes_on_where_the_sandbox_says():
    """By a token that holds the path's bytes, UTF-8 or not."""
    head = b"=folder\0/f\0=next\0./b\xff\0"
    provider, _ = sandbox(head + entry(b"./a"), entry(b"./b\xff") + b"=end\0", END)
    page = await listing(provider)
    provider.next.writes(b"=folder\0/\0=next\0\0" + entry(b"./c", b"s") + b"=end\0")
    provider.next.ends(0)
    last = await listing(provider, page_token=page.next_page_token)

    assert [it.path for it in page.files] == ["/f/a"]
    assert page.unnameable == 1
    assert provider.specs[-1].program.args[-1] == "Yv8="
    assert [(it.path, it.kind.name, it.size) for it in last.files] == [("/c", "OTHER", 0)]
    assert last.next_page_token == ""


async def test_a_page_that_grows_too_large_ends_early_and_nothing_more_is_read():
    """However many entries of whatever length the sandbox has."""
    one = entry(b"./" + b"x" * 4000)
    provider, process = sandbox(b"=folder\0/f\0=next\0\0", *[one * 100] * 50)
    page = await listing(provider, page_size=10_000)

    assert 700 < len(page.files) < 800
    assert page_tokens.decode_path(page.next_page_token, _mark(page)) == b"x" * 4000
    assert process.taken < 12
    assert len(process.kills) == 1


def _mark(page):
    return base64.urlsafe_b64decode(page.next_page_token).partition(b"\0")[0].decode()


@pytest.mark.parametrize(
    "output",
    [
        b"=folder\0/f\0",
        b"=folder\0/f\0=else\0\0=end\0",
        b"=folder\0/f\0=next\0\0" + entry(b"./a"),
        b"=folder\0/f\0=next\0\0" + entry(b"./a", size=b"x") + b"=end\0",
        b"=folder\0/f\0=next\0\0=end\0=end\0",
    ],
)
async def test_a_page_without_its_end_is_no_page(output):
    """Half a list looks like a whole one."""
    provider, _ = sandbox(output, END)
    with pytest.raises(BackendError):
        await listing(provider)


@pytest.mark.parametrize("path", [b"a", b"a/b\n", b"\xff\xfe", b"x" * 4096])
def test_a_page_token_brings_back_any_path(path):
    """And stays within what a request may carry."""
    token = page_tokens.encode_path(path, "mark")

    assert page_tokens.decode_path(token, "mark") == path
    assert len(token) <= 8192


@pytest.mark.parametrize(
    "token",
    ["x", "====", "ä", page_tokens.encode_path(b"a", "other"), page_tokens.encode_path(b"", "mark"),
     page_tokens.encode_path(b"a\0b", "mark"), page_tokens.encode_path(b"a", "mark") + "?"],
)  # fmt: skip
def test_a_page_token_that_is_none_is_refused(token):
    """Whoever made it up."""
    with pytest.raises(InvalidPageTokenError):
        page_tokens.decode_path(token, "mark")
