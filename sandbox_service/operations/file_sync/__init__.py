"""Syncing a tree of files into a sandbox: verified there, and never half a file."""

from sandbox_service.operations.file_sync.plan import Plans
from sandbox_service.operations.file_sync.sync import FileSync

__all__ = ["FileSync", "Plans"]
