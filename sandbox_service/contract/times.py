"""Durations and timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(value: datetime) -> Timestamp:
    """Return a point in time as the contract has it."""
    message = Timestamp()
    message.FromDatetime(value)
    return message


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
