"""Brings a database to the schema of this version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sandbox_service.domain.errors import StoreUnavailableError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x5A4DB0C5  # Any number, as long as nobody else's is the same.


def migrate(connection: Connection) -> None:
    """Run the migrations that `connection`'s database has not seen.

    The whole of it is one transaction, begun by the caller, who also keeps
    others from migrating an SQLite file at the same time; a PostgreSQL
    database is locked here, until that transaction ends. Alembic's `op` and
    `context` are global to the process and are not used, so that two stores
    can be opened at once.

    Raises:
        StoreUnavailableError: A newer version of the service has migrated it.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    scripts = ScriptDirectory(str(_MIGRATIONS))

    def steps(current: str | Sequence[str], _: MigrationContext) -> list[MigrationStep]:
        missing = list(scripts.iterate_revisions("head", tuple(current) or "base"))
        return [
            MigrationStep.upgrade_from_script(scripts.revision_map, script)
            for script in reversed(missing)
        ]

    context = MigrationContext.configure(connection, opts={"fn": steps})
    known = {script.revision for script in scripts.walk_revisions()}
    if not known.issuperset(context.get_current_heads()):
        raise StoreUnavailableError(
            "The store was written by a newer version of the service. Run that version."
        )
    context.run_migrations(op=Operations(context))
