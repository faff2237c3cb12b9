"""The SDK in its two forms, so that a test is written once and runs on both."""

from __future__ import annotations

import asyncio
from typing import Any

from e2b import AsyncSandbox, Sandbox

from tests.conformance.e2b.endpoint import Endpoint

# What is no coroutine in the asynchronous SDK either.
_PLAIN = {"get_host", "download_url", "upload_url", "list_snapshots"}


class _Awaited:
    """An object of the synchronous SDK whose methods are coroutines."""

    def __init__(self, it: Any) -> None:
        self._it = it

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._it, name)
        if not callable(value):
            return _awaited(value)
        if name in _PLAIN:
            return lambda *arguments, **options: _awaited(value(*arguments, **options))

        async def call(*arguments: Any, **options: Any) -> Any:
            return _awaited(await asyncio.to_thread(value, *arguments, **options))

        return call


def _awaited(value: Any) -> Any:
    if isinstance(value, list):
        return [_awaited(each) for each in value]
    of_the_sdk = type(value).__module__.startswith("e2b.sandbox_sync")
    return _Awaited(value) if of_the_sdk else value


class Sdk:
    """The SDK, told where E2B is.

    Attributes:
        form: `async` or `sync`; the calls are coroutines in either.
    """

    def __init__(self, form: str, endpoint: Endpoint) -> None:
        self.form = form
        self._endpoint = endpoint
        self._made: list[Any] = []

    @property
    def cls(self) -> Any:
        """The class of sandboxes, for calls that name one by its id."""
        return AsyncSandbox if self.form == "async" else _Awaited(Sandbox)

    @property
    def options(self) -> dict[str, Any]:
        """What each call of the class is given."""
        return self._endpoint.sdk

    async def create(self, template: str | None = None, **options: Any) -> Any:
        """Make a sandbox, which ends with the test."""
        asked = {"timeout": 120, **options}
        made = await self.cls.create(
            template or self._endpoint.template, **{**self.options, **asked}
        )
        self._made.append(made)
        return made

    async def connect(self, sandbox_id: str, **options: Any) -> Any:
        """Take up a sandbox that is there."""
        return await self.cls.connect(sandbox_id, **{**self.options, **options})

    def list(self, **options: Any) -> Any:
        """List sandboxes."""
        kind = AsyncSandbox if self.form == "async" else Sandbox
        return _awaited(kind.list(**{**self.options, **options}))

    def list_snapshots(self, **options: Any) -> Any:
        """List snapshots."""
        kind = AsyncSandbox if self.form == "async" else Sandbox
        return _awaited(kind.list_snapshots(**{**self.options, **options}))

    def adopt(self, sandbox: Any) -> Any:
        """See to it that a sandbox made in another way ends with the test."""
        self._made.append(sandbox)
        return sandbox

    async def close(self) -> None:
        """End what was made."""
        await asyncio.gather(*(sandbox.kill() for sandbox in self._made))


async def pages(paginator: Any) -> list[Any]:
    """Return all items of a paginator."""
    items = []
    while paginator.has_next:
        items += await paginator.next_items()
    return items
