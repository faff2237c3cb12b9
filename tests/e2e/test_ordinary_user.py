"""A newcomer with an account, the system's Python, and a copy of the project."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Watched, alive
from tests.support.roots import build_debian
from tests.support.service import REPOSITORY

# The set-up downloads what the project depends on.
pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(400)]

# Where packages come from is the machine's business, and so is whom to trust.
_PASSED_ON = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_", "LANG", "LC_")


def _processes_of(uid: int) -> list[int]:
    """Return the processes that run as a user."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and entry.stat().st_uid == uid
            if mine and alive(int(entry.name)):
                found.append(int(entry.name))
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(scope="module")
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    """A new user with a home, who is gone afterwards with all that runs as them."""
    name = f"sbx-e2e-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--create-home", "--user-group", name], check=True)
    user = pwd.getpwnam(name)
    try:
        yield user
    finally:
        while pids := _processes_of(user.pw_uid):
            watched = Watched(pids)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert watched.left_after(10.0) == []
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def _export(folder: Path, user: pwd.struct_passwd) -> None:
    """Copy what a clone of the working tree would have into a folder of the user's."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0")[:-1]:
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name, follow_symlinks=False)
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", str(folder)], check=True)


@pytest.fixture(scope="module")
def project(ordinary_user: pwd.struct_passwd) -> Path:
    """A fresh copy of the project in the user's home."""
    folder = Path(ordinary_user.pw_dir) / "sandbox-service"
    _export(folder, ordinary_user)
    return folder


def _make(user: pwd.struct_passwd, project: Path, *arguments: str) -> str:
    """Run make as the user, as a shell of theirs would, and return what it printed."""
    done = subprocess.run(
        ["make", "PYTHON=/usr/bin/python3", *arguments],
        cwd=project,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **{name: it for name, it in os.environ.items() if name.startswith(_PASSED_ON)},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert Watched(_processes_of(user.pw_uid)).left_after(5.0) == []
    return done.stdout


def test_ordinary_user_sees_the_demo_in_a_fresh_copy(
    ordinary_user: pwd.struct_passwd, project: Path
) -> None:
    """No root, no Docker: one command, and nothing runs on afterwards."""
    shown = _make(ordinary_user, project, "demo")
    assert "exit code 0" in shown
    assert "second version" in shown


def test_tests_of_exec_pass_as_an_ordinary_user(
    ordinary_user: pwd.struct_passwd, project: Path
) -> None:
    """Users and capabilities in a sandbox come about differently without root."""
    shown = _make(ordinary_user, project, "test", "ARGS=-q tests/integration/test_exec.py")
    assert " passed" in shown


def test_no_way_out_is_open_to_an_ordinary_users_sandboxes(
    ordinary_user: pwd.struct_passwd, project: Path
) -> None:
    """What holds them is not root's: without it, everything has to be refused as well."""
    shown = _make(ordinary_user, project, "test", "ARGS=-q tests/integration/test_escapes.py")
    assert " passed" in shown
    assert "skipped" not in shown


@pytest.mark.needs("mmdebstrap")
def test_an_ordinary_user_installs_packages_in_sandboxes(
    ordinary_user: pwd.struct_passwd, project: Path
) -> None:
    """A root filesystem belongs to them, and so does what is made of it."""
    images = project / ".tools/images"
    images.mkdir(parents=True)
    shutil.copy(build_debian(), images)  # Newer than what it is built by, so it is not built anew.
    for path in (images.parent, images, *images.iterdir()):
        os.chown(path, ordinary_user.pw_uid, ordinary_user.pw_gid)
    arguments = "-q --require=mmdebstrap tests/integration/test_machine_rootfs.py"
    shown = _make(ordinary_user, project, "test", f"ARGS={arguments}")
    assert " passed" in shown
