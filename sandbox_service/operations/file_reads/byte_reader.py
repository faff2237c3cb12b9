"""Reading exact amounts of a stream that comes in pieces of any size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from sandbox_service.domain.errors import BackendError


class ByteReader:
    """A stream of bytes, taken as its reader likes.

    Holds at most one piece, and what it was asked to wait for.

    Args:
        pieces: The stream. Read no further than is needed.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0

    async def _more(self) -> bool:
        """Wait for the next piece, keeping what has not been taken. False: there is none."""
        async for piece in self._pieces:
            self._held = self._held[self._at :] + piece
            self._at = 0
            return True
        return False

    async def field(self, limit: int) -> bytes:
        """Take everything before the next NUL, and the NUL.

        Args:
            limit: The most bytes before it.

        Raises:
            BackendError: The stream ends before it, or it does not come in time.
        """
        searched = 0
        while (end := self._held.find(b"\0", self._at + searched)) < 0:
            searched = len(self._held) - self._at
            if searched > limit or not await self._more():
                raise _broken()
        if end - self._at > limit:
            raise _broken()
        taken = self._held[self._at : end]
        self._at = end + 1
        return taken

    async def exactly(self, size: int) -> bytes:
        """Take so many bytes.

        Raises:
            BackendError: The stream ends before.
        """
        taken = await self.gathered(size)
        if len(taken) < size:
            raise _broken()
        return taken

    async def some(self, limit: int) -> bytes:
        """Take what is there, 1 to `limit` bytes. Nothing: the stream has ended."""
        while self._at == len(self._held):
            if not await self._more():
                return b""
        return self._take(min(limit, len(self._held) - self._at))

    async def skip(self, size: int) -> None:
        """Take so many bytes and forget them.

        Raises:
            BackendError: The stream ends before.
        """
        while size > 0:
            taken = await self.some(size)
            if not taken:
                raise _broken()
            size -= len(taken)

    async def pieces(self, size: int, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """Take so many bytes, in pieces of at most `piece_bytes`.

        Raises:
            BackendError: The stream ends before.
        """
        while size > 0:
            piece = await self.gathered(min(piece_bytes, size))
            if not piece:
                raise _broken()
            size -= len(piece)
            yield piece

    async def gathered(self, size: int) -> bytes:
        """Take so many bytes, or all that are left if those are fewer."""
        pieces: list[bytes] = []
        while size > 0 and (piece := await self.some(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take(self, size: int) -> bytes:
        taken = self._held[self._at : self._at + size]
        self._at += size
        return taken


def _broken() -> BackendError:
    return BackendError("What the sandbox answered cannot be read. Repeat the call.")
