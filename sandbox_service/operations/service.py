"""All operations together: what a gateway is given."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox_service.operations.capabilities import Capabilities
from sandbox_service.operations.create import Create
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.file_reads import FileReads
from sandbox_service.operations.file_sync import FileSync, Plans
from sandbox_service.operations.lifecycle import Lifecycle
from sandbox_service.operations.previews import Previews
from sandbox_service.operations.reloads import Reloads
from sandbox_service.operations.sandboxes import Sandboxes
from sandbox_service.operations.status import Statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What the service does, an attribute per noun."""

    sandboxes: Sandboxes
    create: Create
    lifecycle: Lifecycle
    statuses: Statuses
    execs: Execs
    file_reads: FileReads
    file_sync: FileSync
    plans: Plans
    reloads: Reloads
    previews: Previews
    capabilities: Capabilities
