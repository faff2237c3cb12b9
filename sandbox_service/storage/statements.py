"""The statements that the store runs.

Those that always look alike are built once, with parameters: building one
costs as much as running it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Insert, Select, bindparam, delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from sandbox_service.domain.ports import RecordFilter
from sandbox_service.domain.sandboxes import SandboxState
from sandbox_service.storage.rows import metadata_pairs
from sandbox_service.storage.schema import INTENTS, METADATA_PAIRS, SANDBOXES

GET_RECORD: Final = select(SANDBOXES).where(SANDBOXES.c.sandbox_id == bindparam("sandbox_id"))

DROP_OTHER_PAIRS: Final = delete(METADATA_PAIRS).where(
    METADATA_PAIRS.c.sandbox_id == bindparam("sandbox_id"),
    METADATA_PAIRS.c.pair_sha256.not_in(bindparam("pairs", expanding=True)),
)

GET_INTENT: Final = select(INTENTS).where(
    INTENTS.c.tenant == bindparam("tenant"), INTENTS.c.key == bindparam("key")
)

TAKE_OVER_INTENT: Final = (
    update(INTENTS)
    .where(
        INTENTS.c.tenant == bindparam("of_tenant"),
        INTENTS.c.key == bindparam("of_key"),
        INTENTS.c.instance == bindparam("of_instance"),
        INTENTS.c.create_time == bindparam("of_create_time"),
        INTENTS.c.sandbox_id == bindparam("of_sandbox_id"),
    )
    .values(instance=bindparam("to_instance"))
)

COMPLETE_INTENT: Final = (
    update(INTENTS)
    .where(INTENTS.c.tenant == bindparam("of_tenant"), INTENTS.c.key == bindparam("of_key"))
    .values(sandbox_id=bindparam("to_sandbox_id"))
)

FREE_INTENT: Final = delete(INTENTS).where(
    INTENTS.c.tenant == bindparam("tenant"), INTENTS.c.key == bindparam("key")
)

FORGET_TOMBSTONES: Final = delete(SANDBOXES).where(
    SANDBOXES.c.state == SandboxState.ENDED.value, SANDBOXES.c.end_time < bindparam("time")
)

FORGET_INTENTS: Final = delete(INTENTS).where(INTENTS.c.create_time < bindparam("time"))


class Upserts:
    """What SQL has no common words for, in the words of one database.

    Attributes:
        put_record: Write a row of `sandboxes`, new or changed.
        add_pairs: Write rows of `metadata_pairs` unless they are there.
        claim_intent: Write a row of `intents` unless its key is taken.
    """

    def __init__(self, dialect: str) -> None:
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        record = insert(SANDBOXES)
        changed = {name: column for name, column in record.excluded.items() if name != "sandbox_id"}
        self.put_record: Insert = record.on_conflict_do_update(
            index_elements=["sandbox_id"], set_=changed
        )
        self.add_pairs: Insert = insert(METADATA_PAIRS).on_conflict_do_nothing()
        self.claim_intent: Insert = insert(INTENTS).on_conflict_do_nothing()


def list_records(which: RecordFilter, limit: int) -> Select[Any]:
    """Return the query for at most `limit` records, newest first, then by id."""
    columns = SANDBOXES.c
    query = (
        select(SANDBOXES)
        .order_by(columns.create_time.desc(), columns.sandbox_id.desc())
        .limit(limit)
    )
    if which.tenant:
        query = query.where(columns.tenant == which.tenant)
    if which.states:
        query = query.where(columns.state.in_(sorted(which.states)))
    if which.template:
        query = query.where(columns.template == which.template)
    if which.owner:
        query = query.where(columns.owner == which.owner)
    for pair in metadata_pairs(which.metadata):
        having = select(METADATA_PAIRS.c.sandbox_id).where(METADATA_PAIRS.c.pair_sha256 == pair)
        query = query.where(columns.sandbox_id.in_(having))
    if which.before is not None:
        query = query.where(tuple_(columns.create_time, columns.sandbox_id) < which.before)
    return query
