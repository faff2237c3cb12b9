"""All sandboxes of one backend: their records, their lives, their copies.

HTTP is not known here: the control plane and the gateway ask, and put what they are
told into words.
"""

from sandbox_service.e2b_local.fleet.fleet import Fleet
from sandbox_service.e2b_local.fleet.room import QuotaExceededError

__all__ = ["Fleet", "QuotaExceededError"]
