"""The examples in README.md, as the tests find them."""

from __future__ import annotations

import re

from tests.support.service import REPOSITORY

_FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(info: str) -> list[tuple[str, str]]:
    """Return the fenced blocks whose info string begins with these words.

    Returns:
        Of each block what else is in its info string, and its text.
    """
    found = []
    for label, text in _FENCED.findall((REPOSITORY / "README.md").read_text()):
        words, wanted = label.split(), info.split()
        if words[: len(wanted)] == wanted:
            found.append((" ".join(words[len(wanted) :]), text))
    return found
