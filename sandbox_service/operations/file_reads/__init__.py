"""Files out of sandboxes: one file, a folder's list, a whole tree."""

from sandbox_service.operations.file_reads.reads import FileReads

__all__ = ["FileReads"]
