"""Where a request goes: to the control plane, to an envd, or to a program's port."""

from sandbox_service.e2b_local.gateway.gateway import Gateway

__all__ = ["Gateway"]
