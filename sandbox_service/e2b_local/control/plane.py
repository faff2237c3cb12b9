"""What every endpoint of the control plane works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox_service.e2b_local.control.idempotency import OnceByKey

if TYPE_CHECKING:
    from sandbox_service.e2b_local.config import LocalConfig
    from sandbox_service.e2b_local.faults.injector import FaultInjector
    from sandbox_service.e2b_local.fleet import Fleet
    from sandbox_service.e2b_local.fleet.store import SandboxRecord


class ControlPlane:
    """The sandboxes and settings behind the endpoints.

    Args:
        fleet: The sandboxes.
        config: Settings of this backend.
        domain: Domain of preview URLs, with its port.
        faults: What goes wrong on purpose. None: nothing.

    Attributes:
        started_at: Seconds since 1970; templates are as old.
        once: Sandboxes whose creation carried an `Idempotency-Key`.
    """

    def __init__(
        self,
        fleet: Fleet,
        config: LocalConfig,
        domain: str,
        faults: FaultInjector | None = None,
    ) -> None:
        self.fleet = fleet
        self.config = config
        self.domain = domain
        self.faults = faults
        self.started_at = fleet.store.now()
        self.once: OnceByKey[SandboxRecord] = OnceByKey(fleet.store.now)
