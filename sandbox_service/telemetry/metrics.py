"""The Prometheus metrics, made once per process and handed down."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sandbox_service.telemetry import names

_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Every metric of the service, on one registry.

    Args:
        registry: Where they are registered: the process's own, or a test's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._add_calls(registry)
        self._add_sandboxes(registry)
        self._add_execs(registry)
        self._add_policy(registry)
        self._add_syncs_and_backend(registry)

    def _add_calls(self, registry: CollectorRegistry) -> None:
        call = names.GRPC_LABELS
        self.grpc_started = Counter(
            names.GRPC_STARTED, "Calls that began.", call, registry=registry
        )
        self.grpc_handled = Counter(
            names.GRPC_HANDLED, "Calls that ended.", (*call, "grpc_code"), registry=registry
        )
        self.grpc_seconds = Histogram(
            names.GRPC_SECONDS,
            "How long calls took.",
            call,
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self.grpc_received = Counter(
            names.GRPC_MSG_RECEIVED, "Messages that came in.", call, registry=registry
        )
        self.grpc_sent = Counter(
            names.GRPC_MSG_SENT, "Messages that went out.", call, registry=registry
        )
        self.errors = Counter(
            names.ERRORS, "Failed calls by the reason told.", ("reason",), registry=registry
        )

    def _add_sandboxes(self, registry: CollectorRegistry) -> None:
        self.sandboxes = Gauge(
            names.SANDBOXES, "Sandboxes of this instance by state.", ("state",), registry=registry
        )
        self.sandboxes_created = Counter(
            names.SANDBOXES_CREATED, "Sandboxes made.", ("template",), registry=registry
        )
        self.sandboxes_ended = Counter(
            names.SANDBOXES_ENDED, "Sandboxes that ended, by why.", ("cause",), registry=registry
        )
        self.create_seconds = Histogram(
            names.CREATE_SECONDS,
            "How long each phase of Create took.",
            ("phase",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )

    def _add_execs(self, registry: CollectorRegistry) -> None:
        self.execs_running = Gauge(names.EXECS_RUNNING, "Execs that run.", registry=registry)
        self.execs_ended = Counter(
            names.EXECS_ENDED, "Execs that ended.", ("cause", "fault"), registry=registry
        )
        self.exec_output_bytes = Counter(
            names.EXEC_OUTPUT_BYTES, "Bytes that programs wrote.", ("stream",), registry=registry
        )
        self.exec_journal_bytes = Gauge(
            names.EXEC_JOURNAL_BYTES, "Output kept for readers.", registry=registry
        )

    def _add_policy(self, registry: CollectorRegistry) -> None:
        self.policy_verdicts = Counter(
            names.POLICY_VERDICTS,
            "Programs that the code policy saw.",
            ("action",),
            registry=registry,
        )
        self.policy_findings = Counter(
            names.POLICY_FINDINGS,
            "What the code policy found, by rule.",
            ("rule", "action"),
            registry=registry,
        )
        self.policy_seconds = Histogram(
            names.POLICY_SECONDS,
            "How long the code policy took over a program.",
            buckets=_CALL_BUCKETS,
            registry=registry,
        )

    def _add_syncs_and_backend(self, registry: CollectorRegistry) -> None:
        self.synced_bytes = Counter(
            names.SYNCED_BYTES, "Bytes of files received.", registry=registry
        )
        self.read_bytes = Counter(names.READ_BYTES, "Bytes of files sent out.", registry=registry)
        self.synced_files = Counter(
            names.SYNCED_FILES, "Files synced, by outcome.", ("outcome",), registry=registry
        )
        self.backend_seconds = Histogram(
            names.BACKEND_SECONDS,
            "How long calls to the backend took.",
            ("operation",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self.backend_errors = Counter(
            names.BACKEND_ERRORS,
            "Calls to the backend that failed.",
            ("operation", "reason"),
            registry=registry,
        )
