"""Create: a sandbox that is as it was asked for, or nothing at all."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, program, source

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20


def step(what, **fields):
    return pb.SetupStep(program=program(what), **fields)


async def nothing_left(client, before):
    """Assert that the caller has no more sandboxes than before."""
    listed = await client.list()
    assert [it.sandbox_id for it in listed.sandboxes] == before


async def test_a_sandbox_is_told_with_its_effective_values(client):
    """Whatever was left to defaults is answered as what it came to."""
    answer = await client.create()
    it = answer.sandbox

    assert it.sandbox_id
    assert it.state == pb.SANDBOX_STATE_RUNNING
    assert it.template == "base"
    assert it.resources.cpu_count >= 1
    assert it.resources.memory_bytes >= 128 * MIB
    assert it.expire_time.ToSeconds() - it.create_time.ToSeconds() in range(298, 303)
    assert it.tenant_id == client.tenant
    assert it.generation == 1
    assert it.preview.port == 3000
    assert it.preview.access == pb.PREVIEW_ACCESS_TOKEN
    assert it.preview.url
    assert not it.HasField("end")
    assert not answer.reused
    assert {timing.phase for timing in answer.timings}


async def test_a_sandbox_says_since_when_it_is_so_and_from_which_template_of_the_backend(client):
    """People look for it in the backend's own tools."""
    it = (await client.create(template="python")).sandbox

    assert it.e2b_template_id == "code-interpreter-v1"
    assert it.state_time.ToSeconds() >= it.create_time.ToSeconds()


async def test_lifetime_metadata_env_owner_and_preview_are_as_asked_for(client):
    """And Status tells the same afterwards."""
    answer = await client.create(
        template="python",
        lifetime=Duration(seconds=100),
        metadata={"project": "a b&c=d", "team/unit.x": ""},
        owner="orchestrator-1",
        preview={"port": 8123, "access": pb.PREVIEW_ACCESS_PUBLIC},
    )
    it = answer.sandbox
    status = await client.status(it.sandbox_id)

    assert it.template == "python"
    assert dict(it.metadata) == {"project": "a b&c=d", "team/unit.x": ""}
    assert it.owner == "orchestrator-1"
    assert (it.preview.port, it.preview.access) == (8123, pb.PREVIEW_ACCESS_PUBLIC)
    assert it.expire_time.ToSeconds() - it.create_time.ToSeconds() in range(99, 102)
    assert dict(status.sandbox.metadata) == dict(it.metadata)
    assert status.sandbox.template == it.template
    assert abs(status.sandbox.expire_time.ToMilliseconds() - it.expire_time.ToMilliseconds()) < 1000


async def test_env_is_that_of_every_program(client):
    """Setup steps, execs, whatever runs."""
    box = await client.sandbox(
        env={"GREETING": "hello ä\n'\""}, setup_steps=[step('printf "%s" "$GREETING" > /tmp/seen')]
    )
    ran = await box.run('printf "%s|" "$GREETING"; cat /tmp/seen')

    assert ran.text == "hello ä\n'\"|hello ä\n'\""


async def test_initial_files_are_there_with_their_modes_and_bytes(client):
    """Relative to the home, or absolute; folders on the way are made."""
    every_byte = bytes(range(256)) * 100
    box = await client.sandbox(
        initial_files=[
            pb.InitialFile(path="a b/ä/every.bin", content=every_byte, mode=0o600),
            pb.InitialFile(path="/tmp/x/run.sh", content=b"#!/bin/sh\necho ran\n", mode=0o755),
            pb.InitialFile(path="plain.txt", content=b"plain"),
            pb.InitialFile(path="empty"),
        ]
    )
    modes = await box.run("stat -c '%a %s' ~/a\\ b/ä/every.bin /tmp/x/run.sh ~/plain.txt ~/empty")
    content = await box.run("cat ~/a\\ b/ä/every.bin")
    ran = await box.run("/tmp/x/run.sh")

    assert modes.text.split() == ["600", "25600", "755", "19", "644", "5", "644", "0"]
    assert content.stdout == every_byte
    assert ran.stdout == b"ran\n"


