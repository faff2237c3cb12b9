"""What every provider of sandboxes does, on every backend: their life, files and previews.

Programs are in `test_provider_programs.py`. `sandbox_backends.py` says how E2B
itself takes part.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sandbox_service.domain.errors import (
    InvalidRequestError,
    LifetimeTooLongError,
    SandboxEndedError,
    TemplateNotFoundError,
    UserNotFoundError,
)
from sandbox_service.domain.execs import ShellCommand
from sandbox_service.domain.ports import BackendSandbox, SandboxProvider
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.domain.sandboxes import PortSeen, PreviewAccess, PreviewSpec, PreviewState
from tests.conformance.sandbox_backends import (
    SUITE,
    WITHOUT_PYTHON,
    Box,
    finished,
    first_output,
    record_of,
    wanted,
)
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SLACK = timedelta(seconds=15)
"""How far a backend's clock and ours may be apart, and how long a call may take."""

_PORT = 3000
_SERVER = (
    "import http.server as h\n"
    "class Page(h.BaseHTTPRequestHandler):\n"
    "  def do_GET(self):\n"
    "    self.send_response(200); self.end_headers(); self.wfile.write(b'the page')\n"
    "  def log_message(self, *_): pass\n"
    f"server = h.ThreadingHTTPServer(('', {_PORT}), Page)\n"
    "print('listening', flush=True)\n"
    "server.serve_forever()\n"
)


async def test_what_was_created_is_described_the_same(provider: SandboxProvider):
    """The record of a sandbox is made from the answer to create; get must not correct it."""
    metadata = {**SUITE, "purpose": "described, with a = and a ü"}

    made = await provider.create(wanted(metadata=metadata, lifetime=timedelta(seconds=90)))
    seen = await provider.get(made.sandbox_id)
    await provider.destroy(made.sandbox_id)

    assert seen is not None
    assert seen.running
    assert seen.metadata == metadata
    assert seen.sandbox_id == made.sandbox_id
    assert abs(seen.end_time - made.end_time) < _SLACK
    assert abs(seen.start_time - made.start_time) < _SLACK
    assert abs((made.end_time - made.start_time) - timedelta(seconds=90)) < timedelta(seconds=2)
    assert seen.resources is not None
    assert seen.resources.cpu_count > 0
    assert seen.resources.memory_mib > 0


async def test_variables_of_a_sandbox_reach_its_programs(provider: SandboxProvider):
    """`CreateSpec.env` is for every program of the sandbox."""
    made = await provider.create(wanted(env={"FROM_CREATE": "two words"}))
    box = Box(provider, made)

    ran = await box.run(ShellCommand('printf %s "$FROM_CREATE"'))
    changed = await box.run(ShellCommand('printf %s "$FROM_CREATE"'), env={"FROM_CREATE": "other"})
    await provider.destroy(made.sandbox_id)

    assert ran.stdout == b"two words"
    assert changed.stdout == b"other"


async def test_a_template_that_does_not_exist_is_told_apart(provider: SandboxProvider):
    """The caller corrects the name; no other failure calls for that."""
    with pytest.raises(TemplateNotFoundError):
        await provider.create(wanted(template_id=f"no-such-template-{secrets.token_hex(4)}"))


async def test_a_lifetime_beyond_the_backend_is_refused(provider: SandboxProvider):
    """It is the backend's ceiling that counts, and nothing was made."""
    with pytest.raises(LifetimeTooLongError):
        await provider.create(wanted(lifetime=timedelta(days=400)))


async def test_the_same_key_makes_one_sandbox(provider: SandboxProvider):
    """The SDK itself repeats a create that was answered with 503."""
    key = secrets.token_hex(16)

    made = [await provider.create(wanted(idempotency_key=key)) for _ in range(2)]
    for each in made:
        await provider.destroy(each.sandbox_id)

    assert made[0].sandbox_id == made[1].sandbox_id


async def test_list_finds_by_all_of_the_metadata(provider: SandboxProvider):
    """After the store is lost, this is how a deployment finds what is its own."""
    mark = secrets.token_hex(8)
    one = await provider.create(wanted(metadata={**SUITE, "mark": mark, "kind": "a & b=c"}))
    other = await provider.create(wanted(metadata={**SUITE, "mark": mark, "kind": "d"}))

    async def listed(**metadata: str) -> set[str]:
        return {it.sandbox_id for it in await provider.list({"mark": mark, **metadata})}

    both = await until(lambda: _when(listed(), {one.sandbox_id, other.sandbox_id}))
    narrowed = await listed(kind="a & b=c")
    nothing = await listed(kind="none of these")
    described = await provider.list({"mark": mark, "kind": "d"})
    for each in (one, other):
        await provider.destroy(each.sandbox_id)

    assert both == {one.sandbox_id, other.sandbox_id}
    assert narrowed == {one.sandbox_id}
    assert nothing == set()
    assert [it.metadata["kind"] for it in described] == ["d"]
    await until(lambda: _when(listed(), set()))


