from miosa.sandbox.v1 import notebook_context_pb2 as _notebook_context_pb2
from miosa.sandbox.v1 import notebook_run_pb2 as _notebook_run_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
