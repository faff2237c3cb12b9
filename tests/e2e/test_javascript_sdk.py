"""E2B's JavaScript SDK, unchanged, against the local backend."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.local import in_a_shell, started

SOURCE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    """The scenario beside the SDK that it imports."""
    installed = subprocess.run([SOURCE / "install"], capture_output=True, text=True, check=True)
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "node_modules").symlink_to(Path(installed.stdout.strip()) / "node_modules")
    for name in ("scenario.js", "package.json"):
        shutil.copy(SOURCE / name, folder)
    return folder / "scenario.js"


@pytest.fixture(scope="module")
def told():
    with started() as told:
        yield told


@pytest.mark.needs("node", "javascript_sdk")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_users_day_in_javascript(scenario, told, tls):
    """Commands, files, a terminal, a port, pause and snapshot, in either mode."""
    done = in_a_shell(told, "node", str(scenario), tls=tls)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_the_lock_names_no_registry_but_npms():
    """It has to be good anywhere, and each package of it is checked by its digest."""
    packages = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    found = {name: it for name, it in packages.items() if name}

    assert "node_modules/e2b" in found
    for name, package in found.items():
        where = package.get("resolved", "https://registry.npmjs.org/")
        assert where.startswith("https://registry.npmjs.org/"), name
        assert package["integrity"].startswith("sha512-"), name
