"""How clients get in: plain HTTP, TLS and tunnels on one port, and who is turned away.

An ASGI server answers CONNECT by itself and hides the socket, so the port is accepted
from here: the first bytes of a client say what it speaks.
"""

from sandbox_service.e2b_local.edge.acceptor import Acceptor
from sandbox_service.e2b_local.edge.tls import TlsIdentity, prepare_tls

__all__ = ["Acceptor", "TlsIdentity", "prepare_tls"]
