"""Sandboxes: requests to specs, records to messages."""

from __future__ import annotations

from dataclasses import replace

from miosa.sandbox.v1 import (
    artifact_pb2,
    create_pb2,
    lifecycle_pb2,
    outcome_pb2,
    policy_pb2,
    preview_pb2,
    sandbox_pb2,
    setup_pb2,
)

from sandbox_service.contract import enums, execs, policy, times
from sandbox_service.contract.digests import request_digests
from sandbox_service.contract.errors import setup_failure
from sandbox_service.contract.refusals import refuse_fields
from sandbox_service.domain import paths
from sandbox_service.domain.errors import PayloadTooLargeError
from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.limits import INITIAL_FILES_BYTES_MAX, MIB, TOMBSTONE_RETENTION
from sandbox_service.domain.sandboxes import (
    Created,
    CreateSpec,
    End,
    InitialFile,
    InternetAccess,
    PhaseTiming,
    Preview,
    PreviewAccess,
    PreviewSpec,
    Resources,
    ResourceUsage,
    ReturnWhen,
    SandboxRecord,
    SandboxState,
    SetupResult,
    SetupStep,
)
from sandbox_service.operations.lifecycle import Destroyed
from sandbox_service.operations.sandboxes import LIVE, Query
from sandbox_service.operations.status import Status

_INTERNET = {
    policy_pb2.EGRESS_DEFAULT_UNSPECIFIED: InternetAccess.BACKEND_DEFAULT,
    policy_pb2.EGRESS_DEFAULT_ALLOW: InternetAccess.ALLOWED,
    policy_pb2.EGRESS_DEFAULT_DENY: InternetAccess.DENIED,
}
_CLOCKLESS = {SandboxState.ENDED, SandboxState.PAUSED}
_EGRESS = {access: number for number, access in _INTERNET.items()}


def create_spec(message: create_pb2.CreateRequest) -> CreateSpec:
    """Return what a CreateRequest asks for.

    Raises:
        NotImplementedYetError: It asks for what this version does not serve.
        InvalidPathError: A file's path or a step's folder is none.
        PayloadTooLargeError: The initial files are too large together.
    """
    refuse_fields(message, "lease", "profile", "idle_timeout", "artifact_globs")
    refuse_fields(message.network, "allow_out", "deny_out")
    refuse_fields(message.resources, "disk_bytes")
    size = sum(len(file.content) for file in message.initial_files)
    if size > INITIAL_FILES_BYTES_MAX:
        raise PayloadTooLargeError(
            f"The initial files have {size} bytes; {INITIAL_FILES_BYTES_MAX} are taken. "
            "Send large trees by SyncFiles.",
            metadata={
                "field": "initial_files",
                "limit_bytes": str(INITIAL_FILES_BYTES_MAX),
                "actual_bytes": str(size),
            },
        )
    created = message.return_when == create_pb2.RETURN_WHEN_CREATED
    return CreateSpec(
        idempotency_key=message.idempotency_key,
        request_digests=request_digests(message, without=("idempotency_key",)),
        template=message.template,
        backend_template_id=message.e2b_template_id,
        resources=_wanted_resources(message),
        env=dict(message.env),
        metadata=dict(message.metadata),
        lifetime=times.optional_duration(message, "lifetime"),
        initial_files=tuple(
            InitialFile(
                path=paths.in_sandbox(file.path, f"initial_files[{index}].path"),
                content=file.content,
                mode=file.mode if file.HasField("mode") else None,
            )
            for index, file in enumerate(message.initial_files)
        ),
        setup_steps=tuple(
            _setup_step(step, f"setup_steps[{index}]")
            for index, step in enumerate(message.setup_steps)
        ),
        internet=_INTERNET[message.network.egress_default],
        preview=PreviewSpec(
            port=message.preview.port if message.preview.HasField("port") else PreviewSpec().port,
            access=_access(message.preview.access),
        ),
        return_when=ReturnWhen.CREATED if created else ReturnWhen.READY,
        owner=message.owner,
        validate_only=message.validate_only,
    )


def created_response(created: Created, preview: Preview | None) -> create_pb2.CreateResponse:
    """Return what Create answers with."""
    return create_pb2.CreateResponse(
        sandbox=sandbox(created.record, preview),
        reused=created.reused,
        timings=[phase_timing(it) for it in created.timings],
        setup_results=[_setup_result(it) for it in created.record.setup_results],
    )


def sandbox(
    record: SandboxRecord, preview: Preview | None = None, *, secrets: bool = True
) -> sandbox_pb2.Sandbox:
    """Return a sandbox as the contract has it.

    Args:
        record: What is known of it.
        preview: Where its app is found, if that is to be told.
        secrets: Whether to tell what opens the preview.
    """
    internet = record.internet
    enforced = internet is not InternetAccess.BACKEND_DEFAULT
    message = sandbox_pb2.Sandbox(
        sandbox_id=record.sandbox_id,
        state=enums.sandbox_state(record.state),
        template=record.template,
        e2b_template_id=record.backend_template_id,
        metadata=record.metadata,
        create_time=times.timestamp(record.create_time),
        expire_time=None if record.state in _CLOCKLESS else times.timestamp(record.expire_time),
        state_time=times.timestamp(record.state_time),
        setup_results=[_setup_result(it) for it in record.setup_results],
        owner=record.owner,
        generation=record.generation,
        artifact_globs=record.artifact_globs,
        network=policy_pb2.NetworkPolicy(egress_default=_EGRESS[internet]),
        network_enforced_by=(
            policy_pb2.POLICY_ENFORCER_BACKEND
            if enforced
            else policy_pb2.POLICY_ENFORCER_UNSPECIFIED
        ),
        tenant_id=record.tenant,
        user_id=record.user,
    )
    if record.resources is not None:
        message.resources.CopyFrom(resources(record.resources))
    if preview is not None and record.state is not SandboxState.ENDED:
        told = preview if secrets else replace(preview, headers={}, routing_headers={})
        message.preview.CopyFrom(preview_message(told, record.preview.access))
    if record.end is not None:
        message.end.CopyFrom(tombstone(record, record.end))
    return message


