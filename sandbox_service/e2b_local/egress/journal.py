"""Where the programs of a sandbox went, and where they were not let to, as its log tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from sandbox_service.e2b_local.egress.counts import EgressCounts
    from sandbox_service.e2b_local.egress.destinations import Address
    from sandbox_service.e2b_local.tunnels.opening import Place

PLACES_LIMIT: Final = 64
"""Places told of each kind: programs choose them, and the log has other things to tell."""

_Level = Literal["info", "warn"]


class Log(Protocol):
    """A sandbox's log."""

    def record(self, level: _Level, message: str, **fields: object) -> None:
        """Note that something happened now."""


class EgressJournal:
    """Tells a sandbox's log each place once, and the sums when asked to.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: dict[_Level, set[Place]] = {"info": set(), "warn": set()}
        self._last: EgressCounts | None = None

    def connected(self, place: Place, address: Address) -> None:
        """Note that a connection was made."""
        self._tell("info", place, f"Connected to {place.host}:{place.port}", address=address)

    def refused(self, place: Place, reason: str) -> None:
        """Note that a connection was not allowed."""
        self._tell("warn", place, f"Not connected to {place.host}:{place.port}: {reason}")

    def sums(self, counts: EgressCounts) -> None:
        """Note what went through since the sandbox was made, if that has changed."""
        if counts == (self._last or type(counts)()):
            return
        self._last = counts
        self._log.record(
            "info",
            f"Network: {counts.connections} connections, {counts.refused} refused,"
            f" {counts.sent_bytes} bytes out, {counts.received_bytes} bytes in",
            connections=counts.connections,
            refused=counts.refused,
            sent_bytes=counts.sent_bytes,
            received_bytes=counts.received_bytes,
        )

    def _tell(self, level: _Level, place: Place, message: str, **fields: object) -> None:
        told = self._told[level]
        if place in told or len(told) > PLACES_LIMIT:
            return
        told.add(place)
        if len(told) > PLACES_LIMIT:
            message = "More of these are not listed"
        self._log.record(level, message, host=place.host, port=place.port, **fields)