async def test_three_mebibytes_of_initial_files_are_taken_and_more_is_refused(client):
    """The limit that GetCapabilities tells is the one that holds."""
    half = b"x" * (3 * MIB // 2)
    box = await client.sandbox(
        initial_files=[pb.InitialFile(path=name, content=half) for name in ("a", "b")]
    )
    sizes = await box.run("stat -c %s a b")
    files = [pb.InitialFile(path=name, content=half) for name in ("a", "b")]
    error = await failure(
        client.create(initial_files=[*files, pb.InitialFile(path="c", content=b"x")])
    )

    assert sizes.text.split() == [str(len(half))] * 2
    assert error.seen == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
    assert error.metadata["limit_bytes"] == str(3 * MIB)
    assert error.metadata["actual_bytes"] == str(3 * MIB + 1)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/a/../../etc/x", "a/" + "n" * 256])
async def test_an_initial_files_path_that_is_none_is_refused(client, path):
    """Before anything is made."""
    error = await failure(client.create(initial_files=[pb.InitialFile(path=path, content=b"x")]))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == ["initial_files[0].path"]
    await nothing_left(client, [])


@pytest.mark.parametrize("path", ["/usr/x", "/etc", "/proc/x", "/dev/null/x"])
async def test_an_initial_file_that_cannot_be_written_is_the_callers_to_mend(client, path):
    """All or nothing, and no alarm for the operator."""
    error = await failure(client.create(initial_files=[pb.InitialFile(path=path, content=b"x")]))

    assert error.code.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    await nothing_left(client, [])


async def test_the_smallest_template_that_fits_is_chosen(client):
    """By resources, for who does not care for names."""
    small = await client.create(resources={"cpu_count": 1})
    large = await client.create(resources={"memory_bytes": 600 * MIB})

    assert small.sandbox.template == "base"
    assert large.sandbox.template == "python"
    assert large.sandbox.resources.memory_bytes >= 600 * MIB


async def test_resources_that_no_template_has_are_refused(client):
    """Before anything is made."""
    error = await failure(client.create(resources={"cpu_count": 200}))

    assert error.seen == ("FAILED_PRECONDITION", "RESOURCES_UNSATISFIABLE")


async def test_a_raw_template_id_goes_to_the_backend_as_it_is(client):
    """Templates that the catalogue does not know."""
    box = await client.sandbox(e2b_template_id="base")
    status = await client.status(box.sandbox_id)
    ran = await box.run(source("python", "print(1)"))

    assert status.sandbox.resources.cpu_count >= 1
    assert ran.stdout == b"1\n"


async def test_a_sandbox_from_a_raw_id_has_no_name_of_a_template(client):
    """The catalogue was not asked."""
    it = (await client.create(e2b_template_id="base")).sandbox

    assert (it.template, it.e2b_template_id) == ("", "base")


@pytest.mark.parametrize("choice", [{"template": "pyhton"}, {"e2b_template_id": "no-such-id"}])
async def test_a_template_that_nobody_has_is_not_found(client, choice):
    """Whether the catalogue or the backend says so."""
    error = await failure(client.create(**choice))

    assert error.seen == ("NOT_FOUND", "TEMPLATE_NOT_FOUND")


async def test_a_lifetime_beyond_the_ceiling_is_refused_and_says_the_ceiling(client):
    """The ceiling that GetCapabilities tells."""
    limits = (await client.call("GetCapabilities", pb.GetCapabilitiesRequest())).limits
    error = await failure(client.create(lifetime=Duration(seconds=limits.max_lifetime.seconds + 1)))

    assert error.seen == ("INVALID_ARGUMENT", "LIFETIME_TOO_LONG")
    assert error.metadata["max_seconds"] == str(limits.max_lifetime.seconds)


async def test_a_network_policy_that_cannot_be_enforced_is_refused(client):
    """Never ignored. What can be enforced says who does it."""
    error = await failure(client.create(network={"egress_default": pb.EGRESS_DEFAULT_ALLOW}))
    denied = await client.create(network={"egress_default": pb.EGRESS_DEFAULT_DENY})

    assert error.seen == ("FAILED_PRECONDITION", "POLICY_NOT_ENFORCEABLE")
    assert error.metadata["backend"].upper() == "EMBEDDED"
    assert denied.sandbox.network.egress_default == pb.EGRESS_DEFAULT_DENY
    assert denied.sandbox.network_enforced_by == pb.POLICY_ENFORCER_BACKEND


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"owner": "a", "lease": {"seconds": 60}}, "lease"),
        ({"profile": "web"}, "profile"),
        ({"idle_timeout": {"seconds": 60}}, "idle_timeout"),
        ({"artifact_globs": ["*.csv"]}, "artifact_globs"),
        ({"network": {"allow_out": ["example.com"]}}, "allow_out"),
        ({"network": {"deny_out": ["10.0.0.0/8"]}}, "deny_out"),
        ({"resources": {"disk_bytes": 1 << 30}}, "disk_bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_served_yet_is_refused_and_never_ignored(client, fields, named):
    """A lease that nobody watches would be worse than none."""
    error = await failure(client.create(**fields))

    assert error.seen == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")
    assert named in error.metadata["field"]
    await nothing_left(client, [])


async def test_validate_only_checks_everything_and_makes_nothing(client):
    """A dry run."""
    answer = await client.create(validate_only=True)
    error = await failure(client.create(validate_only=True, template="pyhton"))

    assert answer.sandbox.sandbox_id == ""
    assert error.seen == ("NOT_FOUND", "TEMPLATE_NOT_FOUND")
    await nothing_left(client, [])


async def test_validate_only_says_what_the_effective_values_would_be(client):
    """That is what a dry run is for."""
    answer = await client.create(
        validate_only=True, template="python", lifetime=Duration(seconds=77), metadata={"a": "b"}
    )

    assert answer.sandbox.template == "python"
    assert dict(answer.sandbox.metadata) == {"a": "b"}
    assert answer.sandbox.resources.cpu_count >= 1


async def test_many_creates_at_once_make_as_many_sandboxes(client):
    """Ids are never shared, and all are listed."""
    answers = await asyncio.gather(*(client.create(metadata={"n": str(n)}) for n in range(8)))
    ids = {it.sandbox.sandbox_id for it in answers}
    listed = await client.list()

    assert len(ids) == 8
    assert {it.sandbox_id for it in listed.sandboxes} == ids
