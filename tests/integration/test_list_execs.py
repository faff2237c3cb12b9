"""ListExecs: what runs or ran in a sandbox, with results, page by page."""

from __future__ import annotations

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import events, failure, first_output

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def listed(box, **fields) -> pb.ListExecsResponse:
    return await box.client.call(
        "ListExecs", pb.ListExecsRequest(sandbox_id=box.sandbox_id, **fields)
    )


async def test_a_list_tells_what_runs_and_what_ran_the_last_first(client):
    """With the result of each that ended."""
    box = await client.sandbox()
    await box.run("echo one; exit 3", exec_id="one", retention=pb.RETENTION_DETACHED)
    await box.run("echo two >&2", exec_id="two")
    call = box.exec(["sleep", "60"], exec_id="three", pty={"cols": 80, "rows": 24})
    (started,) = await events(call, 1)
    answer = await listed(box)
    call.cancel()

    assert [it.exec_id for it in answer.execs] == ["three", "two", "one"]
    three, two, one = answer.execs
    assert [it.state for it in answer.execs] == [
        pb.EXEC_STATE_RUNNING,
        pb.EXEC_STATE_EXITED,
        pb.EXEC_STATE_EXITED,
    ]
    assert (three.program, three.pid, three.pty, three.readers) == (
        "sleep 60",
        started.started.pid,
        True,
        1,
    )
    assert not three.HasField("exited")
    assert (one.exited.exit_code, one.retention) == (3, pb.RETENTION_DETACHED)
    assert (one.position.stdout_offset, two.position.stderr_offset) == (4, 4)
    assert three.start_time.ToDatetime() >= two.start_time.ToDatetime()
    assert answer.next_page_token == ""


async def test_a_list_comes_in_pages_and_by_state(client):
    """A sandbox may have had thousands."""
    box = await client.sandbox()
    for number in range(7):
        await box.run("true", exec_id=f"e{number}")
    call = box.exec("echo x; sleep 60", exec_id="runs")
    await first_output(call)
    seen, token = [], ""
    while True:
        page = await listed(box, page_size=3, page_token=token, state=pb.EXEC_STATE_EXITED)
        assert len(page.execs) <= 3
        seen += [it.exec_id for it in page.execs]
        token = page.next_page_token
        if not token:
            break
    running = await listed(box, state=pb.EXEC_STATE_RUNNING)
    lost = await listed(box, state=pb.EXEC_STATE_LOST)
    call.cancel()

    assert seen == [f"e{number}" for number in reversed(range(7))]
    assert [it.exec_id for it in running.execs] == ["runs"]
    assert not lost.execs


async def test_a_token_of_another_list_is_refused(client):
    """It would silently leave execs out."""
    box = await client.sandbox()
    for number in range(2):
        await box.run("true", exec_id=f"e{number}")
    token = (await listed(box, page_size=1)).next_page_token
    other = await failure(listed(box, page_size=1, page_token=token, state=1))
    nonsense = await failure(listed(box, page_token="nonsense"))

    assert token
    assert other.seen == nonsense.seen == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


async def test_the_programs_of_another_tenant_are_not_listed(client):
    """Nor is the sandbox there."""
    box = await client.sandbox()
    request = pb.ListExecsRequest(sandbox_id=box.sandbox_id)
    error = await failure(client.other().call("ListExecs", request))

    assert error.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")