async def _when(found: AsyncIterator[set[str]], wanted_ids: set[str]) -> set[str] | bool:
    """Return what was found when it is what was waited for: a list may lag."""
    ids = await found
    return (ids or True) if ids == wanted_ids else False


async def test_destroy_says_whether_there_was_one(provider: SandboxProvider, own_box: Box):
    """A second destroy is no error, and what never was is not either."""
    first = await provider.destroy(own_box.id)
    second = await provider.destroy(own_box.id)
    unknown = await provider.destroy("inever0existed0atall")

    assert (first, second, unknown) == (True, False, False)
    assert await provider.get(own_box.id) is None


async def test_looking_at_a_sandbox_never_extends_its_life(own_box: Box):
    """The SDK's own connect does, to five minutes at least."""
    provider = own_box.provider
    await provider.set_lifetime(own_box.id, timedelta(seconds=60))
    before = await provider.get(own_box.id)

    await own_box.run(ShellCommand("true"))
    await provider.healthy(own_box.id)
    await provider.usage(own_box.id)
    await provider.write_file(own_box.id, "file", b"x")
    await provider.probe(record_of(own_box.sandbox), _PORT)
    after = await provider.get(own_box.id)

    assert before is not None
    assert after is not None
    assert after.end_time == before.end_time
    assert abs(after.end_time - datetime.now(UTC) - timedelta(seconds=60)) < _SLACK


@pytest.mark.parametrize("left", [timedelta(minutes=3), timedelta(hours=1)], ids=str)
async def test_a_lifetime_is_counted_from_now(own_box: Box, left: timedelta):
    """Shorter or longer than before, the end is where it was set."""
    asked = datetime.now(UTC)

    await own_box.provider.set_lifetime(own_box.id, left)
    seen = await own_box.provider.get(own_box.id)

    assert seen is not None
    assert abs(seen.end_time - asked - left) < _SLACK


async def test_a_sandbox_ends_with_its_lifetime(own_box: Box):
    """Nobody needs to destroy it; and then it is gone, not merely asleep."""
    await own_box.provider.set_lifetime(own_box.id, timedelta(seconds=1))

    await until(lambda: _gone(own_box), limit_s=60)

    assert await own_box.provider.destroy(own_box.id) is False


async def _gone(box: Box) -> bool:
    return await box.provider.get(box.id) is None


async def test_a_running_sandbox_is_healthy_and_measured(box: Box):
    """Status shows both; a share is a share, and nothing used is more than there is."""
    healthy = await box.provider.healthy(box.id)
    usage = await until(lambda: box.provider.usage(box.id), limit_s=60)

    assert healthy is True
    assert 0 <= usage.cpu_utilization <= 1
    assert 0 < usage.memory_used_bytes <= usage.memory_total_bytes
    assert 0 <= usage.disk_used_bytes <= usage.disk_total_bytes
    assert abs(usage.sample_time - datetime.now(UTC)) < timedelta(minutes=2)


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
async def test_a_written_file_holds_every_byte(box: Box, size: int):
    """Files carry anything: NUL, invalid UTF-8, line ends of every kind."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    path = f"/tmp/files/of any kind/ünd/{size}"

    await box.provider.write_file(box.id, path, content)
    ran = await box.run(ShellCommand(f"sha256sum < '{path}'; stat -c %U '{path}'; id -un"))

    digest, owner, user = ran.stdout.decode().split("\n")[:3]
    assert digest.split()[0] == hashlib.sha256(content).hexdigest()
    assert owner == user


async def test_a_file_can_be_written_from_a_stream(box: Box):
    """A file of any size passes through without ever being held whole."""
    digest = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(64):
            piece = bytes([number]) * 65_537
            digest.update(piece)
            yield piece

    await box.provider.write_file(box.id, "/tmp/streamed", pieces())
    ran = await box.run(ShellCommand("sha256sum < /tmp/streamed; stat -c %s /tmp/streamed"))

    told, size = ran.stdout.decode().split("\n")[:2]
    assert told.split()[0] == digest.hexdigest()
    assert int(size) == 64 * 65_537


async def test_a_relative_path_begins_where_programs_begin(box: Box):
    """What was written as `a/b` is what a program opens as `a/b`."""
    await box.provider.write_file(box.id, "relative/file", b"here")

    ran = await box.run(ShellCommand("cat relative/file"))

    assert ran.stdout == b"here"


async def test_writing_again_replaces_the_whole_file(box: Box):
    """A shorter file leaves nothing of the longer one behind."""
    await box.provider.write_file(box.id, "/tmp/again", b"a long first version")
    await box.provider.write_file(box.id, "/tmp/again", b"short")

    ran = await box.run(ShellCommand("cat /tmp/again"))

    assert ran.stdout == b"short"


async def test_a_folder_is_not_written_over(box: Box):
    """The caller corrects the path, and the folder stays."""
    with pytest.raises(InvalidRequestError):
        await box.provider.write_file(box.id, "/tmp", b"x")


async def test_a_file_for_an_unknown_user_is_refused(box: Box):
    """The name is the caller's mistake: not a failure of the backend, not a bug of ours."""
    with pytest.raises((InvalidRequestError, UserNotFoundError)):
        await box.provider.write_file(box.id, "file", b"x", user="nosuchuser")


