"""The store's tables as they are now.

`migrations` makes them; a test holds the two together.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """A time as whole microseconds since 1970: exact, and sorts as it should everywhere.

    SQLite keeps no time zone, so its own times would come back naive.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return what is stored.

        Raises:
            ValueError: The time does not say its zone, so it is no moment.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A stored time must be aware of its zone.")
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return what was stored, in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


def _identifier() -> TypeEngine[str]:
    """Text that sorts by code point everywhere: PostgreSQL would sort by language."""
    return String().with_variant(String(collation="C"), "postgresql")


METADATA: Final = MetaData()

SANDBOXES: Final = Table(
    "sandboxes",
    METADATA,
    Column("sandbox_id", _identifier(), primary_key=True),
    Column("tenant", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("state", String, nullable=False),
    Column("template", String, nullable=False),
    Column("backend_template_id", String, nullable=False),
    Column("cpu_count", Integer),
    Column("memory_mib", Integer),
    Column("metadata", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("state_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("preview_port", Integer, nullable=False),
    Column("preview_access", String, nullable=False),
    Column("internet", String, nullable=False),
    Column("artifact_globs", Text, nullable=False),
    Column("setup_results", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("traffic_token", String, nullable=False),
    Column("end_time", UtcTime),
    Column("end_cause", String),
    Column("end_detail", Text),
    Column("end_setup_failure", Text),
    Index("ix_sandboxes_create_time", "create_time", "sandbox_id"),
    Index("ix_sandboxes_tenant", "tenant", "create_time", "sandbox_id"),
    Index("ix_sandboxes_end_time", "end_time"),
)

METADATA_PAIRS: Final = Table(
    "metadata_pairs",
    METADATA,
    # A digest: of one size however long the value, and free of any dialect's JSON paths.
    Column("pair_sha256", String(64), primary_key=True),
    Column(
        "sandbox_id",
        _identifier(),
        ForeignKey("sandboxes.sandbox_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Index("ix_metadata_pairs_sandbox_id", "sandbox_id"),
)

INTENTS: Final = Table(
    "intents",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("request_digests", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("instance", String, nullable=False),
    Column("sandbox_id", String, nullable=False),
    Index("ix_intents_create_time", "create_time"),
)
