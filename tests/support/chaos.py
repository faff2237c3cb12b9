"""Chaos: many execs, while connections break, readers vanish and the service is killed.

The backend runs on its own and outlives the service, which is a real process
on one state folder. Everything is drawn from one seed: which programs run,
which requests go wrong and how, when readers leave and when the service dies.
What the machine makes of it differs from run to run; what has to hold does not.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
from miosa.sandbox import v1 as pb

from tests.support import local
from tests.support.calls import Box, Client, Ran, until
from tests.support.chaos_reader import ATTACHED, DETACHED, DURABLE, RUNS, Follower, Numbers
from tests.support.processes import family
from tests.support.service import Service, state_folder

_TENANT = "chaos"
_STREAMS = "^/process.Process/(Start|Connect)$"
_CALLS = "^/process.Process/"
_RULES_AT_ONCE = 200
_CALM_S = 90.0
_TIDY_S = 60.0
"""What could not be ended while connections broke is tried again, at the latest after 40 s."""

_SMALL_JOURNALS = {"SANDBOX_JOURNAL_BYTES_MAX": str(256 * 1024)}
"""So that readers fall behind: what is durable has to come from its spool then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much chaos.

    Attributes:
        seed: Of all of it.
        seconds: How long execs are started, and things go wrong.
        execs: How many are started in that time.
        boxes: In how many sandboxes.
        kills: How often the service is killed.
    """

    seed: int
    seconds: float
    execs: int
    boxes: int = 2
    kills: int = 2


@dataclass(slots=True)
class Report:
    """What came of it.

    Attributes:
        wrong: What must not be, a line each. Empty: all is well.
        seen: How often what happened, for people.
    """

    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.seen.items()))
        return "\n".join([counts, *self.wrong])


class Killable:
    """A service that is killed and started anew, on one state folder.

    Args:
        env: Where its backend is.

    Attributes:
        client: For the one that runs, or ran last.
    """

    client: Client

    def __init__(self, env: dict[str, str], closing: AsyncExitStack) -> None:
        self._env = env
        self._closing = closing
        self._state: Path = state_folder()
        self._service: Service | None = None
        self._left: list[str] = []

    async def start(self) -> None:
        """Start it, and make a client for it."""
        service = self._service = Service.start(env=self._env, state=self._state)
        await asyncio.to_thread(service.wait_until_ready)
        connected = Client.connected(service.grpc_address, _TENANT)
        # Those of the dead stay open: closing one would cancel its readers.
        self.client = await self._closing.enter_async_context(connected)

    async def kill(self) -> None:
        """Give it no chance to tidy up."""
        if self._service is None:
            raise RuntimeError("not started")
        self._service.signal(signal.SIGKILL)
        await asyncio.to_thread(self._service.wait)
        self._left += self._service.close()

    async def stop(self) -> list[str]:
        """Stop it well. Returns what went wrong with that, or with a kill before."""
        if self._service is not None:
            self._left += [
                f"a bug: {it}" for it in self._service.events() if it.get("event") == "call.bug"
            ]
            self._left += await asyncio.to_thread(self._service.close)
        shutil.rmtree(self._state)
        return self._left


class Faults:
    """Makes the backend fail, at random.

    Args:
        http: To the backend.
        chance: What goes wrong next.
    """

    def __init__(self, http: httpx.AsyncClient, chance: Random) -> None:
        self._http = http
        self._chance = chance
        self._numbers = itertools.count()

    async def go_on(self) -> None:
        """Add a rule every now and then."""
        while True:
            number = next(self._numbers)
            await self._add(number)
            await self._http.delete(f"/local/faults/chaos-{number - _RULES_AT_ONCE}")
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    async def end(self) -> int:
        """Let nothing go wrong any more. Returns how often something did."""
        rules = (await self._http.get("/local/faults")).json()
        (await self._http.delete("/local/faults")).raise_for_status()
        return sum(rule["fired"] for rule in rules)

    async def _add(self, number: int) -> None:
        chance = self._chance
        kind, path, params = chance.choice(
            (
                *[("drop", _STREAMS, {"after_bytes": int(10 ** chance.uniform(2, 5))})] * 5,
                *[("drop", _CALLS, {"after_bytes": chance.randrange(250)})] * 3,
                ("status", _CALLS, {"status": 503}),
                ("delay", _CALLS, {"seconds": 0.3, "jitter_seconds": 0.5}),
                (
                    "stall",
                    _STREAMS,
                    {
                        "after_bytes": int(10 ** chance.uniform(2, 5)),
                        "seconds": chance.uniform(0.1, 3),
                    },
                ),
            )
        )
        rule = {
            "id": f"chaos-{number}",
            "kind": kind,
            "match": {"plane": "envd", "path": path},
            "params": params,
            "times": chance.randint(1, 3),
            "probability": chance.choice((0.3, 1)),
            "seed": chance.randrange(2**31),
        }
        (await self._http.post("/local/faults", json=rule)).raise_for_status()


def _numbers(number: int, chance: Random) -> Numbers:
    """Draw a program: most write for seconds, a few flood."""
    exec_id = f"chaos-{number:04d}-{chance.randrange(10**6):06d}"
    code = chance.choice((0, 0, 1, 7, 42))
    if chance.random() < 0.15:
        return Numbers(exec_id, ticks=20, lines=1500, rest_ms=20, code=code)
    return Numbers(
        exec_id,
        ticks=chance.randint(5, 120),
        lines=chance.choice((1, 2, 20)),
        rest_ms=chance.choice((5, 30, 90)),
        code=code,
    )


class Chaos:
    """One run of chaos.

    Args:
        plan: How much.
        service: What is killed.
        faults: What else goes wrong.
        backend_pid: Of the backend, whose sandboxes have to be gone at the end.
    """

    def __init__(self, plan: Plan, service: Killable, faults: Faults, backend_pid: int) -> None:
        self._plan = plan
        self._service = service
        self._faults = faults
        self._backend_pid = backend_pid
        self._report = Report()
        self._boxes: list[str] = []

    async def run(self) -> Report:
        """Run it, and look at what is left."""
        plan, empty = self._plan, len(family(self._backend_pid))
        chance = Random(plan.seed)
        for _ in range(plan.boxes):
            box = await self._service.client.sandbox(lifetime={"seconds": 3600 * 6})
            await box.run(f"mkdir {RUNS}")
            self._boxes.append(box.sandbox_id)
        followers = [self._follower(it, chance) for it in range(plan.execs)]
        faulting = asyncio.create_task(self._faults.go_on())
        leaving = asyncio.create_task(self._leave_behind(Random(chance.random())))
        reading = [
            asyncio.create_task(self._read(it, chance.uniform(0, plan.seconds * 0.8)))
            for it in followers
        ]
        try:
            await self._kills(chance)
            faulting.cancel()
            leaving.cancel()
            self._report.seen["faults"] = await self._faults.end()
            await asyncio.wait(reading, timeout=_CALM_S)
        finally:
            for task in (faulting, leaving, *reading):
                task.cancel()
            ended = await asyncio.gather(faulting, leaving, *reading, return_exceptions=True)
        self._report.wrong += [repr(it) for it in ended if isinstance(it, Exception)]
        self._judge(followers)
        await self._look_around(followers)
        await asyncio.gather(*map(self._service.client.destroy, self._boxes))
        try:
            await until(lambda: len(family(self._backend_pid)) <= empty)
        except TimeoutError:
            self._report.wrong.append("the backend has processes left of sandboxes that are gone")
        return self._report

    def _follower(self, number: int, chance: Random) -> Follower:
        # What has to survive everything is most of it.
        retention = chance.choice((DURABLE, DURABLE, DETACHED, ATTACHED))
        box = self._boxes[number % len(self._boxes)]
        numbers = _numbers(number, chance)
        return Follower(box, numbers, retention, Random(chance.random()))

    async def _read(self, follower: Follower, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while not follower.done:
            await follower.call(self._service.client)
            await follower.away()

    async def _leave_behind(self, chance: Random) -> None:
        """Start programs without an end, and leave them: nobody ever ends them but the service."""
        for number in itertools.count():
            box = Box(self._service.client, chance.choice(self._boxes))
            call = box.exec(f"exec -a chaos-left-{number} sleep 100000")
            with suppress(grpc.aio.AioRpcError, TimeoutError):
                async with asyncio.timeout(chance.choice((0.02, 5))):
                    await call.read()
            call.cancel()
            self._report.seen["left"] += 1
            await asyncio.sleep(chance.uniform(0.05, 0.5))

    async def _kills(self, chance: Random) -> None:
        """Let time pass, and kill the service now and then."""
        began, plan = time.monotonic(), self._plan
        for number in range(plan.kills):
            due = began + plan.seconds * (number + chance.uniform(0.2, 0.9)) / plan.kills
            await asyncio.sleep(max(due - time.monotonic(), 0))
            await self._service.kill()
            await asyncio.sleep(chance.choice((0, 0.5, 1.5)))
            await self._service.start()
            self._report.seen["kills"] += 1
        await asyncio.sleep(max(began + plan.seconds - time.monotonic(), 0))

    def _judge(self, followers: list[Follower]) -> None:
        names = {DURABLE: "durable", DETACHED: "detached", ATTACHED: "attached"}
        for it in followers:
            name = names[it.retention]
            self._report.seen[
                f"{name} {'lost' if it.lost else 'whole' if not it.gaps else 'gaps'}"
            ] += 1
            self._report.seen["calls"] += it.calls
            if wrong := it.verdict():
                failures = ", ".join(it.failures[-5:])
                self._report.wrong.append(f"{name} {it.numbers}: {wrong} [{failures}]")

    async def _look_around(self, followers: list[Follower]) -> None:
        """Look into every sandbox: nothing runs, and nothing has run twice."""
        for sandbox_id in self._boxes:
            box = Box(self._service.client, sandbox_id)
            try:
                await until(lambda box=box: _still(box), _TIDY_S)
            except TimeoutError:
                left = (
                    await box.run("ps -ef 2>/dev/null || grep -la chaos- /proc/[0-9]*/cmdline")
                ).text
                self._report.wrong.append(f"left running in {sandbox_id}: {left[:2000]}")
            counted = await box.run(f"cd {RUNS} && wc -l -- chaos-*")
            runs = {line.split()[1]: int(line.split()[0]) for line in counted.text.splitlines()}
            for it in followers:
                exec_id, count = it.numbers.exec_id, runs.get(it.numbers.exec_id, 0)
                if it.box == sandbox_id and (count > 1 or (it.exited and count < 1)):
                    self._report.wrong.append(f"{exec_id} ran {count} times")


async def _still(box: Box) -> bool:
    """Whether no exec runs in a sandbox, for the service and in truth."""
    request = pb.ListExecsRequest(sandbox_id=box.sandbox_id, state=pb.EXEC_STATE_RUNNING)
    if (await box.client.call("ListExecs", request)).execs:
        return False
    # A class of one character, so that the search does not find itself.
    found: Ran = await box.run("grep -la 'chao[s]-' /proc/[0-9]*/cmdline 2>/dev/null; true")
    return not found.text


@asynccontextmanager
async def _world() -> AsyncIterator[tuple[Killable, httpx.AsyncClient, int]]:
    """A backend that can fail, and a service that can be killed on it."""
    async with AsyncExitStack() as closing:
        told: dict[str, Any] = closing.enter_context(
            local.started(local.KEY, "--faults", "--warm=0")
        )
        url = told["url"]
        env = {"E2B_API_KEY": local.KEY, "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
        env |= _SMALL_JOURNALS
        headers = {"X-API-Key": local.KEY}
        http = await closing.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers))
        service = Killable(env, closing)
        await service.start()
        wrong: list[str] = []
        try:
            yield service, http, told["pid"]
        finally:
            wrong += await service.stop()
        if wrong:
            raise AssertionError("\n".join(wrong))


async def run(plan: Plan) -> Report:
    """Run chaos in a world of its own; the world's end is checked too."""
    async with _world() as (service, http, backend_pid):
        return await Chaos(plan, service, Faults(http, Random(plan.seed + 1)), backend_pid).run()
