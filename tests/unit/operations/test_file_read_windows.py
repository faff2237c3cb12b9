"""Pages of a folder that were listed ahead: the sandbox is asked once for many of them."""

from __future__ import annotations

import pytest

from sandbox_service.domain.file_reads import FolderQuery
from sandbox_service.operations.file_reads import FileReads
from sandbox_service.operations.file_reads.windows import Window, Windows
from tests.support.calls import until
from tests.support.scripted import ScriptedProvider, SetClock, running_record

RECORD = running_record(SetClock())
NAMES = [b"%04d" % number for number in range(250)]


def answer(names, following=b"", folder=b"/f"):
    """Return what list.sh writes of files with these names."""
    entries = b"".join(b"f\x001\x00644\x001.5\0u\0g\0./%b\0\0" % it for it in names)
    return b"=folder\0%b\0=next\0%b\0" % (folder, following) + entries + b"=end\0"


def window(begin, end, *, more=True):
    """Return the window of these names."""
    names = NAMES[begin:end]
    entries = [[b"f", b"1", b"644", b"1", b"u", b"g", it, b""] for it in names]
    after = NAMES[begin - 1] if begin else b""
    return Window(b"/f", after, names, entries, names[-1] if more else b"")


class Folder:
    """A folder that is listed page by page, and the sandbox that it is in."""

    def __init__(self):
        self.provider = ScriptedProvider()
        self.reads = FileReads(self.provider)

    async def page(self, token="", *output, **query):
        """List a page; the sandbox answers so, should it be asked."""
        if output:
            for piece in output:
                self.provider.next.writes(piece)
            self.provider.next.ends(0)
        asked = {"path": "f", "depth": 1, "page_size": 100, "page_token": token, **query}
        found = await self.reads.list(RECORD, FolderQuery(**asked))
        return [it.path.removeprefix("/f/").encode() for it in found.files], found.next_page_token

    @property
    def asked(self):
        """How often the sandbox was asked, and for how many entries at last."""
        specs = self.provider.specs
        return len(specs), int(specs[-1].program.args[-2])


@pytest.fixture
def folder():
    return Folder()


async def test_who_turns_a_page_gets_the_next_ones_at_once(folder):
    """The first page alone lists no more than was asked for: many want no other."""
    first, token = await folder.page("", answer(NAMES[:100], b"./0099"))
    once = folder.asked
    second, token = await folder.page(token, answer(NAMES[100:]))
    twice = folder.asked
    third, last = await folder.page(token)

    assert first + second + third == NAMES
    assert last == ""
    assert once == (1, 100)
    assert twice == folder.asked == (2, 10_000)


async def test_a_page_may_be_asked_for_again(folder):
    """With the same token, and in another size."""
    _, token = await folder.page("", answer(NAMES[:100], b"./0099"))
    second, _ = await folder.page(token, answer(NAMES[100:]))
    again, _ = await folder.page(token)
    fewer, rest = await folder.page(token, page_size=7)
    others, _ = await folder.page(rest)

    assert again == second
    assert fewer == NAMES[100:107]
    assert others == NAMES[107:207]
    assert folder.asked[0] == 2


async def test_behind_a_window_the_sandbox_is_asked_again(folder):
    """From where it ends, also when what it ended with is gone."""
    _, token = await folder.page("", answer(NAMES[:100], b"./0099"))
    _, token = await folder.page(token, answer(NAMES[100:199], b"./0199"))
    rest, last = await folder.page(token, answer(NAMES[200:]))

    assert rest == NAMES[200:]
    assert last == ""
    assert folder.asked[0] == 3


async def test_a_first_page_is_always_a_new_look(folder):
    """Whoever begins again wants to see what is there now."""
    _, token = await folder.page("", answer(NAMES[:100], b"./0099"))
    await folder.page(token, answer(NAMES[100:]))
    now, _ = await folder.page("", answer(NAMES[5:9]))

    assert now == NAMES[5:9]


@pytest.mark.parametrize("size", [1, 3, 64])
async def test_a_list_is_whole_in_whatever_pieces_it_comes(folder, size):
    """The end of a field may be anywhere."""
    output = answer(NAMES)
    pieces = [output[at : at + size] for at in range(0, len(output), size)]
    names, last = await folder.page("", *pieces, page_size=1000)

    assert (names, last) == (NAMES, "")


def test_a_window_covers_what_begins_in_it():
    """From the path before its first entry up to the one before its last."""
    some, rest = window(100, 200), window(100, 250, more=False)

    assert not some.covers(NAMES[98])
    assert some.covers(NAMES[99])
    assert some.covers(NAMES[150] + b"x")
    assert some.covers(NAMES[198])
    assert not some.covers(NAMES[199])
    assert rest.covers(NAMES[249])
    assert rest.begin(NAMES[249]) == 150


async def test_no_more_is_kept_than_there_is_room_for():
    """The oldest goes first; what is too large by itself is not kept."""
    one = window(100, 200)
    windows = Windows(bytes_max=2 * one.size())
    for mark in ("a", "b", "c"):
        windows.keep(mark, one)
    windows.keep("d", window(0, 250))

    assert [windows.find(mark, NAMES[100]) is one for mark in "abc"] == [False, True, True]
    assert windows.find("d", NAMES[100]) is None


async def test_a_window_is_believed_for_a_moment_only():
    """Then the folder is looked at again."""
    windows = Windows(kept_s=0.05)
    lasting = Windows(kept_s=1000)
    for it in (windows, lasting):
        it.keep("a", window(100, 200))
    await until(lambda: windows.find("a", NAMES[100]) is None)

    assert lasting.find("a", NAMES[100]) is not None
    windows.keep("a", window(100, 200))
    assert windows.find("a", NAMES[100]) is not None
