"""Requests that are carried out once, however often they are sent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ResultT = TypeVar("ResultT")

KEPT_SECONDS: Final = 24 * 3600.0
_KEYS_KEPT: Final = 10_000


class KeyReusedError(Exception):
    """The key was used before, with another request."""


@dataclass(slots=True)
class _Attempt(Generic[ResultT]):
    fingerprint: bytes
    begun_at: float
    task: asyncio.Task[ResultT]


class OnceByKey(Generic[ResultT]):
    """Remembers results by the key that the client chose.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._attempts: OrderedDict[str, _Attempt[ResultT]] = OrderedDict()

    async def run(
        self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[ResultT]]
    ) -> ResultT:
        """Do the work, or join or repeat the result of the first who asked for it.

        A failure is told to everyone who waits for it and then forgotten.

        Raises:
            KeyReusedError: The first one asked for something else.
        """
        self._drop_old()
        attempt = self._attempts.get(key)
        if attempt is None:
            task = asyncio.ensure_future(self._work(key, work))
            attempt = self._attempts[key] = _Attempt(fingerprint, self._clock(), task)
        elif attempt.fingerprint != fingerprint:
            raise KeyReusedError
        return await asyncio.shield(attempt.task)

    async def _work(self, key: str, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        try:
            return await work()
        except BaseException:
            self._attempts.pop(key, None)
            raise

    def _drop_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        while self._attempts:
            attempt = next(iter(self._attempts.values()))
            if attempt.begun_at > oldest and len(self._attempts) < _KEYS_KEPT:
                return
            self._attempts.popitem(last=False)
