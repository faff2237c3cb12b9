"""Syncs whose service is killed on the way, and what they leave in the sandbox.

The service is a real process over a backend that outlives it. It gets SIGKILL at a
random moment of a sync over a tree that exists: while the upload comes in, while the
sandbox unpacks, hashes, moves or deletes. What has begun inside goes on without it, so
the tree is looked at from the moment of the kill on, past the service, by E2B's SDK.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import grpc
from e2b import AsyncSandbox
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, until
from tests.support.local import backend
from tests.support.service import Service, state_folder
from tests.support.trees import File, data, digest, file_header, header

TENANT = "kills"
ROOT = "app"
FILES = 400
FOLDERS = 20
_LIST = (
    f"cd ~/{ROOT} && find . -type f -printf 'listed  %p\\n'"
    " && { find . -type f -print0 | xargs -0r sha256sum; true; }"
)
_GOES_ON = "test -e ~/.sandbox-sync && ! flock -n ~/.sandbox-sync/lock true"
_STAGED = "until compgen -G ~/'.sandbox-sync/stage/*' >/dev/null; do sleep 0.005; done"
_LEFT = "cd ~ && find . -path '*.sandbox-sync/stage/*' -prune -print"
_ARCHIVES = "cd ~ && find . -path '*.sandbox-sync/*' -name '*.tar'"

Tree = dict[str, bytes]


@dataclass
class Found:
    """What the rounds came to.

    Attributes:
        trees: How many killed syncs left which tree, right then and in the end: the
            old one, the new one, a mixture.
        answered: How many calls were answered all the same.
        archives: How many uploads lay in the sandbox at the end.
        wrong: What must not be, a line each.
    """

    trees: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    archives: int = 0
    wrong: list[str] = field(default_factory=list)


def first_tree(rng: random.Random) -> Tree:
    """Return files of a few bytes to 60 KB in some folders."""
    return {
        f"pkg_{number % FOLDERS}/module {number}.py": rng.randbytes(rng.choice((20, 2_000, 20_000)))
        for number in range(FILES)
    }


def edited(tree: Tree, number: int, rng: random.Random) -> Tree:
    """Return a tree after a round of edits: most files are other ones, some new, some gone."""
    new = {}
    for path, content in tree.items():
        if (chance := rng.random()) < 0.8:
            new[path] = rng.randbytes(len(content))
        elif chance < 0.95:
            new[path] = content
    for extra in range(15):
        new[f"pkg_{extra % FOLDERS}/new in {number} {extra}.py"] = rng.randbytes(3000)
    return new


def hashes(tree: Tree) -> dict[str, str]:
    """Return each file's hash."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in tree.items()}


async def messages(sandbox_id: str, tree: Tree, sync_id: str) -> AsyncIterator[pb.SyncFilesRequest]:
    """Yield a mirror of a tree."""
    yield header(sandbox_id, ROOT, mode=pb.SYNC_MODE_MIRROR, sync_id=sync_id)
    for path, content in tree.items():
        yield file_header(path, content, mode=0o644)
        if content:
            yield data(content)


@dataclass(frozen=True, slots=True)
class Seen:
    """The files of the sandbox's root, which may change while it is looked at.

    Attributes:
        listed: Their paths.
        hashes: By path, of those that were there after the listing.
    """

    listed: set[str]
    hashes: dict[str, str]


async def there(sandbox: AsyncSandbox) -> Seen:
    """Look at the sandbox's root."""
    printed = await sandbox.commands.run(_LIST)
    listed, found = set[str](), dict[str, str]()
    for line in printed.stdout.splitlines():
        value, _, path = line.partition("  ")
        path = path.removeprefix("./")
        if value == "listed":
            listed.add(path)
        else:
            found[path] = value
    return Seen(listed, found)


def verdict(seen: Seen, old: Tree, new: Tree) -> tuple[str, list[str]]:
    """Compare what a killed sync has left with what it found and what it was sent.

    Returns:
        Which tree it is, and what must not be.
    """
    before, after, found = hashes(old), hashes(new), seen.hashes
    wrong = []
    for path in before.keys() | after.keys():
        allowed = {before.get(path), after.get(path)}
        if found.get(path) not in allowed:
            state = "lost" if path not in found else "neither old nor new"
            wrong.append(f"{path}: {state}")
    wrong += [f"{path}: unknown" for path in found.keys() - before.keys() - after.keys()]
    # What was gone before the first file was hashed went when all had been written.
    gone = before.keys() - after.keys() - seen.listed
    if gone and any(found.get(path) != value for path, value in after.items()):
        wrong.append("something was deleted before everything had been written")
    if found == after:
        return "new", wrong
    return ("old" if found == before else "mixed"), wrong


def client_of(service: Service) -> AbstractAsyncContextManager[Client]:
    return Client.connected(service.grpc_address, TENANT)


