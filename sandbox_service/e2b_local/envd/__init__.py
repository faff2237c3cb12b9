"""envd: what E2B's SDK talks to inside a sandbox.

Here it runs outside: programs are started and files opened by the sandbox's agent,
and only their descriptors come out.
"""

from sandbox_service.e2b_local.envd.service import ENVD_PORT, Envd

__all__ = ["ENVD_PORT", "Envd"]
