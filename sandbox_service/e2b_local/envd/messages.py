"""envd's messages, as the pinned SDK ships them.

They are loaded from their files: importing them as a part of the `e2b` package
would load the whole SDK, a second of start-up and its HTTP client with it, into
a process that only needs the messages.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from e2b.envd.filesystem import filesystem_pb
    from e2b.envd.process import process_pb


def _load(package: str) -> ModuleType:
    name = f"{__name__}.{package}_pb"
    sdk = importlib.util.find_spec("e2b")
    if sdk is None or sdk.origin is None:
        raise ImportError("the e2b package is not installed")
    path = Path(sdk.origin).parent / "envd" / package / f"{package}_pb.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    process_pb = _load("process")
    filesystem_pb = _load("filesystem")

__all__ = ["filesystem_pb", "process_pb"]
