"""What a sync makes of a machine: its ports, its settings, an index that is damaged."""

from __future__ import annotations

import secrets
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_service.domain.files import SyncHeader, SyncReceipt
from tests.integration.bash_sandbox import record
from tests.integration.sync_home import Home, Tree, digest, found, sent, stream

_TREE: Tree = {"é/l\ni": (0o644, b"one"), "b": (0o755, b"two"), "to": "b", "é": 0o755}


async def _send_by(home: Home, port: int) -> SyncReceipt:
    """Sync something into a sandbox whose preview has a port of this machine."""
    box = record()
    box = replace(box, preview=replace(box.preview, port=port))
    tree: Tree = {"f": (0o644, secrets.token_bytes(8))}
    return await home.sync.sync(box, SyncHeader(root="project"), stream(sent(tree)))


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")],
)
async def test_a_port_is_open_while_a_program_listens_on_it(
    tmp_path: Path, family: socket.AddressFamily, address: str
) -> None:
    """Among all the connections that the machine has."""
    home = Home(tmp_path)
    with socket.socket(family) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        bound = await _send_by(home, port)
        server.listen()
        listening = await _send_by(home, port)
    closed = await _send_by(home, port)

    assert (bound.listening, listening.listening, closed.listening) == (False, True, False)


@pytest.mark.parametrize("setting", ["PERL5OPT=-Mno_such_module", "PERL_UNICODE=SDA"])
async def test_what_programs_in_the_sandbox_set_up_for_perl_is_not_heeded(
    tmp_path: Path, setting: str
) -> None:
    home = Home(tmp_path, wrap=("env", setting))
    await home.send(_TREE)

    receipt = await home.send({"é/l\ni": (0o644, b"three")})

    assert receipt.modified == ("é/l\ni",)
    assert receipt.root_digest == digest(found(home.root))


@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
async def test_of_a_damaged_index_nothing_wrong_is_believed(tmp_path: Path, left: float) -> None:
    """One that was cut off, wherever, costs hashing and no more."""
    home = Home(tmp_path)
    tree: Tree = {f"f{number}": (0o644, b"%d" % number) for number in range(40)}
    await home.send(tree)
    assert await home.clean()
    (index,) = (tmp_path / ".sandbox-sync").glob("index.*")
    content = index.read_bytes()
    index.write_bytes(content[: int(len(content) * left)])

    receipt = await home.send({"f7": (0o644, b"new")})

    assert receipt.root_digest == digest(found(home.root))