@pytest.mark.parametrize("access", list(PreviewAccess))
async def test_a_preview_shows_the_app_to_whom_it_should(
    provider: SandboxProvider, access: PreviewAccess
):
    """The probe's word, and a real request with the headers that the preview tells."""
    if (await provider.info()).kind == WITHOUT_PYTHON:
        pytest.skip("the app is in Python")
    spec = PreviewSpec(port=_PORT, access=access)
    made = await provider.create(wanted(preview=spec))
    box, record = Box(provider, made), record_of(made, spec)
    preview = provider.preview(record, _PORT)

    closed = await provider.probe(record, _PORT)
    await provider.write_file(made.sandbox_id, "/tmp/server.py", _SERVER.encode())
    server = await box.start(ShellCommand("exec python3 /tmp/server.py"))
    await first_output(server)
    open_ = await provider.probe(record, _PORT)
    async with httpx.AsyncClient(trust_env=False) as browser:
        url = preview.direct_url or preview.url
        page = await browser.get(url, headers={**preview.headers, **preview.routing_headers})
        stranger = await browser.get(url, headers=preview.routing_headers)
    await server.aclose()
    await provider.destroy(made.sandbox_id)
    gone = await provider.probe(record, _PORT)

    assert closed.state is PreviewState.NOT_LISTENING
    assert open_ == PortSeen(PreviewState.LISTENING, 200)
    assert (page.status_code, page.text) == (200, "the page")
    assert bool(preview.headers) == (access is PreviewAccess.TOKEN)
    assert stranger.status_code == (403 if access is PreviewAccess.TOKEN else 200)
    assert gone.state is PreviewState.UNKNOWN


async def test_a_preview_names_the_port_and_the_sandbox(provider: SandboxProvider):
    """A browser needs no header to be routed: the host says all."""
    sandbox = BackendSandbox(
        sandbox_id="someid",
        template_id="base",
        running=True,
        metadata={},
        start_time=datetime.now(UTC),
        end_time=datetime.now(UTC),
    )

    preview = provider.preview(record_of(sandbox), 8123)

    assert preview.url.split("//")[1].startswith("8123-someid.")
    assert preview.url.endswith("/")


@pytest.mark.parametrize("remembered", [True, False], ids=["known", "never_met"])
async def test_a_sandbox_that_is_gone_is_told_as_ended(
    provider: SandboxProvider, own_box: Box, *, remembered: bool
):
    """Whatever is asked of it, the caller hears the one thing that helps: make another."""
    sandbox_id = own_box.id if remembered else "inever0existed0atall"
    running = await own_box.start(ShellCommand("sleep 600"))
    following = asyncio.create_task(finished(running))
    if remembered:
        # Ended behind the provider's back, so that its connection is still kept.
        await own_box.run(ShellCommand("true"))
        await _other_hand(provider, own_box)
    spec = ProcessSpec(
        marker="m",
        program=ShellCommand("true"),
        cwd="",
        env={},
        user="",
        stdin=False,
        backstop=None,
    )

    with pytest.raises(SandboxEndedError):
        await provider.start(sandbox_id, spec)
    with pytest.raises(SandboxEndedError):
        await provider.write_file(sandbox_id, "/tmp/file", b"x")
    with pytest.raises(SandboxEndedError):
        await provider.set_lifetime(sandbox_id, timedelta(minutes=1))
    if remembered:
        assert await provider.healthy(sandbox_id) is False
        with pytest.raises(SandboxEndedError):
            await asyncio.wait_for(following, 30)
    else:
        await provider.destroy(own_box.id)
        with pytest.raises(SandboxEndedError):
            await asyncio.wait_for(following, 30)
    assert await provider.get(sandbox_id) is None


async def _other_hand(provider: SandboxProvider, box: Box) -> None:
    """End a sandbox as its lifetime would: this provider is not told."""
    await provider.set_lifetime(box.id, timedelta(seconds=1))
    await until(lambda: _unlisted(provider, box), limit_s=60)


async def _unlisted(provider: SandboxProvider, box: Box) -> bool:
    return box.id not in {it.sandbox_id for it in await provider.list(SUITE)}
