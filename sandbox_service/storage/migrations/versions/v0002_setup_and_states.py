"""What became of a sandbox's setup, since when it is in its state, and the backend's template."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Add the columns; of older sandboxes these things are not known."""
    for column in (
        sa.Column("backend_template_id", sa.String(), nullable=False, server_default=""),
        sa.Column("state_time", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("setup_results", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("end_setup_failure", sa.Text(), nullable=True),
    ):
        op.add_column("sandboxes", column)
