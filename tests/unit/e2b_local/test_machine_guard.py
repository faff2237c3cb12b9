"""What ends sandboxes when their server has died."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine.tiers.guard import Guard

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that wait for their input, one after the other stopped."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_what_is_held_is_killed_when_it_is_let_go(guard, sleepers):
    """Also what is stopped, and cannot end by itself."""
    for process in sleepers:
        guard.hold(process.pid)
    sleepers[0].send_signal(signal.SIGSTOP)
    guard.close()

    assert [process.wait(10) for process in sleepers] == [-signal.SIGKILL] * 2


def test_one_that_is_killed_itself_is_replaced(guard, sleepers):
    """By another that holds all that it held; sandboxes can go on being booted."""
    first, second = sleepers
    guard.hold(first.pid)
    assert guard._process is not None
    guard._process.kill()
    guard._process.wait()
    guard.hold(second.pid)
    guard.close()

    assert [process.wait(10) for process in sleepers] == [-signal.SIGKILL] * 2


def test_it_keeps_nothing_of_those_that_have_ended(guard, sleepers):
    """A server makes thousands of sandboxes."""
    first, second = sleepers
    guard.hold(first.pid)
    before = len(list(DESCRIPTORS.iterdir()))
    for _ in range(20):
        with subprocess.Popen(["/bin/true"]) as process:
            guard.hold(process.pid)
    guard.hold(second.pid)

    assert len(list(DESCRIPTORS.iterdir())) <= before + 1
