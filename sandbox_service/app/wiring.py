"""Builds the object graph, once, by hand, in the order of dependency."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from sandbox_service import __version__
from sandbox_service.app.clock import SystemClock
from sandbox_service.app.errors import StartError
from sandbox_service.app.instance import Instance
from sandbox_service.app.policy_process import PolicyProcesses
from sandbox_service.app.settings import Settings
from sandbox_service.app.supervisor import BackendReady
from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.files import SyncReceipt
from sandbox_service.domain.ports import BackendInfo, Catalogue, SandboxProvider, Store
from sandbox_service.operations.capabilities import Capabilities
from sandbox_service.operations.create import Create
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.execs.start import ThisInstance
from sandbox_service.operations.file_reads import FileReads
from sandbox_service.operations.file_sync import FileSync, Plans
from sandbox_service.operations.lifecycle import Lifecycle
from sandbox_service.operations.planning import Planner
from sandbox_service.operations.policy.code_policy import CodePolicy
from sandbox_service.operations.policy.rules import RulesError, RuleSet
from sandbox_service.operations.previews import Previews
from sandbox_service.operations.reloads import Reloads
from sandbox_service.operations.sandboxes import Sandboxes
from sandbox_service.operations.service import Operations
from sandbox_service.operations.status import Statuses
from sandbox_service.providers.e2b.connections import Endpoint
from sandbox_service.providers.e2b.provider import E2BProvider
from sandbox_service.providers.instrumented import InstrumentedProvider
from sandbox_service.rpc.peers import Peers
from sandbox_service.storage.sql_store import open_store
from sandbox_service.telemetry.metrics import Metrics
from sandbox_service.telemetry.tracing import tracer_provider

_PROXIED: Final = (
    "Not all of it: programs that use an HTTP proxy reach the hosts that this deployment allows."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """The object graph, and what its owner needs to start and stop it."""

    operations: Operations
    metrics: Metrics
    traces: TracerProvider
    provider: SandboxProvider


async def wire(
    settings: Settings,
    instance: Instance,
    backend: BackendReady | None,
    catalogue: Catalogue,
    stack: AsyncExitStack,
) -> Wired:
    """Build everything that serves calls.

    Args:
        settings: What the operator set.
        instance: Whose state it is.
        backend: The embedded backend. None: E2B, where the settings say.
        catalogue: The templates on offer.
        stack: Closes what was opened, users before what they use.

    Raises:
        StartError: A part cannot be had.
    """
    registry = CollectorRegistry()
    _register_process(registry)
    metrics = Metrics(registry)
    traces = tracer_provider(
        endpoint=settings.trace_endpoint,
        sample_ratio=settings.trace_sample_ratio,
        version=__version__,
    )
    stack.callback(traces.shutdown)
    tracer = traces.get_tracer("sandbox_service", __version__)
    store = await _open_store(settings, instance)
    stack.push_async_callback(store.aclose)
    provider = InstrumentedProvider(
        E2BProvider(_endpoint(settings, backend), _backend_info(settings, backend)),
        metrics,
        tracer,
    )
    stack.push_async_callback(provider.aclose)

    policy = _policy(settings, metrics, stack)
    peers = Peers()
    stack.push_async_callback(peers.aclose)
    operations = _operations(settings, instance, catalogue, store, provider, metrics, policy, peers)
    return Wired(operations=operations, metrics=metrics, traces=traces, provider=provider)


def _operations(
    settings: Settings,
    instance: Instance,
    catalogue: Catalogue,
    store: Store,
    provider: SandboxProvider,
    metrics: Metrics,
    policy: CodePolicy,
    peers: Peers,
) -> Operations:
    limits, clock = settings.limits, SystemClock()
    sandboxes = Sandboxes(store, provider, clock, metrics, settings.deployment, limits)
    here = ThisInstance(instance.name, settings.advertised_address)
    execs = Execs(provider, catalogue, limits, clock, metrics, here, policy, peers)
    sandboxes.on_ended(execs.forget)
    previews = Previews(provider, sandboxes)
    planner = Planner(provider, catalogue, limits)
    return Operations(
        sandboxes=sandboxes,
        create=Create(provider, store, sandboxes, execs, planner, clock, metrics, instance.name),
        lifecycle=Lifecycle(provider, sandboxes, execs, limits, clock),
        statuses=Statuses(provider, sandboxes, execs, previews, clock),
        execs=execs,
        plans=Plans(provider, limits),
        file_reads=FileReads(provider, on_sent=metrics.read_bytes.inc),
        file_sync=FileSync(provider, limits, on_synced=lambda it: _count_sync(metrics, it)),
        reloads=Reloads(provider, execs, previews),
        previews=previews,
        capabilities=Capabilities(
            provider,
            catalogue,
            limits,
            version=__version__,
            deployment=settings.deployment,
            instance=instance.name,
            policy=settings.policy_mode,
        ),
    )


def _policy(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> CodePolicy:
    try:
        rules = RuleSet.load(settings.policy_rules)
    except RulesError as error:
        raise StartError(
            f"The code policy cannot be used: {error}.",
            "Correct the folder that SANDBOX_POLICY_RULES names.",
        ) from error
    checker = PolicyProcesses(rules)
    stack.push_async_callback(checker.aclose)
    return CodePolicy(rules, checker, settings.policy, metrics)


async def _open_store(settings: Settings, instance: Instance) -> Store:
    url = settings.store_url.get_secret_value() or f"sqlite:///{instance.folder / 'store.db'}"
    try:
        return await open_store(url)
    except (SandboxError, ValueError) as error:
        raise StartError(f"The store cannot be opened: {error}", "Check SANDBOX_STORE_URL.") from (
            error
        )


def _endpoint(settings: Settings, backend: BackendReady | None) -> Endpoint:
    if backend is None:
        return Endpoint(
            api_key=settings.e2b_api_key.get_secret_value(),
            domain=settings.e2b_domain,
            api_url=settings.e2b_api_url,
            sandbox_url=settings.e2b_sandbox_url,
        )
    return Endpoint(
        api_key=backend.api_key,
        domain=backend.domain,
        api_url=backend.url,
        sandbox_url=backend.url,
        preview_scheme="http",
    )


def _backend_info(settings: Settings, backend: BackendReady | None) -> BackendInfo:
    if backend is not None:
        return BackendInfo(
            kind="embedded",
            isolation_tier=backend.tier,
            isolation_detail=f"{backend.tier}: {backend.tier_detail}; {backend.limits}",
            survives_restart=False,
            internet=False,
            internet_denial=True,
            internet_note=_PROXIED if settings.local_egress == "proxy" else "",
        )
    elsewhere = settings.e2b_domain or settings.e2b_api_url
    return BackendInfo(
        kind="e2b_compatible" if elsewhere else "e2b_cloud",
        isolation_tier="microvm",
        isolation_detail="microvm",
        survives_restart=True,
        internet=True,
        internet_denial=True,
    )


def _count_sync(metrics: Metrics, receipt: SyncReceipt) -> None:
    metrics.synced_bytes.inc(receipt.content_bytes)
    outcomes: dict[str, Sequence[str] | range] = {
        "added": receipt.added,
        "modified": receipt.modified,
        "deleted": receipt.deleted,
        "unchanged": range(receipt.unchanged),
    }
    for outcome, files in outcomes.items():
        metrics.synced_files.labels(outcome).inc(len(files))


def _register_process(registry: CollectorRegistry) -> None:
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
