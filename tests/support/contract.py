"""The contract as the generated code describes it."""

from __future__ import annotations

from google.protobuf.descriptor import MethodDescriptor
from miosa.sandbox.v1 import artifact_service_pb2, notebook_service_pb2, sandbox_service_pb2

PACKAGE = "miosa.sandbox.v1"
SERVICES = [
    service
    for module in (sandbox_service_pb2, artifact_service_pb2, notebook_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
SERVED = (
    "Create",
    "Status",
    "List",
    "ExtendLifetime",
    "Exec",
    "CheckProgram",
    "Attach",
    "SendInput",
    "Signal",
    "ResizePty",
    "ListExecs",
    "PlanSync",
    "SyncFiles",
    "ReadFile",
    "ListFiles",
    "DownloadTree",
    "GetPreview",
    "Destroy",
    "GetCapabilities",
)
"""Methods of SandboxService that this version has to serve."""