def tombstone(record: SandboxRecord, end: End) -> sandbox_pb2.Tombstone:
    """Return how a sandbox ended."""
    return sandbox_pb2.Tombstone(
        end_time=times.timestamp(end.time),
        cause=enums.end_cause(end.cause),
        fault=enums.end_fault(end.cause),
        archive=artifact_pb2.ArchiveSummary(
            state=artifact_pb2.ARCHIVE_STATE_NONE, sandbox_id=record.sandbox_id
        ),
        message=end.detail,
        setup_failure=None if end.setup_failure is None else setup_failure(end.setup_failure),
        expire_time=times.timestamp(end.time + TOMBSTONE_RETENTION),
    )


def resources(it: Resources) -> sandbox_pb2.Resources:
    """Return what a sandbox or a template has."""
    return sandbox_pb2.Resources(cpu_count=it.cpu_count, memory_bytes=it.memory_mib * MIB)


def preview_message(it: Preview, access: PreviewAccess) -> preview_pb2.Preview:
    """Return where a preview is found."""
    return preview_pb2.Preview(
        port=it.port,
        access=enums.preview_access(access),
        url=it.url,
        headers=it.headers,
        direct_url=it.direct_url,
        direct_headers={**it.headers, **it.routing_headers} if it.direct_url else {},
    )


def status_response(status: Status, preview: Preview | None) -> lifecycle_pb2.StatusResponse:
    """Return what Status answers with."""
    seen = status.seen
    lives = seen.record.state is not SandboxState.ENDED
    message = lifecycle_pb2.StatusResponse(
        sandbox=sandbox(seen.record, preview),
        health=enums.health(seen.health),
        running_execs=[execs.summary(it) for it in reversed(status.running_execs[-100:])],
        observe_time=times.timestamp(seen.observe_time),
        lifetime_left=times.duration(status.lifetime_left) if lives else None,
        preview_state=enums.preview_state(seen.preview_state) if lives else None,
    )
    if seen.usage is not None:
        message.usage.CopyFrom(_usage(seen.usage))
    return message


def destroy_response(done: Destroyed) -> lifecycle_pb2.DestroyResponse:
    """Return what Destroy answers with."""
    end = None if done.record.end is None else tombstone(done.record, done.record.end)
    return lifecycle_pb2.DestroyResponse(
        archive=None if end is None else end.archive,
        end=end,
        already_ended=done.already_ended,
    )


def list_query(message: lifecycle_pb2.ListRequest) -> Query:
    """Return what a ListRequest asks for."""
    states = (
        enums.known(number, sandbox_pb2.SandboxState, "SANDBOX_STATE_", SandboxState)
        for number in message.states
    )
    return Query(
        page_size=message.page_size,
        page_token=message.page_token,
        states=frozenset(it for it in states if it is not None) if message.states else LIVE,
        template=message.template,
        owner=message.owner,
        tenant=message.tenant_id,
        metadata=dict(message.metadata),
    )


def phase_timing(it: PhaseTiming) -> outcome_pb2.PhaseTiming:
    """Return how long a phase took."""
    return outcome_pb2.PhaseTiming(phase=it.phase, duration=times.duration(it.duration))


def _setup_step(step: setup_pb2.SetupStep, field: str) -> SetupStep:
    return SetupStep(
        step.name,
        ExecSpec(
            program=execs.program(step.program),
            exec_id=step.exec_id,
            cwd=paths.absolute(step.cwd, f"{field}.cwd") if step.cwd else "",
            env=dict(step.env),
            user=step.user,
            timeout=times.optional_duration(step, "timeout"),
        ),
    )


def _setup_result(it: SetupResult) -> setup_pb2.SetupResult:
    message = setup_pb2.SetupResult(
        name=it.name,
        exec_id=it.exec_id,
        state=setup_pb2.SETUP_STATE_PENDING,
        verdict=policy.verdict(it.verdict),
    )
    if it.duration is not None:
        message.state = setup_pb2.SETUP_STATE_SUCCEEDED
        message.exit_code = 0
        message.duration.CopyFrom(times.duration(it.duration))
    return message


def _wanted_resources(message: create_pb2.CreateRequest) -> Resources | None:
    if message.WhichOneof("template_choice") != "resources":
        return None
    wanted = message.resources
    return Resources(wanted.cpu_count, -(-wanted.memory_bytes // MIB))


def _access(number: int) -> PreviewAccess:
    """Return who may open a preview; only who has the token, unless asked otherwise."""
    wanted = enums.known(number, preview_pb2.PreviewAccess, "PREVIEW_ACCESS_", PreviewAccess)
    return wanted or PreviewAccess.TOKEN


def _usage(it: ResourceUsage) -> sandbox_pb2.ResourceUsage:
    return sandbox_pb2.ResourceUsage(
        sample_time=times.timestamp(it.sample_time),
        cpu_utilization=it.cpu_utilization,
        memory_used_bytes=it.memory_used_bytes,
        memory_total_bytes=it.memory_total_bytes,
        disk_used_bytes=it.disk_used_bytes,
        disk_total_bytes=it.disk_total_bytes,
    )
