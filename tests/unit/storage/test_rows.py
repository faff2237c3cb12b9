"""Rows hold all that domain values hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from sandbox_service.domain.ports import Intent
from sandbox_service.domain.sandboxes import (
    End,
    EndCause,
    InternetAccess,
    PreviewAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
    SetupResult,
)
from sandbox_service.domain.setup import SetupFailure
from sandbox_service.storage import rows
from sandbox_service.storage.schema import INTENTS, SANDBOXES, UtcTime

TIMES = st.datetimes(timezones=st.just(UTC))
PAIRS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
FAILURES = st.builds(
    SetupFailure,
    step_index=st.integers(0, 31),
    step_name=st.text(),
    exec_id=st.text(),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.text(),
    cause=st.text(),
    fault=st.text(),
    output_tail=st.binary(max_size=64),
    output_truncated=st.booleans(),
)
ENDS = st.builds(
    End,
    time=TIMES,
    cause=st.sampled_from(EndCause),
    detail=st.text(),
    setup_failure=st.none() | FAILURES,
)
RESULTS = st.builds(
    SetupResult,
    step_index=st.integers(0, 31),
    name=st.text(),
    exec_id=st.text(),
    duration=st.timedeltas(min_value=timedelta(0)),
)
RECORDS = st.builds(
    SandboxRecord,
    sandbox_id=st.text(),
    tenant=st.text(),
    user=st.text(),
    owner=st.text(),
    state=st.sampled_from(SandboxState),
    template=st.text(),
    backend_template_id=st.text(),
    resources=st.none()
    | st.builds(Resources, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    metadata=PAIRS,
    create_time=TIMES,
    state_time=TIMES,
    expire_time=TIMES,
    setup_results=st.lists(RESULTS, max_size=3).map(tuple),
    preview=st.builds(PreviewSpec, st.integers(1, 65535), st.sampled_from(PreviewAccess)),
    internet=st.sampled_from(InternetAccess),
    artifact_globs=st.lists(st.text(), max_size=3).map(tuple),
    generation=st.integers(1, 2**63 - 1),
    idempotency_key=st.text(),
    traffic_token=st.text(),
    end=st.none() | ENDS,
)
INTENT_VALUES = st.builds(
    Intent,
    tenant=st.text(),
    key=st.text(),
    request_digests=PAIRS,
    create_time=TIMES,
    instance=st.text(),
    sandbox_id=st.text(),
)


@given(RECORDS)
def test_a_record_comes_back_from_its_row_as_it_was(record):
    """Nothing that a record says may depend on whether it was in memory or in the store."""
    assert rows.row_record(rows.record_row(record)) == record


@given(INTENT_VALUES)
def test_an_intent_comes_back_from_its_row_as_it_was(intent):
    """The first caller's digests decide, a day later, what the same request is."""
    assert rows.row_intent(rows.intent_row(intent)) == intent


@given(RECORDS, INTENT_VALUES)
def test_a_row_has_every_column_and_no_other(record, intent):
    """A column that no value fills would keep what an earlier put wrote there."""
    assert set(rows.record_row(record)) == set(SANDBOXES.columns.keys())
    assert set(rows.intent_row(intent)) == set(INTENTS.columns.keys())


@given(PAIRS, PAIRS)
def test_metadata_has_the_same_digests_only_if_it_is_the_same(left, right):
    """Filters compare digests, so two pairs that read alike would find each other's sandboxes."""
    assert (rows.metadata_pairs(left) == rows.metadata_pairs(right)) == (left == right)


def test_a_pair_is_not_its_parts_put_together():
    """The border between name and value is part of what is hashed."""
    assert rows.metadata_pairs({"ab": "c"}) != rows.metadata_pairs({"a": "bc"})


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_stored_as_a_whole_number_and_comes_back_as_the_same_moment(moment):
    """A float would lose microseconds, and paging compares times for equality."""
    dialect = sqlite.dialect()
    stored = UtcTime().process_bind_param(moment, dialect)
    back = UtcTime().process_result_value(stored, dialect)

    assert isinstance(stored, int)
    assert back is not None
    assert back == moment.astimezone(UTC)
    assert back.utcoffset() == timedelta(0)


def test_times_sort_as_their_numbers_do_whatever_their_zone():
    """The newest first is a promise of List, and the database sorts numbers."""
    east = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    west = datetime(2026, 1, 1, 8, tzinfo=UTC)
    stored = [UtcTime().process_bind_param(time, sqlite.dialect()) for time in (east, west)]

    assert east < west
    assert stored == sorted(stored)


def test_a_time_without_a_zone_is_refused():
    """It would be read back as another moment on a machine in another zone."""
    naive = datetime(2026, 1, 1)

    with pytest.raises(ValueError, match="aware"):
        UtcTime().process_bind_param(naive, sqlite.dialect())
