"""Logs are events with fields, and carry the trace that they belong to."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from opentelemetry import trace

from sandbox_service.telemetry import logs
from sandbox_service.telemetry.tracing import tracer_provider


@pytest.fixture
def written():
    """Log into memory, and leave logging as it was."""
    out = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    logs.configure(level="info", json=True, stream=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = before


def test_an_event_inside_a_span_carries_its_ids(written):
    """A person goes from a log line to the trace."""
    provider = tracer_provider(endpoint="", sample_ratio=1, version="1")
    span = provider.get_tracer("test").start_span("call")

    with trace.use_span(span):
        structlog.get_logger().info("happened", sandbox_id="i1")

    (event,) = written()
    assert event["event"] == "happened"
    assert event["sandbox_id"] == "i1"
    assert event["trace_id"] == format(span.get_span_context().trace_id, "032x")
    span.end()
    provider.shutdown()


def test_what_is_below_the_level_is_not_written(written):
    """Debug is for those who ask."""
    structlog.get_logger().debug("detail")

    assert written() == []


def test_libraries_speak_the_same_language_from_warning_on(written):
    """One log, one shape."""
    logging.getLogger("somelibrary").info("chatter")
    logging.getLogger("somelibrary").warning("trouble")

    (event,) = written()
    assert (event["event"], event["level"]) == ("trouble", "warning")
