"""Expected failures of reading and syncing files; see `domain.errors`."""

from __future__ import annotations

from sandbox_service.domain.errors import SandboxError


class ContentMissingError(SandboxError):
    """A file that was named as unchanged is another one. Nothing was changed; plan anew."""

    reason = "CONTENT_MISSING"


class FileChangedError(SandboxError):
    """The file changed while it was read: what was sent is no state of it. Read it again."""

    reason = "FILE_CHANGED"
