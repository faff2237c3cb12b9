"""A program whose every byte is known, and a reader who comes and goes until it has ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, Failure

OUT, ERR = pb.OUTPUT_STREAM_STDOUT, pb.OUTPUT_STREAM_STDERR
DURABLE, DETACHED, ATTACHED = pb.RETENTION_DURABLE, pb.RETENTION_DETACHED, pb.RETENTION_ATTACHED
RUNS = "/tmp/chaos-runs"
"""Where each program notes in its sandbox that it was started."""

_AGAIN = {"UNAVAILABLE", "ABORTED", "CANCELLED", "RESOURCE_EXHAUSTED"}
"""Codes after which a caller repeats a call."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A program that writes numbered lines to both streams.

    Attributes:
        ticks: How often it writes; it rests in between.
        lines: To each stream, each time.
        rest_ms: For how long.
        code: Its exit code.
    """

    exec_id: str
    ticks: int
    lines: int
    rest_ms: int
    code: int

    @property
    def command(self) -> str:
        """A line for bash that forks next to nothing."""
        return (
            f"echo >> {RUNS}/{self.exec_id}; exec {{rest}}<> <(:);"
            f" for ((i = 0; i < {self.ticks * self.lines}; i++)); do"
            f' echo "{self.exec_id} out $i"; echo "{self.exec_id} err $i" >&2;'
            f" (((i + 1) % {self.lines})) || read -rt 0.{self.rest_ms:03d} -u $rest;"
            f" done; exit {self.code}"
        )

    def whole(self, stream: int) -> bytes:
        """All that it writes to a stream."""
        word = "out" if stream == OUT else "err"
        count = self.ticks * self.lines
        return "".join(f"{self.exec_id} {word} {it}\n" for it in range(count)).encode()


@dataclass(slots=True)
class Heard:
    """What a reader has been given of one stream.

    Attributes:
        offset: Of the next byte.
        parts: Pieces between gaps, with the offset at which each begins.
    """

    offset: int = 0
    parts: list[tuple[int, bytearray]] = field(default_factory=lambda: [(0, bytearray())])

    def take(self, offset: int, data: bytes) -> str:
        """Add bytes. Returns what is wrong with them."""
        if offset != self.offset:
            return f"bytes at {offset} where {self.offset} was due"
        self.parts[-1][1].extend(data)
        self.offset += len(data)
        return ""

    def gap(self, offset: int, missing: int) -> str:
        """Note a gap. Returns what is wrong with it."""
        if offset != self.offset:
            return f"a gap at {offset} where {self.offset} was due"
        self.offset += missing
        self.parts.append((self.offset, bytearray()))
        return ""


class Follower:
    """Reads one exec to its end, over as many calls as that takes.

    Args:
        box: The sandbox's id.
        numbers: What runs.
        retention: With which.
        chance: When it leaves, and for how long.

    Attributes:
        calls: How many calls it made.
        wrong: The first thing that no reader should ever see. Empty: nothing.
        lost: The service said that the exec is lost.
        exited: How the exec ended.
        silence_s: How long no event came, at the most, while a stream was open.
    """

    def __init__(self, box: str, numbers: Numbers, retention: int, chance: Random) -> None:
        self.box = box
        self.numbers = numbers
        self.retention = retention
        self.calls = 0
        self.wrong = ""
        self.lost = False
        self.exited: pb.ExecExited | None = None
        self.failures: list[str] = []
        self._chance = chance
        self._started = False
        self._position = pb.Position()
        self._heard = {OUT: Heard(), ERR: Heard()}
        self._told: list[str] = []

    @property
    def done(self) -> bool:
        """Whether there is nothing more to read."""
        return bool(self.wrong) or self.lost or self.exited is not None

    @property
    def gaps(self) -> int:
        """How many it was told of."""
        return sum(len(it.parts) - 1 for it in self._heard.values())

    async def call(self, client: Client) -> None:
        """Read for a while: to the end, to a failure, or until it leaves by itself."""
        self.calls += 1
        stays = self._chance.choice((3, 10, 40, 10**9))
        stream = self._open(client)
        try:
            async for response in stream:
                self._take(response.event)
                stays -= 1
                if self.done:
                    return
                if stays <= 0 and self._started:
                    return
        except grpc.aio.AioRpcError as error:
            self._failed(Failure.of(error))
        else:
            self.wrong = self.wrong or "a stream ended well, and without exited"
        finally:
            stream.cancel()

    async def away(self) -> None:
        """Stay away for a moment, well within the grace."""
        await asyncio.sleep(self._chance.choice((0.0, 0.05, 0.3, 1.0)))

    def verdict(self) -> str:
        """Say what is wrong with what was read. Empty: it is as it has to be."""
        if self.wrong or self.exited is None:
            return self.wrong or ("" if self._may_be_lost else "lost, or never ended")
        cause = self.exited.cause
        if cause == pb.CAUSE_BACKEND and self._may_be_lost:
            return ""
        if (cause, self.exited.exit_code) != (pb.CAUSE_EXIT, self.numbers.code):
            return f"ended by {pb.Cause.Name(cause)} {self.exited.exit_code}"
        if self.gaps and self.retention == DURABLE:
            return f"gaps in what is durable: {', '.join(self._told)}"
        return next(filter(None, map(self._holes, (OUT, ERR))), "")

    @property
    def _may_be_lost(self) -> bool:
        return self.retention != DURABLE and (self.lost or self.exited is not None)

    def _holes(self, stream: int) -> str:
        """Compare a stream with what was written: whole pieces, in order, only gaps between."""
        whole, behind = self.numbers.whole(stream), 0
        parts = self._heard[stream].parts
        for number, (_, data) in enumerate(parts):
            part = bytes(data)
            last = number == len(parts) - 1
            at = 0 if number == 0 else len(whole) - len(part) if last else whole.find(part, behind)
            if (
                at < behind
                or not whole.startswith(part, at)
                or (last and at + len(part) < len(whole))
            ):
                return f"stream {stream} differs in part {number} of {len(parts)}: {part[:60]!r}"
            behind = at + len(part)
        return ""

    def _open(self, client: Client) -> Any:
        which = {"sandbox_id": self.box, "exec_id": self.numbers.exec_id}
        beat = {"seconds": 1}
        if self._started:
            request = pb.AttachRequest(**which, position=self._position, heartbeat_interval=beat)
            return client.call("Attach", request)
        grace = {"reader_grace": {"seconds": 60}} if self.retention == ATTACHED else {}
        program = pb.Program(shell_command=self.numbers.command)
        how = {"program": program, "retention": self.retention, "heartbeat_interval": beat}
        return client.call("Exec", pb.ExecRequest(**which, **how, **grace))

    def _take(self, event: pb.ExecEvent) -> None:
        match event.WhichOneof("kind"):
            case "started":
                self._started = True
            case "output":
                output = event.output
                self.wrong = self._heard[output.stream].take(output.offset, output.data)
            case "gap":
                gap = event.gap
                self._told.append(
                    f"{pb.GapCause.Name(gap.cause)} {gap.missing_bytes} at {gap.offset}"
                )
                self.wrong = self._heard[gap.stream].gap(gap.offset, gap.missing_bytes)
            case "exited":
                self.exited = event.exited
        self._position = event.position
        seen = (self._heard[OUT].offset, self._heard[ERR].offset)
        if (event.position.stdout_offset, event.position.stderr_offset) != seen:
            self.wrong = self.wrong or f"the position {event.position} after {seen}"

    def _failed(self, how: Failure) -> None:
        self.failures.append(f"{how.code.name}/{how.reason}")
        if how.reason == "EXEC_LOST":
            self.lost = True
        elif how.code.name not in _AGAIN:
            self.wrong = f"failed with {how.code.name} {how.reason}: {how.message}"