async def kill_rounds(rounds: int, seed: int, say: Callable[[str], None] = print) -> Found:
    """Kill the service in the middle of `rounds` syncs, and look after each.

    Args:
        rounds: How many.
        seed: Of the trees, and of the moments.
        say: Told of each round in a line.
    """
    rng = random.Random(seed)
    found, state = Found(), state_folder()
    say(f"seed {seed}")
    try:
        with backend() as env:
            sdk = {
                "api_key": env["E2B_API_KEY"],
                "domain": env["E2B_DOMAIN"],
                "api_url": env["E2B_API_URL"],
                "sandbox_url": env["E2B_SANDBOX_URL"],
            }
            await _rounds(rounds, rng, found, say, sdk, lambda: Service.start(env=env, state=state))
    finally:
        shutil.rmtree(state)
    return found


async def _rounds(
    rounds: int,
    rng: random.Random,
    found: Found,
    say: Callable[[str], None],
    sdk: Mapping[str, str],
    start: Callable[[], Service],
) -> None:
    service = await _ready(start())
    try:
        async with client_of(service) as client:
            sandbox_id = (await client.create(lifetime={"seconds": 3600})).sandbox.sandbox_id
            old, receipt = first_tree(rng), pb.SyncFilesResponse()
            for _ in range(2):
                receipt = await client.sync(messages(sandbox_id, old, ""))
                before, old = old, edited(old, 0, rng)
        times = {it.phase: it.duration.ToTimedelta().total_seconds() for it in receipt.timings}
        upload = times.pop("upload")
        takes = {"upload": upload, "apply": sum(times.values())}
        old = before
        sandbox = await AsyncSandbox.connect(sandbox_id, timeout=3600, **sdk)
        for number in range(1, rounds + 1):
            new = edited(old, number, rng)
            sync_id = f"round-{number}-{secrets.token_hex(4)}"
            phase = ("upload", "apply", "apply")[number % 3]
            moment = rng.uniform(0.0, takes[phase])
            call = messages(sandbox_id, new, sync_id)
            answered = await _killed(service, sandbox, call, moment, staged=phase == "apply")
            tree, wrong = await _looked(sandbox, old, new)
            if answered and not tree.endswith("new at the end"):
                wrong.append(f"the sync had been answered, and the tree is {tree}")
            found.wrong += [it for it in service.close() if "left running" in it]
            service = await _ready(start())
            async with client_of(service) as client:
                receipt = await client.sync(messages(sandbox_id, new, sync_id))
            wrong += await _after(sandbox, new, receipt)
            found.archives = len((await sandbox.commands.run(_ARCHIVES)).stdout.splitlines())
            found.trees[tree] += 1
            found.answered += answered
            found.wrong += [f"round {number}: {it}" for it in wrong]
            say(
                f"round {number}: killed {moment * 1e3:.0f} ms into the {phase}, of about "
                f"{takes[phase] * 1e3:.0f} ms: {tree}{', answered' if answered else ''}"
            )
            old = new
        async with client_of(service) as client:
            await client.destroy(sandbox_id)
    finally:
        found.wrong += service.close()


async def _ready(service: Service) -> Service:
    await asyncio.to_thread(service.wait_until_ready)
    return service


async def _killed(
    service: Service,
    sandbox: AsyncSandbox,
    sent: AsyncIterator[pb.SyncFilesRequest],
    moment: float,
    *,
    staged: bool,
) -> bool:
    """Kill a service some time into a sync, or into what happens inside.

    Returns:
        Whether the sync was answered all the same.
    """
    async with client_of(service) as client:
        call = asyncio.ensure_future(client.sync(sent))
        if staged:
            await sandbox.commands.run(_STAGED)
        await asyncio.wait([call], timeout=moment)
        service.process.kill()
        service.wait()
        try:
            await call
        except grpc.aio.AioRpcError:
            return False
        return True


async def _looked(sandbox: AsyncSandbox, old: Tree, new: Tree) -> tuple[str, list[str]]:
    """Look at the tree from the kill on until nothing goes on inside any more.

    Returns:
        Which tree the first look found and which the last; what was wrong at any.
    """
    first, wrong = "", list[str]()
    while True:
        goes_on = (await sandbox.commands.run(f"{_GOES_ON} && echo on; true")).stdout
        tree, seen = verdict(await there(sandbox), old, new)
        first = first or f"{tree} at the kill"
        # A file that is just being replaced has a second name for a moment.
        wrong += [it for it in seen if not (goes_on and it.endswith(": unknown"))]
        if not goes_on:
            return f"{first}, {tree} at the end", wrong


async def _after(sandbox: AsyncSandbox, tree: Tree, receipt: pb.SyncFilesResponse) -> list[str]:
    """Look at what the repeated sync has left. Returns what must not be."""
    wrong = []
    if receipt.root_digest != digest({path: File(it, 0o644) for path, it in tree.items()}):
        wrong.append("the repeated sync's digest is not that of what was sent")
    if (await there(sandbox)).hashes != hashes(tree):
        wrong.append("the repeated sync's tree is not what was sent")

    async def tidy() -> bool:
        return not (await sandbox.commands.run(_LEFT)).stdout

    try:
        await until(tidy)
    except TimeoutError:
        wrong.append(f"left: {(await sandbox.commands.run(_LEFT)).stdout}")
    return wrong
