"""The retry policy for clients: what it names, what it repeats, how long it waits."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf import descriptor_pb2
from miosa.sandbox import v1 as pb

from tests.unit.contract.descriptors import METHOD_IDS, METHODS, PACKAGE, PROTOS, SERVICES, rules


def _service_config() -> dict[str, list[dict[str, object]]]:
    return json.loads((PROTOS / "service_config.json").read_text())


def _configured() -> dict[str, dict[str, object]]:
    """The configuration of each method that has one."""
    found: dict[str, dict[str, object]] = {}
    for config in _service_config()["methodConfig"]:
        for name in config["name"]:
            full = f"{name['service'].removeprefix(PACKAGE + '.')}.{name['method']}"
            assert full not in found
            found[full] = config
    return found


def test_the_retry_policy_names_calls_that_exist():
    """A name with a slip would silently mean no policy."""
    assert set(_configured()) <= set(METHOD_IDS)


def test_exactly_the_calls_that_may_be_repeated_are_retried():
    """The policy and the contract say the same; Create is repeatable by its key."""
    unknown = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    repeatable = {
        name
        for name, method in zip(METHOD_IDS, METHODS, strict=True)
        if method.GetOptions().idempotency_level != unknown
    }
    retried = {name for name, config in _configured().items() if "retryPolicy" in config}

    assert retried == repeatable | {"SandboxService.Create"}


@pytest.mark.parametrize(("method", "config"), _configured().items())
def test_a_policy_is_one_that_clients_take(method, config):
    """A client refuses a policy with a wrong duration or count, or ignores it."""
    descriptor = METHODS[METHOD_IDS.index(method)]
    duration = re.compile(r"\d+(\.\d{1,9})?s")

    if policy := config.get("retryPolicy"):
        assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
        assert 2 <= policy["maxAttempts"] <= 5
        assert duration.fullmatch(policy["initialBackoff"])
        assert duration.fullmatch(policy["maxBackoff"])
        assert policy["backoffMultiplier"] > 1
    if descriptor.server_streaming:
        assert "timeout" not in config
    else:
        assert duration.fullmatch(config["timeout"])


def test_calls_wait_longer_than_what_they_wait_for():
    """A ceiling on the call may not cut off what the request is allowed to ask for."""
    waits = {
        "SandboxService.GetPreview": pb.GetPreviewRequest.DESCRIPTOR.fields_by_name["wait"],
        "SandboxService.SyncFiles": pb.SyncFilesHeader.DESCRIPTOR.fields_by_name["preview_wait"],
    }

    for method, field in waits.items():
        ceiling = float(_configured()[method]["timeout"].removesuffix("s"))
        assert rules(field).duration.lte.seconds < ceiling


def test_the_health_check_asks_for_a_service_of_ours():
    """A name that no server knows would take every instance out of the rotation."""
    names = {service.full_name for service in SERVICES}

    assert _service_config()["healthCheckConfig"]["serviceName"] in names
