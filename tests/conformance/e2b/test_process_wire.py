"""The process service as the SDK does not show it: messages, codecs, streams."""

from __future__ import annotations

import asyncio
import hashlib
import random

import httpx
import pytest
from e2b.envd.process import process_pb
from protobuf import Oneof

from tests.conformance.e2b.wire import CONNECT, START
from tests.support.connect_wire import JSON, PROTO, output_of, read_out, selector, until

# Every byte value, no valid UTF-8, and a size that is no multiple of anything.
NOISE = "import random,sys; sys.stdout.buffer.write(random.Random(1).randbytes(5000017))"
BOTH = pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])


async def listed(box):
    answer = await box.call(
        "/process.Process/List", process_pb.ListRequest(), process_pb.ListResponse
    )
    return [one.pid for one in answer.processes]


async def send_signal(box, pid, number):
    request = process_pb.SendSignalRequest(process=selector(pid), signal=number)
    return await box.call("/process.Process/SendSignal", request, process_pb.SendSignalResponse)


@BOTH
async def test_a_stream_has_a_start_then_data_then_an_end(box, codec):
    """In either codec: the pid, both outputs, and how it ended."""
    async with box.start("echo out; echo err >&2; exit 3", codec=codec) as stream:
        events = [event async for event in stream]
    kinds = [event.field for event in events]
    end = events[-1].value
    data = [event.value.output for event in events if event.field == "data"]

    assert kinds[0] == "start"
    assert events[0].value.pid > 0
    assert kinds[-1] == "end"
    assert set(kinds[1:-1]) == {"data"}
    assert {(it.field, it.value) for it in data} == {("stdout", b"out\n"), ("stderr", b"err\n")}
    assert (end.exit_code, end.exited) == (3, True)
    assert (end.status, end.error) == ("exit status 3", "exit status 3")


async def test_a_good_end_has_no_error(box):
    """Absent, not empty: clients ask for the field."""
    async with box.start("true") as stream:
        end = [event async for event in stream][-1].value

    assert (end.exit_code, end.exited, end.status) == (0, True, "exit status 0")
    assert not end.has_field("error")


@BOTH
async def test_every_unary_call_speaks_both_codecs(box, codec):
    """List, input, signal, end of input, size."""
    async with box.start("cat", stdin=True, codec=codec) as stream:
        pid = (await anext(stream)).value.pid
        call = box.call
        given = process_pb.ProcessInput(input=Oneof("stdin", b"a\xff\n"))
        sent = process_pb.SendInputRequest(process=selector(pid), input=given)
        found = await call(
            "/process.Process/List", process_pb.ListRequest(), process_pb.ListResponse, codec
        )
        await call("/process.Process/SendInput", sent, process_pb.SendInputResponse, codec)
        closing = process_pb.CloseStdinRequest(process=selector(pid))
        for _ in range(2):  # The second finds it closed, which is no error.
            await call("/process.Process/CloseStdin", closing, process_pb.CloseStdinResponse, codec)
        events = [event async for event in stream]

    assert pid in [one.pid for one in found.processes]
    assert b"".join(map(output_of, events)) == b"a\xff\n"
    assert events[-1].value.exit_code == 0


@BOTH
async def test_output_is_exact_bytes_also_for_a_slow_reader(box, codec):
    """Five million random bytes arrive unchanged, and are not dropped while nobody reads."""
    digest, size = hashlib.sha256(), 0
    async with box.start(f'python3 -c "{NOISE}"', codec=codec) as stream:
        async for event in stream:
            data = output_of(event)
            digest.update(data)
            size += len(data)
            if size % 7 == 0:
                await asyncio.sleep(0.002)

    assert size == 5_000_017
    assert digest.digest() == hashlib.sha256(random.Random(1).randbytes(size)).digest()


