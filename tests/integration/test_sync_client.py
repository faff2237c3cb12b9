"""The sync client: after any edits, the sandbox's folder is the one here."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miosa.sandbox import v1 as pb

from sandbox_service.client.sync import FolderSync
from tests.support import folders
from tests.support.folders import described, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = int(os.environ.get("TREES_EXAMPLES", "10"))
"""How many histories of a tree are tried; a number for CI, more for a long run."""

NAMES = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "-rf",
        " x ",
        "é日",
        "l\ni\n",
        "\\",
        "*",
        "$(id)",
        "'",
        '"',
        "#",
        "!n",
        "n" * 200,
    ]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.binary(max_size=20) | st.builds(bytes.__mul__, st.binary(max_size=3), st.just(70_000))
FILE_MODES = st.sampled_from([0o644, 0o755, 0o600, 0o400, 0o777])
FOLDER_MODES = st.sampled_from([0o755, 0o700, 0o775])
TARGETS = st.sampled_from(["a", "b/c", "./a", "a//b", "é日", "l\ni\n", "-rf", "."])

Edit = Callable[[Path], None]


def edit(what, *arguments, two=False):
    """Return a strategy of edits: functions that take the folder to edit."""

    def build(path, other, *values):
        def apply(root: Path) -> None:
            what(root / path, *((root / other,) if two else ()), *values)

        apply.__name__ = f"{what.__name__}({path!r}, {other if two else ''!r}, {values!r:.40})"
        return apply

    return st.builds(build, PATHS, PATHS, *arguments)


EDITS = st.one_of(
    edit(folders.write, CONTENTS, FILE_MODES),
    edit(folders.write, CONTENTS, FILE_MODES),
    edit(folders.rewrite),
    edit(folders.chmod, FILE_MODES, FOLDER_MODES),
    edit(folders.link, TARGETS),
    edit(folders.folder, FOLDER_MODES),
    edit(folders.rename, two=True),
    edit(folders.delete),
)
SCRIBBLES = st.builds(
    lambda command, path: command.replace("PATH", shlex.quote(f"./{path}")),
    st.sampled_from(
        [
            "rm -rf PATH",
            "mkdir -p PATH/below && echo junk >PATH/below/junk",
            "rm -rf PATH && ln -s /etc PATH",
            "echo junk >PATH",
            "chmod 711 PATH",
            "mkfifo PATH",
        ]
    ),
    PATHS,
)


def client(box, **how) -> FolderSync:
    return FolderSync(box.client.stub, box.client.metadata, cached=False, **how)


def mirror(box, root, **fields) -> pb.SyncFilesHeader:
    return pb.SyncFilesHeader(
        sandbox_id=box.sandbox_id, root=root, mode=pb.SYNC_MODE_MIRROR, **fields
    )


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/client-{secrets.token_hex(4)}"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.lists(EDITS, min_size=1, max_size=8), st.lists(SCRIBBLES, max_size=2)),
        min_size=1,
        max_size=5,
    )
)
async def test_after_any_edits_the_sandbox_has_the_same_tree(box, history):
    """Content, modes, links and absence; by the sandbox's own tools, and by digest."""
    root = f"/tmp/any-{secrets.token_hex(4)}"
    syncing = client(box)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for edits, scribbles in history:
            for apply in edits:
                apply(folder)
            # The root is not there before the first sync.
            await box.run(f"cd {root} || exit 0; {'; '.join(scribbles)}")
            synced = await syncing.sync(folder, mirror(box, root))

            assert await sandboxed(box, root) == described(folder)
            assert synced.identical is True
            assert synced.tree.left_out == {}

        again = await syncing.sync(folder, mirror(box, root))
        assert (again.receipt is None) == bool(described(folder))
    await box.run(["rm", "-rf", root])
