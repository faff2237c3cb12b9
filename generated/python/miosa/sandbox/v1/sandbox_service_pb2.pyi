from miosa.sandbox.v1 import capabilities_pb2 as _capabilities_pb2
from miosa.sandbox.v1 import create_pb2 as _create_pb2
from miosa.sandbox.v1 import events_pb2 as _events_pb2
from miosa.sandbox.v1 import exec_pb2 as _exec_pb2
from miosa.sandbox.v1 import file_plan_pb2 as _file_plan_pb2
from miosa.sandbox.v1 import file_read_pb2 as _file_read_pb2
from miosa.sandbox.v1 import file_sync_pb2 as _file_sync_pb2
from miosa.sandbox.v1 import lifecycle_pb2 as _lifecycle_pb2
from miosa.sandbox.v1 import ownership_pb2 as _ownership_pb2
from miosa.sandbox.v1 import policy_pb2 as _policy_pb2
from miosa.sandbox.v1 import preview_pb2 as _preview_pb2
from miosa.sandbox.v1 import profile_pb2 as _profile_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
