"""Which way to isolate is taken, and what each tells bubblewrap."""

from __future__ import annotations

import os
import typing
from pathlib import Path

import pytest

from sandbox_service.app.local import local
from sandbox_service.app.settings import Settings
from sandbox_service.e2b_local.machine import (
    ISOLATION_MODES,
    BootFailedError,
    BootSpec,
    IsolationUnavailableError,
    MachineConfig,
)
from sandbox_service.e2b_local.machine.limits import AgentLimits
from sandbox_service.e2b_local.machine.tiers.bubblewrap import (
    Candidate,
    Interpreter,
    build_arguments,
    look_at_host,
    namespaces,
)
from sandbox_service.e2b_local.machine.tiers.entry import Entry
from sandbox_service.e2b_local.machine.tiers.plain_user import PlainUser, PlainUsers
from sandbox_service.e2b_local.machine.tiers.probing import find_best
from sandbox_service.e2b_local.machine.tiers.tier import (
    GIVEN_USERNS,
    HOST_UID,
    NO_USERNS,
    OWN_USER,
    UNSAFE,
    tiers_to_try,
)

OLD = Candidate(Path("/usr/bin/bwrap"), "PATH")
NEW = Candidate(Path("/package/bwrap"), "the package")


class Host:
    """A host where some ways work with some bubblewraps."""

    def __init__(self, *working: tuple[object, Candidate]) -> None:
        self.working = working
        self.tried: list[tuple[str, str]] = []

    async def attempt(self, tier, candidate) -> str:
        self.tried.append((tier.name, candidate.origin))
        if (tier, candidate) not in self.working:
            raise BootFailedError(f"{tier.name} says no")
        return tier.name


# --- Which is taken --------------------------------------------------------------------------


def test_root_has_three_to_try_and_others_one():
    """In the order of what they are worth."""
    assert tiers_to_try("auto", root=True) == (HOST_UID, GIVEN_USERNS, NO_USERNS)
    assert tiers_to_try("auto", root=False) == (OWN_USER,)


@pytest.mark.parametrize("root", [True, False])
def test_what_is_no_boundary_is_never_tried_by_itself(root):
    """Whoever gets it has asked for it."""
    assert all(tier.boundary for tier in tiers_to_try("auto", root=root))
    assert tiers_to_try("process-unsafe", root=root) == (UNSAFE,)


@pytest.mark.parametrize("mode", ISOLATION_MODES[1:])
@pytest.mark.parametrize("root", [True, False])
def test_a_name_is_that_one_alone_or_an_error_with_advice(mode, root):
    """Never another one, be it better or worse."""
    if mode in ({"bwrap-userns"} if root else {HOST_UID.name, GIVEN_USERNS.name, NO_USERNS.name}):
        with pytest.raises(IsolationUnavailableError, match=mode) as refused:
            tiers_to_try(mode, root=root)
        assert "auto" in refused.value.fix
        return
    assert [tier.name for tier in tiers_to_try(mode, root=root)] == [mode]


async def test_the_best_that_works_is_taken(caplog):
    """And the log names those that would have been better, with their complaints."""
    host = Host((GIVEN_USERNS, NEW), (NO_USERNS, OLD))
    found = await find_best(tiers_to_try("auto", root=True), [OLD, NEW], host.attempt)

    assert found == "bwrap-given-userns"
    assert host.tried == [
        *(("bwrap-host-uid", "PATH"), ("bwrap-host-uid", "the package")),
        *(("bwrap-given-userns", "PATH"), ("bwrap-given-userns", "the package")),
    ]
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["isolation bwrap-host-uid does not work here: bwrap-host-uid says no"]


async def test_nothing_is_said_where_the_best_works(caplog):
    """An operator is to look up only for a reason."""
    host = Host((HOST_UID, NEW), (GIVEN_USERNS, OLD))

    assert await find_best(tiers_to_try("auto", root=True), [OLD, NEW], host.attempt) == (
        "bwrap-host-uid"
    )
    assert caplog.records == []


async def test_where_none_works_the_best_is_explained_and_all_are_named():
    """The advice is for what is worth most."""
    host = Host()
    with pytest.raises(IsolationUnavailableError) as refused:
        await find_best(tiers_to_try("auto", root=True), [OLD, NEW], host.attempt)

    assert "bwrap-host-uid says no" in refused.value.cause
    assert "bwrap-given-userns: bwrap-given-userns says no" in refused.value.cause
    assert "bwrap-no-userns: bwrap-no-userns says no" in refused.value.cause


