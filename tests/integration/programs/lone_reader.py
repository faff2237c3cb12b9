"""Starts an exec, says when its output began, and reads on until it is killed.

Arguments: the service's address, the tenant, the sandbox's id, the shell command.
"""

from __future__ import annotations

import sys

import grpc
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1 import sandbox_service_pb2_grpc


def main() -> None:
    address, tenant, sandbox_id, command = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        stub = sandbox_service_pb2_grpc.SandboxServiceStub(channel)
        request = pb.ExecRequest(sandbox_id=sandbox_id, program=pb.Program(shell_command=command))
        said = False
        for response in stub.Exec(request, metadata=(("x-miosa-tenant-id", tenant),)):
            if response.event.HasField("output") and not said:
                print("reading", flush=True)
                said = True


if __name__ == "__main__":
    main()
