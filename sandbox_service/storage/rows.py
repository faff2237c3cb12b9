"""Domain values as rows and back. Pure, and the only place that knows both."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from sandbox_service.domain.policy import UNCHECKED, Action, Finding, Verdict
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

_MICROSECOND: Final = timedelta(microseconds=1)

Row = Mapping[Any, Any]
"""A row by column name. Times are aware datetimes: `schema.UtcTime` does the rest.

SQLAlchemy's own rows also answer to columns, hence no narrower type of key.
"""


def record_row(record: SandboxRecord) -> dict[str, Any]:
    """Return the row of `sandboxes` that holds `record`."""
    end, resources = record.end, record.resources
    return {
        "sandbox_id": record.sandbox_id,
        "tenant": record.tenant,
        "user_id": record.user,
        "owner": record.owner,
        "state": record.state.value,
        "template": record.template,
        "backend_template_id": record.backend_template_id,
        "cpu_count": resources.cpu_count if resources else None,
        "memory_mib": resources.memory_mib if resources else None,
        "metadata": _mapping_text(record.metadata),
        "create_time": record.create_time,
        "state_time": record.state_time,
        "expire_time": record.expire_time,
        "preview_port": record.preview.port,
        "preview_access": record.preview.access.value,
        "internet": record.internet.value,
        "artifact_globs": json.dumps(record.artifact_globs),
        "setup_results": json.dumps([_setup_text(it) for it in record.setup_results]),
        "generation": record.generation,
        "idempotency_key": record.idempotency_key,
        "traffic_token": record.traffic_token,
        "end_time": end.time if end else None,
        "end_cause": end.cause.value if end else None,
        "end_detail": end.detail if end else None,
        "end_setup_failure": _failure_text(end.setup_failure) if end else None,
    }


def row_record(row: Row) -> SandboxRecord:
    """Return the record that a row of `sandboxes` holds."""
    return SandboxRecord(
        sandbox_id=row["sandbox_id"],
        tenant=row["tenant"],
        user=row["user_id"],
        owner=row["owner"],
        state=SandboxState(row["state"]),
        template=row["template"],
        backend_template_id=row["backend_template_id"],
        resources=_row_resources(row),
        metadata=json.loads(row["metadata"]),
        create_time=row["create_time"],
        state_time=row["state_time"],
        expire_time=row["expire_time"],
        preview=PreviewSpec(port=row["preview_port"], access=PreviewAccess(row["preview_access"])),
        internet=InternetAccess(row["internet"]),
        artifact_globs=tuple(json.loads(row["artifact_globs"])),
        setup_results=tuple(_text_setup(it) for it in json.loads(row["setup_results"])),
        generation=row["generation"],
        idempotency_key=row["idempotency_key"],
        traffic_token=row["traffic_token"],
        end=_row_end(row),
    )


def _row_resources(row: Row) -> Resources | None:
    if row["cpu_count"] is None:
        return None
    return Resources(cpu_count=row["cpu_count"], memory_mib=row["memory_mib"])


def _row_end(row: Row) -> End | None:
    if row["end_time"] is None:
        return None
    return End(
        time=row["end_time"],
        cause=EndCause(row["end_cause"]),
        detail=row["end_detail"],
        setup_failure=_text_failure(row["end_setup_failure"]),
    )


def _setup_text(result: SetupResult) -> dict[str, Any]:
    duration = result.duration
    return {
        **asdict(result),
        "duration": None if duration is None else duration // _MICROSECOND,
    }


def _text_setup(it: Mapping[str, Any]) -> SetupResult:
    duration, said = it["duration"], it.get("verdict")
    return SetupResult(
        **{
            **it,
            "duration": None if duration is None else duration * _MICROSECOND,
            "verdict": UNCHECKED if said is None else _verdict(said),
        }
    )


def _verdict(it: Mapping[str, Any]) -> Verdict:
    findings = (Finding(**{**each, "action": Action(each["action"])}) for each in it["findings"])
    return Verdict(findings=tuple(findings), enforced=it["enforced"])


def _failure_text(failure: SetupFailure | None) -> str | None:
    if failure is None:
        return None
    tail = base64.b64encode(failure.output_tail).decode("ascii")
    return json.dumps({**asdict(failure), "output_tail": tail})


def _text_failure(text: str | None) -> SetupFailure | None:
    if text is None:
        return None
    it = json.loads(text)
    return SetupFailure(**{**it, "output_tail": base64.b64decode(it["output_tail"])})


def intent_row(intent: Intent) -> dict[str, Any]:
    """Return the row of `intents` that holds `intent`."""
    return {
        "tenant": intent.tenant,
        "key": intent.key,
        "request_digests": _mapping_text(intent.request_digests),
        "create_time": intent.create_time,
        "instance": intent.instance,
        "sandbox_id": intent.sandbox_id,
    }


def row_intent(row: Row) -> Intent:
    """Return the intent that a row of `intents` holds."""
    return Intent(
        tenant=row["tenant"],
        key=row["key"],
        request_digests=json.loads(row["request_digests"]),
        create_time=row["create_time"],
        instance=row["instance"],
        sandbox_id=row["sandbox_id"],
    )


def metadata_pairs(metadata: Mapping[str, str]) -> list[str]:
    """Return the SHA-256 of each pair, in hex and sorted: what metadata filters compare.

    A pair is hashed as a JSON array, so that no two pairs read alike.
    """
    return sorted(
        hashlib.sha256(json.dumps(pair).encode("ascii")).hexdigest() for pair in metadata.items()
    )


def _mapping_text(mapping: Mapping[str, str]) -> str:
    return json.dumps(dict(mapping), sort_keys=True)
