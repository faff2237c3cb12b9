"""What sandboxes see of the host's `/etc`."""

from __future__ import annotations

import os

import pytest

from sandbox_service.e2b_local.machine.etc import Etc


@pytest.fixture
def host(tmp_path):
    etc = tmp_path / "etc"
    (etc / "ssl/certs").mkdir(parents=True)
    (etc / "ssl/certs/one.pem").symlink_to("/usr/share/certificates/one.crt")
    (etc / "ssl/certs/all.crt").write_text("certificates")
    (etc / "zone").write_text("UTC")
    (etc / "localtime").symlink_to("zone")
    (etc / "passwd").write_text("somebody:x:4711:4711::/home/somebody:/bin/sh\n")
    (etc / "shadow").write_text("secret")
    return etc


@pytest.fixture
def etc(tmp_path, host):
    return Etc(tmp_path / "copies", host)


def test_accounts_and_name_servers_are_never_the_hosts(etc):
    """The host's users, groups and networks are nobody's business inside."""
    shown = etc.current()

    assert "somebody" not in (shown / "passwd").read_text()
    assert "nameserver" not in (shown / "resolv.conf").read_text()
    assert not (shown / "shadow").exists()


def test_files_are_copied_and_links_in_folders_stay_links(etc):
    """What a name on the list leads to is meant; within a folder, links lead where they did."""
    shown = etc.current()

    assert (shown / "ssl/certs/all.crt").read_text() == "certificates"
    assert str((shown / "ssl/certs/one.pem").readlink()) == "/usr/share/certificates/one.crt"
    assert not (shown / "localtime").is_symlink()
    assert (shown / "localtime").read_text() == "UTC"


def test_what_only_some_may_read_is_left_out(etc, host):
    """The server may be root, and whoever is in a sandbox can read every copy."""
    (host / "pki/private").mkdir(parents=True)
    (host / "pki/key.pem").write_text("secret")
    (host / "pki/key.pem").chmod(0o640)
    (host / "pki/private/key.pem").write_text("secret")
    (host / "pki/private").chmod(0o700)
    (host / "pki").chmod(0o755)

    assert list((etc.current() / "pki").iterdir()) == []


def test_anybody_may_read_the_copy(etc):
    """Sandboxes have uids of their own where the server is root."""
    before = os.umask(0o077)
    try:
        shown = etc.current()
    finally:
        os.umask(before)

    for path in (shown, *shown.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_a_change_of_the_host_is_seen_by_the_next_sandbox(etc, host):
    """Programs may be installed while the server runs; who runs already sees no difference."""
    first = etc.current()
    assert etc.current() == first
    (host / "ssl/certs/all.crt").write_text("more certificates")
    (host / "ssl/certs/new.crt").write_text("new")
    second = etc.current()

    assert (second / "ssl/certs/all.crt").read_text() == "more certificates"
    assert (second / "ssl/certs/new.crt").read_text() == "new"
    assert not (first / "ssl/certs/new.crt").exists()


def test_a_link_that_leads_round_in_a_circle_is_left_out(etc, host):
    """Whatever somebody has done to the host, sandboxes boot."""
    (host / "timezone").symlink_to("timezone")

    assert not (etc.current() / "timezone").exists()