async def test_the_start_comes_at_once(box):
    """A client waits for it, not for output."""
    async with asyncio.timeout(5), box.start("sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        await send_signal(box, pid, process_pb.Signal.SIGKILL)


async def test_small_writes_are_put_together(box):
    """A frame for each of twenty thousand lines would cost the client a core."""
    command = "for i in $(seq 20000); do echo $i; done"
    async with box.start(command) as stream:
        pieces = [output_of(event) async for event in stream if event.field == "data"]

    assert b"".join(pieces).split() == [b"%d" % number for number in range(1, 20001)]
    assert len(pieces) < 10_000


async def test_a_first_byte_is_not_held_back(box):
    """Putting together must not mean waiting for more."""
    async with asyncio.timeout(5), box.start("printf x; exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid

        assert output_of(await anext(stream)) == b"x"
        await send_signal(box, pid, process_pb.Signal.SIGKILL)


async def test_a_silent_stream_is_kept_alive(box):
    """Proxies on the way close what is silent."""
    async with box.start("exec sleep 600", keepalive_ping_interval="1") as stream:
        pid = (await anext(stream)).value.pid

        assert (await anext(stream)).field == "keepalive"
        await send_signal(box, pid, process_pb.Signal.SIGKILL)


async def test_a_deadline_ends_the_stream_in_words(box):
    """`deadline_exceeded`, and the program is killed."""
    async with box.start("exec sleep 600", connect_timeout_ms="300") as stream:
        pid = (await anext(stream)).value.pid
        _, error = await read_out(stream)

    assert error.code == "deadline_exceeded"

    async def gone():
        return pid not in await listed(box)

    await until(gone)


async def test_a_deadline_of_a_reader_does_not_kill(box):
    """`Connect` only looks on."""
    async with box.start("exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        request = process_pb.ConnectRequest(process=selector(pid))
        async with box.stream(
            CONNECT, request, process_pb.ConnectResponse, connect_timeout_ms="200"
        ) as looking:
            _, error = await read_out(looking)

        assert error.code == "deadline_exceeded"
        assert pid in await listed(box)
        await send_signal(box, pid, process_pb.Signal.SIGKILL)


async def test_a_tag_names_a_process(box, name):
    """Whoever chose it finds the process again."""
    config = process_pb.ProcessConfig(cmd="/bin/cat")
    request = process_pb.StartRequest(process=config, tag=name, stdin=True)
    by_tag = process_pb.ProcessSelector(selector=Oneof("tag", name))
    async with box.stream(START, request, process_pb.StartResponse) as stream:
        pid = (await anext(stream)).event.event.value.pid
        found = await box.call(
            "/process.Process/List", process_pb.ListRequest(), process_pb.ListResponse
        )
        looking = process_pb.ConnectRequest(process=by_tag)
        async with box.stream(CONNECT, looking, process_pb.ConnectResponse) as second:
            assert (await anext(second)).event.event.value.pid == pid
        closing = process_pb.CloseStdinRequest(process=by_tag)
        await box.call("/process.Process/CloseStdin", closing, process_pb.CloseStdinResponse)
        async for _ in stream:
            pass

    assert [one.tag for one in found.processes if one.pid == pid] == [name]


async def test_input_is_refused_when_there_is_no_pipe_for_it(box):
    """`stdin=false` reads from nothing."""
    async with box.start("read line; exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        given = process_pb.ProcessInput(input=Oneof("stdin", b"x"))
        request = process_pb.SendInputRequest(process=selector(pid), input=given)
        answer = await box.call("/process.Process/SendInput", request)
        await send_signal(box, pid, process_pb.Signal.SIGKILL)

    assert answer["code"] == "internal"
    assert "stdin not enabled or closed" in answer["message"]


async def test_stdin_left_out_is_a_pipe(box):
    """Older clients do not know the field."""
    config = process_pb.ProcessConfig(cmd="/bin/cat")
    request = process_pb.StartRequest(process=config)
    async with box.stream(START, request, process_pb.StartResponse) as stream:
        pid = (await anext(stream)).event.event.value.pid
        given = process_pb.ProcessInput(input=Oneof("stdin", b"x\n"))
        sent = process_pb.SendInputRequest(process=selector(pid), input=given)
        await box.call("/process.Process/SendInput", sent, process_pb.SendInputResponse)
        assert (await anext(stream)).event.event.value.output.value == b"x\n"
        await send_signal(box, pid, process_pb.Signal.SIGKILL)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (process_pb.Signal.SIGKILL, "signal: killed"),
        (process_pb.Signal.SIGTERM, "signal: terminated"),
    ],
)
async def test_a_signal_ends_the_stream_though_children_hold_its_pipes(box, number, status):
    """The caller has had enough; so it is told at once."""
    async with asyncio.timeout(10), box.start("sleep 30 & exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        await send_signal(box, pid, number)
        end = [event async for event in stream][-1].value

    assert (end.exit_code, end.exited, end.status, end.error) == (-1, False, status, status)


async def test_only_two_signals_are_known(box):
    """As envd has it."""
    async with box.start("exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid
        answer = await send_signal(box, pid, process_pb.Signal.UNSPECIFIED)
        await send_signal(box, pid, process_pb.Signal.SIGKILL)

    assert answer["code"] == "unimplemented"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("SendSignal", process_pb.SendSignalRequest(process=selector(999_999), signal=9)),
        ("CloseStdin", process_pb.CloseStdinRequest(process=selector(999_999))),
        (
            "SendInput",
            process_pb.SendInputRequest(
                process=selector(999_999),
                input=process_pb.ProcessInput(input=Oneof("stdin", b"x")),
            ),
        ),
        ("Update", process_pb.UpdateRequest(process=selector(999_999))),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
async def test_what_is_not_there_is_not_found(box, method, request_):
    """By each call."""
    answer = await box.call(f"/process.Process/{method}", request_)

    assert (answer["status"], answer["code"]) == (404, "not_found")
    assert "process with pid 999999 not found" in answer["message"]


async def test_a_program_that_is_not_there_is_told(box):
    """By the shell that envd starts it with, or before there is a stream; never by silence."""
    request = process_pb.StartRequest(process=process_pb.ProcessConfig(cmd="/no/such"))
    async with box.stream(START, request, process_pb.StartResponse) as stream:
        messages, error = await read_out(stream)

    if error is None:
        assert messages[-1].event.event.value.exit_code == 127
    else:
        assert error.code == "invalid_argument"
        assert "/no/such" in error.message


async def test_a_list_no_longer_has_what_its_stream_has_ended(box):
    """Gone before the end is told, each time."""
    for _ in range(20):
        async with box.start("true") as stream:
            pid = (await anext(stream)).value.pid
            async for event in stream:
                if event.field == "end":
                    assert pid not in await listed(box)


async def test_a_client_that_leaves_does_not_end_its_program(own_box):
    """Ending it is the service's decision."""
    async with own_box.start("sleep 0.2; echo done > left; exec sleep 600") as stream:
        pid = (await anext(stream)).value.pid

    async def written():
        return (await own_box.request("GET", "/files?path=left")).text == "done\n"

    await until(written)
    assert pid in await listed(own_box)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-type": "text/plain"}, 415), ({"content-type": "application/json; x=y"}, 415)],
)
async def test_what_is_no_call_is_refused_as_http(box, headers, status):
    """Before anything is read of it."""
    response = await box.request("POST", "/process.Process/List", content=b"{}", headers=headers)

    assert response.status_code == status


async def test_a_message_that_is_none_is_refused(box):
    """In words, and the connection goes on."""
    response = await box.request(
        "POST",
        "/process.Process/List",
        content=b"{",
        headers={"content-type": "application/json"},
    )

    assert response.status_code == 400
    assert response.json()["code"] == "invalid_argument"
    assert isinstance(await listed(box), list)


async def test_an_error_of_a_stream_is_in_its_end(box):
    """With 200: the client looks for it there."""
    url, headers = box.to(content_type="application/connect+json")
    request = process_pb.ConnectRequest(process=selector(999_999))
    body = b"\0" + len(JSON.encode(request)).to_bytes(4, "big") + JSON.encode(request)
    response = await box.wire.client.post(f"{url}{CONNECT}", content=body, headers=headers)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/connect+json"
    assert response.content[0] == 2
    assert b'"not_found"' in response.content
    assert isinstance(response, httpx.Response)