async def test_without_a_bubblewrap_nothing_is_tried():
    """What is missing is the program, not the rights."""
    host = Host()
    with pytest.raises(IsolationUnavailableError) as refused:
        await find_best(tiers_to_try("auto", root=True), [], host.attempt)

    assert host.tried == []
    assert "apt install bubblewrap" in refused.value.fix


def test_every_way_in_names_the_same_ones():
    """The service's setting, its command's option, and the backend's own."""
    setting = Settings.model_fields["local_isolation"].annotation
    option = typing.get_type_hints(local)["isolation"]

    assert typing.get_args(setting) == ISOLATION_MODES
    assert typing.get_args(option) == ISOLATION_MODES


# --- What each tells bubblewrap --------------------------------------------------------------


@pytest.mark.parametrize("tier", [OWN_USER, HOST_UID, GIVEN_USERNS, NO_USERNS])
@pytest.mark.parametrize("uid", [0, 1000])
def test_every_other_namespace_is_left_in_each(tier, uid):
    """They differ in users alone."""
    options = list(namespaces(tier, BootSpec(), uid))

    assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"} <= set(options)
    assert {"--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"} <= set(options)
    assert ("--unshare-user" in options) == (tier.userns == "own")
    assert ("--disable-userns" in options) == (tier.userns == "own")


@pytest.mark.parametrize("tier", [GIVEN_USERNS, NO_USERNS])
def test_where_root_begins_it_keeps_nothing_but_what_it_takes_to_go(tier):
    """All is dropped first."""
    options = list(namespaces(tier, BootSpec(), 1000))
    kept = {options[at + 1] for at, one in enumerate(options) if one == "--cap-add"}

    assert options[:2] == ["--cap-drop", "ALL"]
    going = {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN"}
    assert kept == (going if tier is NO_USERNS else set())


def test_a_plain_user_is_what_the_agent_becomes_before_it_begins():
    """With no way back: it is root until then."""
    layout = look_at_host(NO_USERNS, Path("/bwrap"), Path("/guest"), Interpreter("/python"))
    user = PlainUser("/usr/bin/setpriv", 30_001, Path("/guest/accounts/30001"))
    config, limits = MachineConfig(state_dir=Path("/state")), AgentLimits("{}", {})
    command = build_arguments(layout, config, BootSpec(), Path("/one"), 7, 9, limits, user)

    program = command[command.index("--") + 1 :]
    before_agent = program[: program.index("/python")]
    assert before_agent[:2] == ["/bin/sh", "-c"]
    assert {"--reuid=30001", "--regid=30001", "--clear-groups", "--no-new-privs"} <= {*before_agent}
    assert {"--bounding-set=-all", "--inh-caps=-all", "--pdeathsig"} <= {*before_agent}
    at = command.index("/guest/accounts/30001/passwd")
    assert command[at - 1 : at + 2] == ["--ro-bind", "/guest/accounts/30001/passwd", "/etc/passwd"]


def test_a_plain_user_has_a_name_of_its_own(tmp_path):
    """Programs ask who they are, and whoever has no name fails in odd ways."""
    user = PlainUsers(tmp_path / "accounts").take(30_001)
    passwd = (user.accounts / "passwd").read_text()

    assert "\nuser:x:30001:30001:user:/home/user:/bin/bash\n" in passwd
    assert "\nuser:x:30001:\n" in (user.accounts / "group").read_text()
    assert "1000" not in passwd.replace("30001", "")
    assert (user.accounts.stat().st_mode & 0o777, user.uid) == (0o755, 30_001)


# --- What it has in the end ------------------------------------------------------------------


def test_a_process_with_rights_is_not_admitted():
    """As this one: it has no filter at least. Whatever failed to drop them."""
    entry = Entry(tier=OWN_USER, host_uid=None, inside_uid=1000)
    with pytest.raises(BootFailedError, match="Seccomp 0"):
        entry.admit(os.getpid())


def test_a_process_of_another_user_is_not_admitted():
    """It would have that user's files."""
    entry = Entry(tier=HOST_UID, host_uid=os.geteuid() + 1, inside_uid=1000)
    with pytest.raises(BootFailedError, match="Uid "):
        entry.admit(os.getpid())


def test_a_process_that_is_gone_is_not_admitted():
    """Nobody knows what it was."""
    with pytest.raises(BootFailedError):
        Entry(tier=OWN_USER, host_uid=None, inside_uid=1000).admit(2**30)
