"""A client that syncs folders, and rsync. `python -m tests.bench.sync_peer GRPC_ADDRESS FOLDER`."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1 import sandbox_service_pb2_grpc

from sandbox_service.client.hashes import SETTLED_NS, HashCache, hash_files
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.plan import compare
from sandbox_service.client.sync import FolderSync
from sandbox_service.client.tree import walk
from tests.bench.peers import obey

_METADATA = (("x-miosa-tenant-id", "bench"),)
_FOLDERS = 280
_LARGEST = 20_000
_SMALLEST = 200
_EDITED = 0.01


class SyncPeer:
    """A client with a sandbox of its own, and trees of files on this machine's disk.

    Args:
        stub: Of SandboxService.
        folder: Where trees are made, each with what rsync makes of it beside it.
    """

    def __init__(self, stub: Any, folder: Path) -> None:
        self._stub = stub
        self._folder = folder
        self._sandbox_id = ""

    async def tree(self, name: str, count: int) -> dict[str, int]:
        """Make a tree of small files, and wait until it counts as settled, as trees mostly are.

        Hashes of files that were just written are not kept. How many there are, and their bytes.
        """
        files = {f"package_{it % _FOLDERS}/module_{it}.py": _content(0, it) for it in range(count)}
        for path, content in files.items():
            file = self._folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        await asyncio.sleep(1.1 * SETTLED_NS / 1e9)
        return {"files": count, "size": sum(map(len, files.values()))}

    async def packages(self, name: str) -> dict[str, int]:
        """Copy the packages that this process runs on; how many files, and their bytes."""
        shutil.copytree(
            sysconfig.get_path("purelib"),
            self._folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        sizes = [it.lstat().st_size for it in (self._folder / name).rglob("*") if it.is_file()]
        return {"files": len(sizes), "size": sum(sizes)}

    async def edit(self, name: str, count: int, round_: int) -> int:
        """Change one file of a hundred, other ones each round; how many were changed."""
        edited = range(round_ % 100, count, round(1 / _EDITED))
        for number in edited:
            file = self._folder / name / f"package_{number % _FOLDERS}/module_{number}.py"
            file.write_bytes(_content(round_ + 1, number))
        return len(edited)

    async def sync(self, name: str, root: str, *, full: bool = False) -> float:
        """Sync a tree into the sandbox: look, hash, plan, send, verify; seconds.

        Args:
            name: The tree's.
            root: Where to.
            full: Hash every file on both sides, whatever was known of it.
        """
        header = pb.SyncFilesHeader(
            sandbox_id=await self._sandbox(),
            root=root,
            mode=pb.SYNC_MODE_MIRROR,
            verify=pb.SYNC_VERIFY_FULL if full else pb.SYNC_VERIFY_INDEX,
        )
        began = time.perf_counter()
        client = FolderSync(self._stub, _METADATA, gitignore=False)
        synced = await client.sync(self._folder / name, header)
        took = time.perf_counter() - began
        if synced.identical is not True:
            raise RuntimeError("the sandbox's folder is not the same")
        return took

    async def rsync(self, name: str, copy: str, *, full: bool = False) -> float:
        """Run `rsync -a`, with `full` `rsync -ac`, from this disk to this disk; seconds."""
        flags = "-ac" if full else "-a"
        source, target = f"{self._folder / name}/", f"{self._folder / 'copies' / copy}/"
        Path(target).parent.mkdir(exist_ok=True)
        began = time.perf_counter()
        await asyncio.to_thread(
            subprocess.run, ["rsync", flags, "--delete", source, target], check=True
        )
        return time.perf_counter() - began

    async def plan(self, name: str, root: str) -> float:
        """Ask what differs, of a tree whose hashes are known here; seconds."""
        tree = walk(self._folder / name, Ignores([]), gitignore=False)
        hash_files(tree, HashCache(None), lambda *_: None)
        header = pb.PlanSyncHeader(sandbox_id=await self._sandbox(), root=root)
        began = time.perf_counter()
        plan = await compare(self._stub, _METADATA, header, tree)
        took = time.perf_counter() - began
        if plan.missing or plan.extra or plan.changed:
            raise RuntimeError("a tree that was synced differs")
        return took

    async def _sandbox(self) -> str:
        if not self._sandbox_id:
            request = pb.CreateRequest(template="base", lifetime=Duration(seconds=3600))
            created = await self._stub.Create(request, metadata=_METADATA)
            self._sandbox_id = created.sandbox.sandbox_id
        return self._sandbox_id

    async def close(self) -> None:
        """End the sandbox."""
        if self._sandbox_id:
            request = pb.DestroyRequest(sandbox_id=self._sandbox_id)
            await self._stub.Destroy(request, metadata=_METADATA)


def _content(round_: int, number: int) -> bytes:
    """Return 0.2 to 20 KB, most of them few: what source code looks like."""
    digest = hashlib.sha256(f"{round_}:{number}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    size = int(_SMALLEST + (_LARGEST - _SMALLEST) * share**2)
    return (digest.hex().encode() * (size // 64 + 1))[:size]


async def main(address: str, folder: str) -> None:
    """Obey, then end the sandbox."""
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        peer = SyncPeer(sandbox_service_pb2_grpc.SandboxServiceStub(channel), Path(folder))
        names = ("tree", "packages", "edit", "sync", "rsync", "plan")
        try:
            await obey({name: getattr(peer, name) for name in names})
        finally:
            await peer.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
