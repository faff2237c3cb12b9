"""A machine that only pretends, and a fleet on it."""

from __future__ import annotations

import asyncio
import os

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.fleet.store import SandboxRecord
from sandbox_service.e2b_local.machine import GuestLostError


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class FakeGuest:
    """A guest that does at once, or when it is let, what it is told."""

    def __init__(self, machine, sandbox_id):
        self.sandbox_id = sandbox_id
        self.boot_id = f"boot-{len(machine.boots)}"
        self.ended = asyncio.get_running_loop().create_future()
        self.files = b""
        self.frozen = False
        self.silent = False
        self.refusal = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def _do(self):
        self.entered.set()
        await self.gate.wait()
        if self.ended.done():
            raise GuestLostError(self.ended.result())
        if self.refusal is not None:
            raise self.refusal

    async def freeze(self):
        await self._do()
        self.frozen = True

    async def thaw(self):
        await self._do()
        self.frozen = False

    async def stat(self, path):
        if self.silent:
            await asyncio.get_running_loop().create_future()

    async def usage(self, *, disk_max_age_seconds):
        raise GuestLostError("not measured here")

    def die(self, cause):
        if not self.ended.done():
            self.ended.set_result(cause)

    async def kill(self):
        self.gate.set()
        self.die("it was killed")


class FakeMachine:
    def __init__(self, folder):
        self.snapshots_dir = folder
        self.boots = []
        self.specs = {}
        self.guests = {}
        self.shelf = {}
        self.refusal = None
        self.disk_low = False

    async def boot(self, sandbox_id, spec):
        if self.refusal is not None:
            raise self.refusal
        guest = FakeGuest(self, sandbox_id)
        guest.files = self.shelf.pop(sandbox_id, b"")
        if spec.archive_fd is not None:
            guest.files = os.pread(spec.archive_fd, 1024, 0)
        self.boots.append(sandbox_id)
        self.specs[sandbox_id] = spec
        self.guests[sandbox_id] = guest
        return guest

    async def shelve(self, sandbox_id):
        guest = self.guests[sandbox_id]
        await guest._do()
        self.shelf[sandbox_id] = guest.files
        await guest.kill()

    async def archive(self, sandbox_id, descriptor):
        guest = self.guests[sandbox_id]
        await guest._do()
        os.write(descriptor, guest.files)

    async def discard(self, sandbox_id):
        self.shelf.pop(sandbox_id, None)

    async def close(self):
        for guest in self.guests.values():
            await guest.kill()


class FakeWire:
    def __init__(self):
        self.aborted = False

    def abort(self):
        self.aborted = True


class FakeExchange:
    def __init__(self):
        self.wire = FakeWire()


async def make(fleet, sandbox_id="ia", **fields):
    record = SandboxRecord(
        sandbox_id=sandbox_id,
        template=Template(template_id="base"),
        started_at=1000.0,
        end_at=1060.0,
        lifetime_seconds=60,
        access_token="token",
        **fields,
    )
    return await fleet.create(record)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0)
