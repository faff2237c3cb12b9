"""Execs on a backend that does what the test says."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import CollectorRegistry

from sandbox_service.domain.execs import (
    ExecEvent,
    ExecSpec,
    Exited,
    Output,
    Positioned,
    ShellCommand,
    Stream,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import Peers
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.execs.start import ThisInstance
from sandbox_service.providers.catalogue import YamlCatalogue
from sandbox_service.telemetry.metrics import Metrics
from tests.support.scripted import ScriptedProvider, SetClock, running_record

COMMAND = ShellCommand("the test's")
CALLER = Caller("tenant")


@dataclass
class Bench:
    """Execs, and what they stand on."""

    limits: Limits = field(default_factory=Limits)
    instance: ThisInstance = field(default_factory=ThisInstance)
    peers: Peers | None = None

    def __post_init__(self) -> None:
        self.clock = SetClock()
        self.provider = ScriptedProvider()
        self.registry = CollectorRegistry()
        self.execs = Execs(
            self.provider,
            YamlCatalogue.load(None),
            self.limits,
            self.clock,
            Metrics(self.registry),
            self.instance,
            peers=self.peers,
        )

    def record(self, left: timedelta = timedelta(hours=1)) -> SandboxRecord:
        return running_record(self.clock, left)

    async def live(self) -> list[SandboxRecord]:
        """Return what runs, as the store does."""
        return [self.record()]

    def gauge(self, name: str) -> float:
        value = self.registry.get_sample_value(name)
        assert value is not None
        return value

    async def run(self, **options: object) -> Ran:
        """Run a program whose script has been written, to its end."""
        ran = Ran()
        spec = ExecSpec(**{"program": COMMAND, **options})  # type: ignore[arg-type]
        async with aclosing(self.execs.run(self.record(), spec)) as events:
            async for event in events:
                ran.events.append(event)
        return ran


@dataclass
class Ran:
    """Every event of one exec."""

    events: list[Positioned] = field(default_factory=list)

    @property
    def kinds(self) -> list[type[ExecEvent]]:
        return [type(it.event) for it in self.events]

    @property
    def exited(self) -> Exited:
        event = self.events[-1].event
        assert isinstance(event, Exited)
        return event

    def output(self, stream: Stream = Stream.STDOUT) -> bytes:
        outputs = [it.event for it in self.events if isinstance(it.event, Output)]
        return b"".join(it.data for it in outputs if it.stream is stream)
