"""What a deployment can do, as the contract tells it."""

from __future__ import annotations

from collections.abc import Mapping

from miosa.sandbox.v1 import capabilities_pb2

from sandbox_service.contract import sandboxes, times
from sandbox_service.domain.limits import (
    INITIAL_FILES_BYTES_MAX,
    INTENT_RETENTION,
    MESSAGE_BYTES_MAX,
    SYNC_CHUNK_BYTES_MAX,
    TOMBSTONE_RETENTION,
    Limits,
)
from sandbox_service.domain.policy import Mode
from sandbox_service.domain.ports import BackendInfo
from sandbox_service.operations.capabilities import Told

_TIERS = {
    "microvm": "ISOLATION_TIER_MICROVM",
    "user-kernel": "ISOLATION_TIER_USER_KERNEL",
    "process-unsafe": "ISOLATION_TIER_PROCESS",
}
_LATER = "Not in this version."
_PARTLY = {
    "miosa.sandbox.v1.SandboxService/Create": (
        "Not yet: lease, profile, idle_timeout, artifact_globs, network rules, disk_bytes."
    ),
    "miosa.sandbox.v1.SandboxService/Exec": "Not yet: an archive of what artifact_globs match.",
    "miosa.sandbox.v1.SandboxService/Destroy": "Not yet: archives.",
}
_POLICED = {f"miosa.sandbox.v1.SandboxService/{name}" for name in ("Create", "Exec", "SyncFiles")}
_NOT_HERE = "This backend cannot do it."
_POLICY = "It is a lint: isolation, not its verdict, is the boundary."


def response(told: Told, served: Mapping[str, bool]) -> capabilities_pb2.GetCapabilitiesResponse:
    """Return what GetCapabilities answers with.

    Args:
        told: What the operation says.
        served: Each RPC of the contract, and whether it is served.
    """
    backend = told.backend
    return capabilities_pb2.GetCapabilitiesResponse(
        version=told.version,
        deployment=told.deployment,
        instance=told.instance,
        backend=capabilities_pb2.Backend(
            kind=f"BACKEND_KIND_{backend.kind.upper()}",
            isolation=_TIERS.get(backend.isolation_tier, "ISOLATION_TIER_NAMESPACES"),
            isolation_detail=backend.isolation_detail,
        ),
        limits=_limits(told.limits),
        templates=[
            capabilities_pb2.TemplateInfo(
                name=it.name,
                description=it.description,
                resources=sandboxes.resources(it.resources),
                languages=it.languages,
                is_default=index == 0,
            )
            for index, it in enumerate(told.templates)
        ],
        languages=told.languages,
        rpcs=[
            capabilities_pb2.RpcInfo(
                name=name, implemented=yes, note=_rpc_note(name, told.policy) if yes else _LATER
            )
            for name, yes in served.items()
        ],
        features=_features(backend, told.policy),
        sandboxes_survive_restart=backend.survives_restart,
    )


def _rpc_note(name: str, policy: Mode) -> str:
    """Return what does not work of an RPC that is served."""
    notes = [_PARTLY.get(name, "")]
    if name in _POLICED and policy is Mode.DENY:
        notes.append("A code policy denies some programs; it is a lint, isolation is the boundary.")
    return " ".join(filter(None, notes))


def _limits(limits: Limits) -> capabilities_pb2.Limits:
    return capabilities_pb2.Limits(
        default_lifetime=times.duration(limits.lifetime_default),
        max_lifetime=times.duration(limits.lifetime_max),
        max_execs_per_sandbox=limits.execs_per_sandbox,
        max_execs=limits.execs,
        max_message_bytes=MESSAGE_BYTES_MAX,
        max_initial_files_bytes=INITIAL_FILES_BYTES_MAX,
        max_chunk_bytes=SYNC_CHUNK_BYTES_MAX,
        max_sync_entries=limits.sync_files,
        max_sync_bytes=limits.sync_bytes,
        journal_bytes=limits.journal_bytes,
        default_spool_bytes=limits.spool_bytes,
        idempotency_retention=times.duration(INTENT_RETENTION),
        tombstone_retention=times.duration(TOMBSTONE_RETENTION),
    )


def _features(backend: BackendInfo, policy: Mode) -> list[capabilities_pb2.FeatureInfo]:
    supported = {
        "PREVIEW_TOKEN": True,
        "RESOURCE_USAGE": True,
        "PTY": True,
        "DURABLE_EXEC": True,
        "RAW_TEMPLATES": True,
        "INTERNET": backend.internet,
        "NETWORK_POLICY": backend.internet_denial,
        "CODE_POLICY": policy is not Mode.OFF,
    }
    notes = {
        "INTERNET": backend.internet_note,
        "CODE_POLICY": _POLICY if policy is not Mode.OFF else "This deployment has none.",
    }
    names = capabilities_pb2.Feature.keys()
    return [
        capabilities_pb2.FeatureInfo(
            feature=name,
            supported=supported.get(name.removeprefix("FEATURE_"), False),
            note=notes.get(name.removeprefix("FEATURE_"))
            or _note(supported.get(name.removeprefix("FEATURE_"))),
        )
        for name in names
        if not name.endswith("_UNSPECIFIED")
    ]


def _note(supported: bool | None) -> str:  # noqa: FBT001 - reads as a sentence.
    if supported is None:
        return _LATER
    return "" if supported else _NOT_HERE
