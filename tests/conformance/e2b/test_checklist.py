"""The table of what is covered names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent


def test_every_test_that_the_table_names_is_there():
    """A row without a test is a promise that nobody keeps."""
    rows = [it for it in (FOLDER / "README.md").read_text().splitlines() if it.startswith("| ")]
    named = []
    for row in rows:
        module = None
        for it in re.findall(r"`(test_\w+(?:\.py)?)`", row):
            if it.endswith(".py"):
                module = FOLDER / it
            else:
                named.append((module, it))
    missing = [
        f"{module.name}: {name}"
        for module, name in named
        if not re.search(rf"^(async )?def {name}\(", module.read_text(), re.MULTILINE)
    ]

    assert len(named) > 80
    assert missing == []
