"""Root filesystems of templates: from what people name to what sandboxes are made of.

A template names a folder or a tar. What sandboxes are made of is a copy below the state
folder: it belongs to their user, holds nothing that could run as somebody else, and does
not change under them. It is made once, and several servers may share it.
"""

from __future__ import annotations

from sandbox_service.e2b_local.images.findings import examine_images
from sandbox_service.e2b_local.images.store import HeldImage, Images, digest_of
from sandbox_service.e2b_local.images.templates import (
    ImportStoppedError,
    TemplateImages,
    take_images,
)

__all__ = [
    "HeldImage",
    "Images",
    "ImportStoppedError",
    "TemplateImages",
    "digest_of",
    "examine_images",
    "take_images",
]
