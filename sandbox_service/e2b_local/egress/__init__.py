"""What sandboxes may reach outside, and the proxy that sees to it."""

from sandbox_service.e2b_local.egress.counts import ConnectionQuota, EgressCounts
from sandbox_service.e2b_local.egress.destinations import Destinations
from sandbox_service.e2b_local.egress.diagnosis import examine_egress
from sandbox_service.e2b_local.egress.journal import EgressJournal
from sandbox_service.e2b_local.egress.policy import (
    PACKAGE_REGISTRIES,
    DeniedError,
    EgressRules,
    EgressSettings,
)
from sandbox_service.e2b_local.egress.proxy import ENVIRONMENT, PROXY_PORT, EgressProxy
from sandbox_service.e2b_local.egress.settings import read_settings

__all__ = [
    "ENVIRONMENT",
    "PACKAGE_REGISTRIES",
    "PROXY_PORT",
    "ConnectionQuota",
    "DeniedError",
    "Destinations",
    "EgressCounts",
    "EgressJournal",
    "EgressProxy",
    "EgressRules",
    "EgressSettings",
    "examine_egress",
    "read_settings",
]
