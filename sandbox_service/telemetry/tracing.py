"""Traces: one provider per process, sampled at the root, sent by OTLP when told where to."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased


def tracer_provider(*, endpoint: str, sample_ratio: float, version: str) -> TracerProvider:
    """Return where spans go.

    A caller that samples its trace is followed; for others `sample_ratio`
    decides.

    Args:
        endpoint: The collector's OTLP/HTTP traces URL. Empty: spans are made,
            so that ids appear in logs, and go nowhere.
        sample_ratio: 0 to 1.
        version: Of the service.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": "sandbox-service", "service.version": version}),
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
    )
    if endpoint:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider
