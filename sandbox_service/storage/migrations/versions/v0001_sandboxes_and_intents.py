"""Sandboxes, their metadata's index, and the intents of keyed Creates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None


def _identifier() -> sa.String:
    """Text that sorts by code point everywhere: PostgreSQL would sort by language."""
    return sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade(op: Operations) -> None:
    """Make the tables and their indexes."""
    op.create_table(
        "sandboxes",
        sa.Column("sandbox_id", _identifier(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("cpu_count", sa.Integer(), nullable=True),
        sa.Column("memory_mib", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.Column("preview_port", sa.Integer(), nullable=False),
        sa.Column("preview_access", sa.String(), nullable=False),
        sa.Column("internet", sa.String(), nullable=False),
        sa.Column("artifact_globs", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("traffic_token", sa.String(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("end_cause", sa.String(), nullable=True),
        sa.Column("end_detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sandbox_id", name="pk_sandboxes"),
    )
    op.create_index("ix_sandboxes_create_time", "sandboxes", ["create_time", "sandbox_id"])
    op.create_index("ix_sandboxes_tenant", "sandboxes", ["tenant", "create_time", "sandbox_id"])
    op.create_index("ix_sandboxes_end_time", "sandboxes", ["end_time"])
    op.create_table(
        "metadata_pairs",
        sa.Column("pair_sha256", sa.String(64), nullable=False),
        sa.Column("sandbox_id", _identifier(), nullable=False),
        sa.PrimaryKeyConstraint("pair_sha256", "sandbox_id", name="pk_metadata_pairs"),
        sa.ForeignKeyConstraint(
            ["sandbox_id"],
            ["sandboxes.sandbox_id"],
            name="fk_metadata_pairs_sandboxes",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_metadata_pairs_sandbox_id", "metadata_pairs", ["sandbox_id"])
    op.create_table(
        "intents",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_digests", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("sandbox_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_intents"),
    )
    op.create_index("ix_intents_create_time", "intents", ["create_time"])
