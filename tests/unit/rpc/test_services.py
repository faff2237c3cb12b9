"""What is served and what is not follows from the contract and the servicer, nothing else."""

from __future__ import annotations

from sandbox_service.rpc.servicers.sandboxes import SandboxServicer
from sandbox_service.rpc.services import SERVICES, implemented
from tests.support.contract import SERVED


def test_the_served_methods_are_those_of_the_servicer():
    """GetCapabilities tells what works, for every method of the whole contract."""
    told = implemented({SERVICES[0].full_name: SandboxServicer})

    assert {name for name, yes in told.items() if yes} == {
        f"miosa.sandbox.v1.SandboxService/{it}" for it in SERVED
    }
    assert len(told) == sum(len(service.methods) for service in SERVICES)


def test_every_public_method_of_the_servicer_is_an_rpc():
    """A misspelt RPC would silently be unimplemented."""
    methods = {method.name for method in SERVICES[0].methods}
    public = {name for name in dir(SandboxServicer) if not name.startswith("_")}

    assert public == set(SERVED)
    assert public <= methods
