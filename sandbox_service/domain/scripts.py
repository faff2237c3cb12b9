"""The service's own shell scripts, as sandboxes are given them."""

from __future__ import annotations

import functools
import importlib.resources
import re


@functools.cache
def script(package: str, *names: str) -> str:
    """Return scripts, one after the other, without what only people read.

    A sandbox is sent them with each call, and its shell reads all of it.

    Args:
        package: In whose folder they are.
        names: Of the files, in the order in which they need one another.
    """
    folder = importlib.resources.files(package)
    text = "".join((folder / it).read_text(encoding="utf-8") for it in names)
    return re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
