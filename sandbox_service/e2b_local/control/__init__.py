"""The REST control plane: creating, finding and ending sandboxes."""

from sandbox_service.e2b_local.control.api import ControlApi
from sandbox_service.e2b_local.control.plane import ControlPlane

__all__ = ["ControlApi", "ControlPlane"]
