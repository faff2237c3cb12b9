"""Instances are killed while input is written: the program gets every byte, and each once."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.support import local
from tests.support.calls import Client, Ran, events, until
from tests.support.service import Service, state_folder

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

_EXEC = "fed"
_KILLS = 2
_BYTES = 3_000_000
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class _Instances:
    """Two services on one backend and store, each of which may be killed at any time.

    Attributes:
        clients: One for each, as it runs now.
        allowed: How much may be written already.
        written: How much has been.
        lost: How many calls were not answered.
    """

    def __init__(self, env: dict[str, str], state: Path, closing: AsyncExitStack) -> None:
        self._env = {**env, "SANDBOX_STORE_URL": f"sqlite:///{state}/store.db"}
        self._closing = closing
        self._folders = [state / "one", state / "two"]
        self._services: dict[int, Service] = {}
        self.clients: dict[int, Client] = {}
        self.allowed = _BYTES // (_KILLS + 1)
        self.written = 0
        self.lost = 0

    async def start(self, number: int) -> None:
        service = Service.start(env=self._env, state=self._folders[number])
        self._services[number] = service
        await asyncio.to_thread(service.wait_until_ready)
        connected = Client.connected(service.grpc_address, "acme")
        self.clients[number] = await self._closing.enter_async_context(connected)

    async def kill(self, number: int) -> None:
        service = self._services.pop(number)
        service.signal(signal.SIGKILL)
        await asyncio.to_thread(service.wait)
        assert service.close() == []

    async def stop(self) -> None:
        for service in self._services.values():
            assert await asyncio.to_thread(service.close) == []

    async def write(self, sandbox_id: str, data: bytes, chance: Random) -> None:
        """Send all of it, by whichever instance, and again whatever was not answered."""
        offset, ended = 0, False
        while not ended:
            # So that there is input left for every kill.
            size = min(int(10 ** chance.uniform(0, 5.3)), self.allowed - offset)
            if size <= 0 and offset < len(data):
                await asyncio.sleep(0.02)
                continue
            request = pb.SendInputRequest(
                sandbox_id=sandbox_id,
                exec_id=_EXEC,
                offset=offset,
                data=data[offset : offset + size],
                end_of_input=offset + size >= len(data),
            )
            client = self.clients[chance.randrange(2)]
            try:
                answer = await client.call("SendInput", request, timeout=20)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _LOST:
                    raise
                self.lost += 1
                await asyncio.sleep(0.05)
                continue
            assert answer.next_offset >= offset + len(request.data)
            ended, offset = request.end_of_input, answer.next_offset
            self.written = max(self.written, offset)


@asynccontextmanager
async def _instances() -> AsyncIterator[_Instances]:
    state = state_folder()
    async with AsyncExitStack() as closing:
        env = closing.enter_context(local.backend())
        instances = _Instances(env, state, closing)
        try:
            await asyncio.gather(instances.start(0), instances.start(1))
            yield instances
        finally:
            await instances.stop()
    shutil.rmtree(state)


async def test_a_durable_program_gets_every_byte_once_whoever_is_killed():
    """Two writers send the same, over two instances that die in turn."""
    chance = Random(seed := secrets.randbelow(2**31))
    print(f"seed {seed}")
    data = chance.randbytes(_BYTES)
    async with _instances() as them:
        box = await them.clients[0].sandbox(lifetime={"seconds": 3600})
        call = box.exec(
            "cat >got; sha256sum <got; wc -c <got",
            exec_id=_EXEC,
            stdin={"mode": pb.STDIN_MODE_STREAM},
            retention=pb.RETENTION_DURABLE,
        )
        await events(call, 1)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(them.write(box.sandbox_id, data, Random(chance.random())))
            group.create_task(_kills(them, chance))
        client = them.clients[1]
        attached = client.call("Attach", pb.AttachRequest(sandbox_id=box.sandbox_id, exec_id=_EXEC))
        ran = Ran(await events(attached))
        again = await client.call(
            "SendInput",
            pb.SendInputRequest(
                sandbox_id=box.sandbox_id, exec_id=_EXEC, data=data[:1000], end_of_input=False
            ),
        )
        await client.destroy(box.sandbox_id)

    assert ran.text.split()[0] == sha256(data).hexdigest()
    assert ran.text.split()[-1] == str(_BYTES)
    assert ran.outcome == ("EXIT", 0)
    assert again.next_offset == _BYTES
    assert them.lost > 0


async def _kills(them: _Instances, chance: Random) -> None:
    """Kill an instance while both are written to, start it again, and so on."""
    for kills in range(_KILLS):
        enough = them.allowed - chance.randrange(_BYTES // (_KILLS + 1))
        await until(lambda enough=enough: them.written >= enough)
        number = chance.randrange(2)
        await them.kill(number)
        await them.start(number)
        them.allowed = _BYTES * (kills + 2) // (_KILLS + 1)
