"""What the README says of settings is what the settings are."""

from __future__ import annotations

import re
from pathlib import Path

from sandbox_service.app.cli import _shown_default
from sandbox_service.app.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    return {name: (default.strip("`"), meaning) for name, default, meaning in rows}


def test_every_setting_stands_in_the_readme_with_its_default_and_meaning():
    """An operator who reads the table need not read the code."""
    expected = {}
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"SANDBOX_{name.upper()}")
        default = "by the XDG rules" if name == "state_dir" else _shown_default(field)
        if "Secret" in str(field.annotation):
            default = "none"
        expected[variable] = (default, field.description)

    assert documented() == expected
