"""What a Create comes to: defaults filled in, template chosen, everything refused early."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sandbox_service.domain.errors import (
    LifetimeTooLongError,
    PolicyNotEnforceableError,
    ResourcesUnsatisfiableError,
    TemplateNotFoundError,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import Catalogue, SandboxProvider
from sandbox_service.domain.sandboxes import (
    CreateSpec,
    InternetAccess,
    Resources,
    Template,
)
from sandbox_service.operations.languages import language_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request comes to.

    Attributes:
        template: The name that callers know it by. Empty for a raw id.
        backend_id: What the backend calls the template.
        resources: What it has. None: only the backend knows.
    """

    template: str
    backend_id: str
    resources: Resources | None
    lifetime: timedelta


class Planner:
    """Turns requests into plans.

    Args:
        provider: Asked what the backend can enforce.
        catalogue: The templates on offer.
        limits: Lifetimes.
    """

    def __init__(self, provider: SandboxProvider, catalogue: Catalogue, limits: Limits) -> None:
        self._provider = provider
        self._catalogue = catalogue
        self._limits = limits

    async def plan(self, spec: CreateSpec) -> Plan:
        """Return what `spec` comes to, or say why it cannot be had."""
        lifetime = spec.lifetime or self._limits.lifetime_default
        if lifetime > self._limits.lifetime_max:
            raise LifetimeTooLongError(
                f"A sandbox may live for {self._limits.lifetime_max}. Ask for no more.",
                metadata={
                    "field": "lifetime",
                    "max_seconds": str(int(self._limits.lifetime_max.total_seconds())),
                },
            )
        info = await self._provider.info()
        if spec.internet is InternetAccess.ALLOWED and not info.internet:
            raise PolicyNotEnforceableError(
                "This backend gives sandboxes no internet. Leave the network policy unset.",
                metadata={"backend": info.kind, "policy": "egress_default=ALLOW"},
            )
        if spec.internet is InternetAccess.DENIED and not info.internet_denial:
            raise PolicyNotEnforceableError(
                "This backend cannot keep the internet from sandboxes.",
                metadata={"backend": info.kind, "policy": "egress_default=DENY"},
            )
        if spec.backend_template_id:
            plan = Plan(
                template="",
                backend_id=spec.backend_template_id,
                resources=None,
                lifetime=lifetime,
            )
        else:
            template = self._template(spec)
            plan = Plan(
                template=template.name,
                backend_id=template.backend_id,
                resources=template.resources,
                lifetime=lifetime,
            )
        for step in spec.setup_steps:
            language_of(step.exec.program, plan.template, self._catalogue)
        return plan

    def _template(self, spec: CreateSpec) -> Template:
        offered = self._catalogue.templates
        if spec.resources is not None:
            wanted = spec.resources
            fitting = [
                it
                for it in offered
                if it.resources.cpu_count >= wanted.cpu_count
                and it.resources.memory_mib >= wanted.memory_mib
            ]
            if not fitting:
                raise ResourcesUnsatisfiableError(
                    f"No template has {wanted.cpu_count} CPUs and {wanted.memory_mib} MiB. "
                    "GetCapabilities lists what there is.",
                    metadata={
                        "cpu_count": str(wanted.cpu_count),
                        "memory_mib": str(wanted.memory_mib),
                        "max_cpu_count": str(max(it.resources.cpu_count for it in offered)),
                        "max_memory_mib": str(max(it.resources.memory_mib for it in offered)),
                    },
                )
            return min(fitting, key=lambda it: (it.resources.cpu_count, it.resources.memory_mib))
        if not spec.template:
            return offered[0]
        for template in offered:
            if template.name == spec.template:
                return template
        raise TemplateNotFoundError(
            f"There is no template {spec.template!r}. GetCapabilities lists what there is.",
            metadata={"template": spec.template},
        )
