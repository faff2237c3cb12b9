"""What lies in a sandbox's home acts on login shells, and on nothing else."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.trees import File, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROFILES = {
    "noise": "echo noise; echo noise >&2",
    "elsewhere": "cd /usr",
    "the-end": "echo never; exit 9",
}


@pytest_asyncio.fixture(loop_scope="session", params=PROFILES)
async def home(request, client):
    """A sandbox whose user has a profile that makes itself felt."""
    box = await client.sandbox()
    await box.run(
        ["python3", "-c", f"open('.bash_profile', 'w').write({PROFILES[request.param]!r})"]
    )
    return box


async def test_a_program_without_a_shell_knows_nothing_of_a_profile(home):
    """Its bytes and its code are its own."""
    ran = await home.run(["pwd"], cwd="/tmp")

    assert (ran.stdout, ran.stderr, ran.outcome) == (b"/tmp\n", b"", ("EXIT", 0))


async def test_a_sync_knows_nothing_of_a_profile(home):
    """The service's own commands are no login shells either."""
    messages = [header(home.sandbox_id, "app"), *parts({"a": File(b"a")})]
    receipt = await home.client.sync(messages)

    assert receipt.added == 1


async def test_a_shell_command_runs_where_it_was_asked_to_whatever_its_profile_does(client):
    """The folder of the request is not a default."""
    box = await client.sandbox()
    await box.run("echo 'cd /usr' > .bash_profile")
    asked = await box.run("pwd", cwd="/tmp")
    unset = await box.run("pwd")

    assert asked.stdout == b"/tmp\n"
    assert unset.stdout == b"/usr\n"


@pytest.mark.parametrize(
    "env", [{"SHELLOPTS": "noexec"}, {"SHELLOPTS": "xtrace"}, {"BASH_ENV": "/etc/passwd"}]
)
async def test_variables_that_bash_obeys_reach_the_program_and_nobody_before_it(box, env):
    """They are the program's environment, not the supervisor's."""
    [(name, value)] = env.items()
    ran = await box.run(["python3", "-c", f"import os; print(os.environ[{name!r}])"], env=env)

    assert (ran.text.strip(), ran.stderr, ran.outcome) == (value, b"", ("EXIT", 0))
