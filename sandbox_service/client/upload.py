"""Sending what a sandbox's folder lacks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from miosa.sandbox import v1 as pb

from sandbox_service.client.hashes import FLAGS
from sandbox_service.client.tree import File, Stamp, Tree
from sandbox_service.client.work import Work

_CHUNK_BYTES: Final = 512 * 1024
_BATCH: Final = 64
_TOGETHER_BYTES: Final = 256 * 1024
_TOGETHER: Final = 500
"""Small files travel together: of one alone most of the time goes into its messages."""

_MTIME_NS_MAX: Final = 0o77777777777 * 1_000_000_000


class SourceChangedError(Exception):
    """A file was written, or is gone, since it was hashed; its path is the message."""


async def upload(
    stub: Any,  # noqa: ANN401 - generated code has no types.
    metadata: Sequence[tuple[str, str]],
    header: pb.SyncFilesHeader,
    tree: Tree,
    todo: Work,
    on_sent: Callable[[int, int], None],
) -> pb.SyncFilesResponse:
    """Send a piece of work, and return the receipt.

    Files are read as they are sent, a few at a time.

    Args:
        stub, metadata: What to call.
        header: Where, and how.
        tree: Where the files are.
        todo: What to send.
        on_sent: Told of files and bytes that have gone.

    Raises:
        SourceChangedError: A file changed since it was hashed. Nothing was changed in the sandbox.
        grpc.aio.AioRpcError: The call failed.
    """
    call = stub.SyncFiles(metadata=metadata)
    messages = _messages(header, tree, todo)
    try:
        batch = await asyncio.to_thread(_some, messages)
        while batch:
            reading = asyncio.create_task(asyncio.to_thread(_some, messages))
            try:
                # When the call has ended early, its own error says why.
                with suppress(asyncio.InvalidStateError):
                    for message in batch:
                        await call.write(message)
                        on_sent(*_files_and_bytes(message))
            finally:
                batch = await reading
            if call.done():
                break
        if not call.done():
            await call.done_writing()
        receipt: pb.SyncFilesResponse = await call
    except grpc.aio.AioRpcError:
        raise
    except BaseException:
        call.cancel()
        raise
    finally:
        # A thread may still read for a call that was cancelled; it closes its file itself.
        with suppress(ValueError):
            messages.close()
    return receipt


def _some(messages: Iterator[pb.SyncFilesRequest]) -> list[pb.SyncFilesRequest]:
    """Return the next messages: some small ones, or a few large ones."""
    taken = []
    room = 4 * _CHUNK_BYTES
    for message in islice(messages, _BATCH):
        taken.append(message)
        room -= message.ByteSize()
        if room < 0:
            break
    return taken


def _files_and_bytes(message: pb.SyncFilesRequest) -> tuple[int, int]:
    """Return how many files begin in a message, and the bytes of content in it."""
    together = message.entries.entries
    files = message.HasField("file") + sum(it.HasField("file") for it in together)
    return files, len(message.data) + sum(len(it.data) for it in together)


def _messages(header: pb.SyncFilesHeader, tree: Tree, todo: Work) -> Any:  # noqa: ANN401
    yield pb.SyncFilesRequest(header=header)
    together: list[pb.SyncEntry] = []
    size = 0
    with closing(_parts(tree, todo)) as parts:
        for part in parts:
            if isinstance(part, pb.SyncEntry):
                together.append(part)
                size += part.ByteSize()
                if size < _TOGETHER_BYTES and len(together) < _TOGETHER:
                    continue
            if together:
                yield pb.SyncFilesRequest(entries=pb.SyncEntries(entries=together))
                together, size = [], 0
            if isinstance(part, pb.SyncFilesRequest):
                yield part
    if together:
        yield pb.SyncFilesRequest(entries=pb.SyncEntries(entries=together))


def _parts(tree: Tree, todo: Work) -> Any:  # noqa: ANN401 - a generator, to be closed.
    """Yield entries that may travel together, and messages that may not."""
    for path, mode in todo.folders.items():
        yield pb.SyncEntry(directory=pb.SyncDirectory(path=path, mode=mode))
    for path, target in todo.links.items():
        yield pb.SyncEntry(link=pb.SyncLink(path=path, target=target))
    for file in todo.files.values():
        head = pb.SyncFileHeader(
            path=file.path, mode=file.mode, size=file.stamp.size, sha256=file.sha256
        )
        if 0 <= file.stamp.mtime_ns <= _MTIME_NS_MAX:
            seconds, nanos = divmod(file.stamp.mtime_ns, 1_000_000_000)
            head.modify_time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
        content = _content(f"{tree.folder}/{file.path}", file)
        if file.stamp.size > _TOGETHER_BYTES:
            yield pb.SyncFilesRequest(file=head)
            for data in content:
                yield pb.SyncFilesRequest(data=data)
        else:
            yield pb.SyncEntry(file=head, data=b"".join(content))
    for path in todo.deletes:
        yield pb.SyncEntry(delete=pb.SyncDelete(path=path))


def _content(source: str, file: File) -> Iterator[bytes]:
    try:
        handle = os.open(source, FLAGS)
    except OSError as error:
        raise SourceChangedError(file.path) from error
    try:
        _check(handle, file)
        left = file.stamp.size
        while left:
            data = os.read(handle, min(left, _CHUNK_BYTES))
            left -= len(data)
            # The last piece goes only when all of it is known to be what was hashed.
            if not left:
                _check(handle, file)
            elif not data:
                raise SourceChangedError(file.path)
            yield data
    finally:
        os.close(handle)


def _check(handle: int, file: File) -> None:
    if Stamp.of(os.fstat(handle)) != file.stamp:
        raise SourceChangedError(file.path)
