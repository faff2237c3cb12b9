"""Metrics and logs, as the control plane answers them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from e2b.api.client.models import (
    SandboxesWithMetrics,
    SandboxLogs,
    SandboxLogsV2Response,
    SandboxMetric,
)

from sandbox_service.e2b_local.config import LocalConfig, Template
from sandbox_service.e2b_local.control import ControlApi, ControlPlane
from sandbox_service.e2b_local.fleet.activity import Activities
from sandbox_service.e2b_local.fleet.metering import Sample
from sandbox_service.e2b_local.fleet.store import SandboxRecord, SandboxStore
from sandbox_service.e2b_local.machine import Usage
from tests.unit.e2b_local.wire_double import exchange_of

START = 1_700_000_000


class Clock:
    def __init__(self):
        self.now = START + 100.5

    def __call__(self):
        return self.now


class MeterDouble:
    """Has a sample of every 10th second, and makes one when it is asked to."""

    def __init__(self, clock):
        self.clock = clock
        self.samples = [sample_at(START + second) for second in range(0, 100, 10)]
        self.refreshed = 0

    async def refresh(self):
        self.refreshed += 1
        self.samples.append(sample_at(self.clock()))

    @property
    def latest(self):
        return self.samples[-1] if self.samples else None

    def between(self, start, end):
        return [
            sample
            for sample in self.samples
            if (start is None or sample.taken_at >= start)
            and (end is None or sample.taken_at <= end)
        ]


class FleetDouble:
    def __init__(self, clock):
        self.store = SandboxStore(clock)
        self.activities = Activities(clock)
        self.meters = {}

    def meter(self, sandbox_id):
        return self.meters.get(sandbox_id)

    def add(self, sandbox_id, clock):
        template = Template(template_id="base", cpu_count=2, memory_mib=512)
        self.store.add(
            SandboxRecord(
                sandbox_id=sandbox_id, template=template, started_at=START, end_at=START + 999
            )
        )
        self.activities.open(sandbox_id)
        meter = self.meters[sandbox_id] = MeterDouble(clock)
        return meter


def sample_at(taken_at):
    usage = Usage(
        cpu_seconds=1.0,
        memory_rss_bytes=11,
        memory_total_bytes=0,
        process_count=1,
        disk_used_bytes=22,
        disk_total_bytes=33,
    )
    return Sample(taken_at, 12.5, usage)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fleet(clock):
    return FleetDouble(clock)


@pytest.fixture
def ask(fleet, tmp_path):
    plane = ControlApi(ControlPlane(fleet, LocalConfig(state_dir=tmp_path), "sbx.localhost:1"))

    async def ask(target, method="GET"):
        exchange, wire = exchange_of(method, target)
        await plane(exchange)
        return SimpleNamespace(status=wire.status, json=wire.json())

    return ask


# Metrics


async def test_a_metric_has_every_key_that_clients_read(fleet, clock, ask):
    """A missing one is a KeyError in the middle of the client."""
    fleet.add("a", clock)
    shown = (await ask("/sandboxes/a/metrics")).json[-1]
    parsed = SandboxMetric.from_dict(shown)

    assert (parsed.mem_used, parsed.mem_total) == (11, 512 * 1024**2)
    assert (parsed.disk_used, parsed.disk_total) == (22, 33)
    assert (parsed.cpu_count, parsed.cpu_used_pct, parsed.mem_cache) == (2, 12.5, 0)
    assert parsed.timestamp_unix == START + 100
    assert parsed.timestamp.timestamp() == START + 100.5


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", [*range(0, 100, 10), 100]),
        (f"?start={START + 80}", [80, 90, 100]),
        (f"?end={START + 19}", [0, 10, 20]),
        (f"?start={START + 30}&end={START + 40}", [30, 40]),
        # The newest sample lies within the second that the client cut its time to.
        (f"?start={START + 95}&end={START + 100}", [100]),
        (f"?start={START - 900}&end={START - 800}", []),
        (f"?end={START - 800}", []),
        (f"?start={START + 1000}", []),
    ],
)
async def test_history_is_cut_to_the_range(fleet, clock, ask, query, seconds):
    """Both ends belong to it, as whole seconds."""
    fleet.add("a", clock)
    answer = await ask(f"/sandboxes/a/metrics{query}")

    assert answer.status == 200
    assert [metric["timestampUnix"] - START for metric in answer.json] == seconds


async def test_the_past_is_not_measured(fleet, clock, ask):
    """Who asks for another day gets no sample of today, and costs none."""
    meter = fleet.add("a", clock)
    await ask(f"/sandboxes/a/metrics?start={START}&end={START + 50}")
    await ask(f"/sandboxes/a/metrics?start={START + 1000}")
    assert meter.refreshed == 0

    await ask(f"/sandboxes/a/metrics?end={START + 100}")
    assert meter.refreshed == 1


@pytest.mark.parametrize(
    "query",
    [
        f"start={START + 10}&end={START}",
        "start=-1",
        "end=x",
        "start=1.5",
        f"start={10**30}",
        "end=²",
    ],
)
async def test_a_range_that_is_none_is_refused(fleet, clock, ask, query):
    """An empty history would look like a sandbox that used nothing."""
    fleet.add("a", clock)

    assert (await ask(f"/sandboxes/a/metrics?{query}")).status == 400


async def test_a_reversed_range_is_refused_in_e2bs_words(fleet, clock, ask):
    """As its own API says it."""
    fleet.add("a", clock)
    answer = await ask(f"/sandboxes/a/metrics?start={START + 10}&end={START}")

    assert answer.json == {"code": 400, "message": "Invalid time range for metrics"}


async def test_an_unknown_sandbox_has_neither_metrics_nor_logs(ask):
    """The SDK turns the 404 into its own exception."""
    for path in ("/sandboxes/no/metrics", "/sandboxes/no/logs", "/v2/sandboxes/no/logs"):
        answer = await ask(path)
        assert answer.status == 404
        assert answer.json["message"].startswith('Sandbox "no" doesn')


async def test_many_sandboxes_are_shown_with_their_newest_metric(fleet, clock, ask):
    """Those that are unknown or were not measured yet are left out."""
    fleet.add("a", clock)
    fleet.add("b", clock)
    fleet.add("new", clock).samples.clear()
    answer = await ask("/sandboxes/metrics?sandbox_ids=a,b,new,unknown")

    sandboxes = SandboxesWithMetrics.from_dict(answer.json).sandboxes
    assert set(sandboxes) == {"a", "b"}
    assert SandboxMetric.from_dict(sandboxes["a"]).timestamp_unix == START + 90


async def test_too_many_sandboxes_or_none_at_all_are_refused(fleet, clock, ask):
    """One request does not make the server do everything at once."""
    fleet.add("a", clock)

    assert (await ask("/sandboxes/metrics")).status == 400
    assert (await ask("/sandboxes/metrics?sandbox_ids=" + ",".join(["a"] * 100))).status == 200
    refused = await ask("/sandboxes/metrics?sandbox_ids=" + ",".join(["a"] * 101))
    assert refused.status == 400
    assert refused.json["message"] == "Too many sandboxes requested, maximum is 100"


# Logs


@pytest.fixture
def logged(fleet, clock):
    fleet.add("a", clock)
    activity = fleet.activities.get("a")
    for number, level in enumerate(("debug", "info", "warn", "error")):
        clock.now = START + number
        activity.record(level, f"message {number}", number=number)
    return activity


def numbers(entries):
    return [int(entry["fields"]["number"]) for entry in entries]


async def test_the_first_logs_are_lines_and_entries(logged, ask):
    """Both forms, from one time on, the oldest first."""
    answer = await ask(f"/sandboxes/a/logs?start={(START + 1) * 1000}&limit=2")
    parsed = SandboxLogs.from_dict(answer.json)

    assert numbers(answer.json["logEntries"]) == [1, 2]
    assert [line.timestamp.timestamp() for line in parsed.logs] == [START + 1, START + 2]
    assert '"message": "message 1"' in parsed.logs[0].line


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("?direction=backward", [3, 2, 1, 0]),
        (f"?cursor={(START + 2) * 1000}", [2, 3]),
        (f"?cursor={(START + 2) * 1000}&direction=backward", [1, 0]),
        ("?level=warn", [2, 3]),
        ("?search=message%201", [1]),
        ("?search=Message", []),
        ("?limit=1&direction=backward", [3]),
        ("?limit=0", []),
    ],
)
async def test_the_second_logs_are_paged_and_filtered(logged, ask, query, found):
    """From a cursor on or before it, by importance and by words."""
    answer = await ask(f"/v2/sandboxes/a/logs{query}")
    parsed = SandboxLogsV2Response.from_dict(answer.json)

    assert numbers(answer.json["logs"]) == found
    assert len(parsed.logs) == len(found)


@pytest.mark.parametrize(
    "query",
    [
        "limit=1001",
        "limit=-1",
        "limit=x",
        "cursor=-1",
        "direction=up",
        "level=fatal",
        "search=" + "x" * 257,
    ],
)
async def test_a_question_about_logs_that_makes_no_sense_is_refused(logged, ask, query):
    """Not answered with something else."""
    assert (await ask(f"/v2/sandboxes/a/logs?{query}")).status == 400


async def test_the_logs_of_an_ended_sandbox_can_be_read(fleet, logged, ask):
    """What ended it stands there."""
    fleet.store.remove("a")
    fleet.meters.pop("a")
    fleet.activities.end("a", "Sandbox ended: its time was over")

    logs = (await ask("/v2/sandboxes/a/logs")).json["logs"]
    assert logs[-1]["message"] == "Sandbox ended: its time was over"
    assert (await ask("/sandboxes/a/metrics")).status == 404
