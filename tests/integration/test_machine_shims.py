"""What people type in a sandbox: interpreters, and stand-ins for `sudo` and `su`."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.machine_bench import run, sh


@pytest.mark.parametrize("program", ["python", "python3", "node", "npm", "git", "tar"])
async def test_what_the_host_has_answers_inside(guest, program):
    """`python` whenever there is a `python3`; the rest where it lies below `/usr`."""
    found = shutil.which(program.replace("python3", "python"), path="/usr/local/bin:/usr/bin")
    if found is None and not program.startswith("python"):
        pytest.skip(f"this host has no {program} below /usr")

    assert await sh(guest, f"{program} --version")


async def test_git_keeps_a_history(guest):
    """It needs its helpers, a home, and to be taken for the owner of what it finds."""
    if shutil.which("git", path="/usr/local/bin:/usr/bin") is None:
        pytest.skip("this host has no git below /usr")
    identity = "-c user.name=me -c user.email=me@example.com"
    command = (
        f"git init -q p; cd p; echo 1 > f; git add f; git {identity} commit -qm first; "
        "git clone -q . ../q; git -C ../q log --format=%s"
    )
    assert await sh(guest, command) == "first\n"


@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("sudo echo a  'b c'", "a b c\n"),
        ("sudo -u user echo x", "x\n"),
        ("sudo -uroot echo x", "x\n"),
        ("sudo --user=root echo x", "x\n"),
        ("sudo --user root echo x", "x\n"),
        ("sudo -E -n -H -- echo -n x", "x"),
        ("sudo -nE true && echo yes", "yes\n"),
        ("sudo --preserve-env=PATH,HOME echo x", "x\n"),
        ("sudo A=1 B='2 3' sh -c 'echo $A $B'", "1 2 3\n"),
        ("sudo -i pwd", "/root\n"),
        ("sudo -iu user pwd", "/home/user\n"),
        ("sudo -i sh -c 'echo \"$1\"' sh 'two  words'", "two  words\n"),
        ("sudo -s echo x", "x\n"),
        ("sudo -D /tmp pwd", "/tmp\n"),
        ("sudo --chdir=/tmp pwd", "/tmp\n"),
        ("sudo -v && sudo -k && echo yes", "yes\n"),
        ("sudo sh -c 'echo $USER $LOGNAME $SUDO_USER $HOME'", "root root user /home/user\n"),
        ("sudo -H sh -c 'echo $HOME'", "/root\n"),
        ("sudo -u '#1000' sh -c 'echo $USER'", "user\n"),
        ("sudo sh -c 'exit 3'; echo $?", "3\n"),
        ("echo in | sudo cat", "in\n"),
        ("echo 'pwd; echo $USER' | sudo -i", "/root\nroot\n"),
        ("sudo sudo -u user sh -c 'echo $USER $SUDO_USER'", "user root\n"),
    ],
)
async def test_sudo_runs_the_command_as_it_is(guest, command, out):
    """Scripts are full of it, in every spelling."""
    assert await sh(guest, command) == out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sudo -u nobody true", "sudo: unknown user nobody"),
        ("sudo --user=me true", "sudo: unknown user me"),
        ("sudo no-such-program", "sudo: no-such-program: command not found"),
        ("sudo -u", "sudo: option requires an argument -- 'u'"),
        ("sudo --user", "sudo: option '--user' requires an argument"),
        ("sudo", "sudo: a command is missing"),
        ("su nobody -c true", "su: user nobody does not exist"),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_line(guest, command, words):
    """And fails, for a script that goes on would do the next thing wrongly."""
    outcome = await run(guest, "/bin/bash", "-c", command)

    assert (outcome.code, outcome.err.decode(), outcome.out) == (1, words + "\n", b"")


@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("su - user -c 'echo $USER $HOME; pwd'", "user /home/user\n/home/user\n"),
        ("su user -c 'echo $USER; pwd'", "user\n/root\n"),
        ("su -c 'echo $0 $1' user a b", "a b\n"),
        ("su -l user --command='pwd'", "/home/user\n"),
        ("su -lc pwd user", "/home/user\n"),
        ("su -s /bin/sh user -c 'echo $0'", "/bin/sh\n"),
        ("su -m user -c 'echo $USER'", "root\n"),
        ("echo 'echo $USER' | su user", "user\n"),
        ("su -c 'exit 4'; echo $?", "4\n"),
    ],
)
async def test_su_changes_the_name(guest, command, out):
    """Templates and start commands run by root step down with it."""
    assert await sh(guest, command, user="root") == out
