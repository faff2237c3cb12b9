"""What the suite of stores runs on, and what its tests keep there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox_service.domain.ports import Intent
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PreviewAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
)

START = datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC)


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state' / 'store.db'}"


STORES: Mapping[str, Callable[[Path], str]] = {"sqlite": _sqlite_url}
"""By name: what makes the URL of a store that is not there yet; a database is one more entry."""


def a_record(sandbox_id="sb-1", **changes):
    record = SandboxRecord(
        sandbox_id=sandbox_id,
        tenant="acme",
        user="ada",
        owner="orchestrator-7",
        state=SandboxState.RUNNING,
        template="python",
        backend_template_id="base",
        resources=Resources(cpu_count=2, memory_mib=1024),
        metadata={"project": "p-1"},
        create_time=START,
        state_time=START,
        expire_time=START + timedelta(minutes=5),
        preview=PreviewSpec(port=8080, access=PreviewAccess.TOKEN),
        internet=InternetAccess.DENIED,
        artifact_globs=("out/**", "*.csv"),
        generation=3,
        idempotency_key="key-1",
        traffic_token="opens-the-preview",
    )
    return replace(record, **changes)


def an_intent(key="key-1", **changes):
    intent = Intent(
        tenant="acme",
        key=key,
        request_digests={"template": "a" * 64},
        create_time=START,
        instance="instance-a",
    )
    return replace(intent, **changes)


def ids(records):
    return [record.sandbox_id for record in records]
