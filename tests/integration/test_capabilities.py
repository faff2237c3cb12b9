"""GetCapabilities: what it says is what is so."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from sandbox_service import __version__
from tests.support.calls import Failure, failure, source
from tests.support.contract import METHODS, PACKAGE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def told(client):
    return await client.call("GetCapabilities", pb.GetCapabilitiesRequest())


async def answer_to_nothing(client, method):
    """Call a method with an empty request or stream; returns the reason, or "" if it succeeded."""
    make = {
        (False, False): client.channel.unary_unary,
        (False, True): client.channel.unary_stream,
        (True, False): client.channel.stream_unary,
        (True, True): client.channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    call = make(f"/{method.containing_service.full_name}/{method.name}")
    request = iter([]) if method.client_streaming else b""
    begun = call(request, metadata=client.metadata)
    try:
        if method.server_streaming:
            await begun.read()
            if await begun.code() is not grpc.StatusCode.OK:
                return await begun.code()
        else:
            await begun
    except grpc.aio.AioRpcError as error:
        return Failure.of(error).code
    return grpc.StatusCode.OK


async def test_every_rpc_of_the_contract_is_told_by_its_full_name(client):
    """Nothing is left out."""
    rpcs = (await told(client)).rpcs

    assert sorted(it.name for it in rpcs) == sorted(
        f"{it.containing_service.full_name}/{it.name}" for it in METHODS
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda it: it.full_name.removeprefix(PACKAGE + "."))
async def test_an_rpc_is_unimplemented_exactly_when_it_is_told_so(client, method):
    """Callers go by it."""
    rpcs = (await told(client)).rpcs
    (it,) = [
        it
        for it in rpcs
        if it.name.removeprefix(f"{PACKAGE}.") == f"{method.containing_service.name}/{method.name}"
    ]
    code = await answer_to_nothing(client, method)

    assert (code is not grpc.StatusCode.UNIMPLEMENTED) == it.implemented
    assert bool(it.note) or it.implemented


async def test_it_tells_the_backend_the_version_and_the_deployment(client):
    """For who looks at a machine for the first time."""
    it = await told(client)

    assert it.version == __version__
    assert it.backend.kind == pb.BACKEND_KIND_EMBEDDED
    assert it.backend.isolation == pb.ISOLATION_TIER_NAMESPACES
    assert "memory " in it.backend.isolation_detail  # How well its limits hold.
    assert it.deployment == "default"
    assert not it.sandboxes_survive_restart


async def test_every_feature_is_told_with_a_reason_when_it_does_not_work(client):
    """A `no` without a why is a support ticket."""
    features = (await told(client)).features

    assert sorted(it.feature for it in features) == sorted(
        number for number in pb.Feature.values() if number
    )
    unexplained = [it.feature for it in features if not it.supported and not it.note]
    assert [pb.Feature.Name(it) for it in unexplained] == []


async def test_every_template_can_be_created_has_what_it_says_and_runs_its_languages(client):
    """The catalogue is a promise."""
    it = await told(client)
    hello = {
        "python": "print('hi')",
        "javascript": "console.log('hi')",
        "bash": "echo hi",
    }

    assert [template.name for template in it.templates if template.is_default] == ["base"]
    assert set(it.languages) == {name for t in it.templates for name in t.languages}
    for template in it.templates:
        box = await client.sandbox(template=template.name)
        for language in template.languages:
            assert (await box.run(source(language, hello[language]))).stdout == b"hi\n"


async def test_a_sandbox_has_the_resources_that_its_template_says(client):
    """Told in the catalogue, in Create and in Status: the same."""
    for template in (await told(client)).templates:
        answer = await client.create(template=template.name)
        status = await client.status(answer.sandbox.sandbox_id)

        assert answer.sandbox.resources == template.resources
        assert status.sandbox.resources == template.resources


async def test_the_default_lifetime_is_the_one_that_is_told(client):
    """Unset means this."""
    limits = (await told(client)).limits
    it = (await client.create()).sandbox
    lives = it.expire_time.ToMilliseconds() - it.create_time.ToMilliseconds()

    assert lives == pytest.approx(limits.default_lifetime.ToMilliseconds(), abs=2000)


async def test_the_longest_lifetime_is_allowed_and_not_a_second_more(client):
    """The ceiling itself can be had."""
    limits = (await told(client)).limits
    longest = limits.max_lifetime.seconds
    it = (await client.create(lifetime=Duration(seconds=longest))).sandbox
    error = await failure(client.create(lifetime=Duration(seconds=longest + 1)))

    assert it.sandbox_id
    assert error.reason == "LIFETIME_TOO_LONG"


async def test_the_journal_is_as_long_as_it_is_told(box):
    """What a reader may fall behind by."""
    limits = (await told(box.client)).limits
    ran = await box.run("true")

    assert ran.started.journal_limit == limits.journal_bytes


async def test_a_tombstone_and_a_key_are_kept_for_as_long_as_is_told(client):
    """24 h, both."""
    limits = (await told(client)).limits
    answer = await client.create()
    end = (await client.destroy(answer.sandbox.sandbox_id)).end

    assert limits.tombstone_retention.seconds == end.expire_time.seconds - end.end_time.seconds
    assert limits.idempotency_retention.seconds == 24 * 3600


async def test_a_message_may_be_as_large_as_is_told(box):
    """An argv of nearly the whole message is taken by the transport."""
    limits = (await told(box.client)).limits
    code = "#" * (1 << 20)
    ran = await box.run(source("python", code))

    assert limits.max_message_bytes == 4 << 20
    assert limits.max_initial_files_bytes == 3 << 20
    assert limits.max_chunk_bytes == 1 << 20
    assert ran.outcome == ("EXIT", 0)
