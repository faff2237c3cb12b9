"""Durations and timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(value: datetime) -> Timestamp:
    """Return a point in time as the contract has it."""
    # Not FromDatetime: it takes five times as long, and every frame of output
    # carries a time.
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def from_timestamp(value: Timestamp) -> datetime:
    """Return a point in time, aware of being UTC."""
    return value.ToDatetime(tzinfo=UTC)


def duration(value: timedelta) -> Duration:
    """Return a span of time as the contract has it."""
    message = Duration()
    message.FromTimedelta(value)
    return message


def seconds(value: float) -> Duration:
    """Return a span of time given in seconds."""
    return duration(timedelta(seconds=value))


def optional_duration(message: Message, field: str) -> timedelta | None:
    """Return a Duration field. None when it is unset, which is not zero."""
    if not message.HasField(field):
        return None
    value: Duration = getattr(message, field)
    return value.ToTimedelta()
