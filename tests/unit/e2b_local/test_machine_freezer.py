"""Processes stopped and continued by signals: trees of this host's own, without a sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.e2b_local.machine import freezer, process_tree
from sandbox_service.e2b_local.machine.freezer import Level, RestlessError, SignalFreezer
from sandbox_service.e2b_local.machine.process_tree import find_children, read_status

# A tree is a list of trees, and whether its root stops itself. When all are there, each
# has written a byte.
GROW = """
import ast, os, signal, sys
def grow(stops, children):
    for child in children:
        if os.fork() == 0:
            grow(*child)
    os.write(1, b"x")
    if stops:
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        signal.pause()
grow(*ast.literal_eval(sys.argv[1]))
"""

FORK = """
import os
os.write(1, b"x")
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""

Tree = tuple[bool, list["Tree"]]
TREES = st.recursive(
    st.tuples(st.booleans(), st.just([])),
    lambda trees: st.tuples(st.booleans(), st.lists(trees, max_size=3)),
    max_leaves=6,
)


def size(tree: Tree) -> int:
    return 1 + sum(size(child) for child in tree[1])


def stopping(tree: Tree) -> int:
    return tree[0] + sum(stopping(child) for child in tree[1])


class Grown:
    """A tree of processes; its end is the end of all of it."""

    def __init__(self, code: str, *arguments: str, count: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, *arguments],
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self.process.stdout is not None
        self.process.stdout.read(count)

    def __enter__(self) -> Grown:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    @property
    def root(self) -> int:
        return self.process.pid

    def states(self) -> dict[int, str]:
        found: dict[int, str] = {}
        pending = [self.root]
        while pending:
            pid = pending.pop()
            found[pid] = read_status(f"/proc/{pid}/stat").state
            pending += find_children(pid)
        return found

    def settle(self, stopped: int) -> dict[int, str]:
        """Wait until as many have stopped, and the others sleep."""
        while True:
            states = self.states()
            if [*states.values()].count("T") == stopped and "R" not in states.values():
                return states


@pytest.fixture
def grown() -> Iterator[Grown]:
    """One process that sleeps."""
    with Grown(GROW, "(False, [])") as one:
        yield one


@settings(max_examples=15, deadline=None)
@given(tree=TREES)
def test_a_tree_goes_on_as_it_was(tree):
    """Whatever its shape, and whoever in it was stopped before."""
    tree = (False, tree[1])
    with Grown(GROW, repr(tree), count=size(tree)) as grown:
        before = grown.settle(stopping(tree))
        holder = SignalFreezer(grown.root)
        for level in (Level.FROZEN, Level.PROGRAMS_STOPPED, Level.FROZEN, Level.RUNNING):
            holder.hold(level)
            held = grown.states()
            if level is Level.PROGRAMS_STOPPED:
                assert held.pop(grown.root) != "T"
            if level is not Level.RUNNING:
                assert set(held.values()) <= {"T"}

        assert grown.settle(stopping(tree)) == before


def test_the_first_process_can_be_spared(grown):
    """Then it is the agent that goes on."""
    with Grown(GROW, "(False, [(False, []), (True, [])])", count=3) as tree:
        tree.settle(1)
        holder = SignalFreezer(tree.root)
        holder.hold(Level.PROGRAMS_STOPPED)
        states = tree.states()
        assert states.pop(tree.root) == "S"
        assert list(states.values()) == ["T", "T"]
        holder.hold(Level.RUNNING)
        tree.settle(1)
    assert grown.states() == {grown.root: "S"}


def test_who_makes_processes_all_the_time_stands_in_the_end():
    """Each round stops those that the round before did not see."""
    with Grown(FORK) as tree:
        for _ in range(20):
            holder = SignalFreezer(tree.root)
            holder.hold(Level.FROZEN)
            assert set(tree.states().values()) <= {"T", "Z"}
            holder.hold(Level.RUNNING)


def test_what_cannot_be_stopped_goes_on_whole(monkeypatch):
    """Half a frozen sandbox would be of no use to anybody."""
    monkeypatch.setattr(freezer, "_PATIENCE_SECONDS", -1.0)
    with Grown(GROW, "(False, [(False, [(True, [])])])", count=3) as tree:
        before = tree.settle(1)
        holder = SignalFreezer(tree.root)
        for level in (Level.FROZEN, Level.PROGRAMS_STOPPED):
            with pytest.raises(RestlessError):
                holder.hold(level)
            assert tree.settle(1) == before


def test_a_level_that_fails_leaves_the_one_before(monkeypatch):
    """Programs stay held when the agent could not be stopped besides."""
    with Grown(GROW, "(False, [(False, [])])", count=2) as tree:
        tree.settle(0)
        holder = SignalFreezer(tree.root)
        holder.hold(Level.PROGRAMS_STOPPED)
        monkeypatch.setattr(freezer, "_PATIENCE_SECONDS", -1.0)
        with pytest.raises(RestlessError):
            holder.hold(Level.FROZEN)

        assert tree.settle(1)[tree.root] == "S"
        holder.hold(Level.RUNNING)
        tree.settle(0)


def test_a_pid_that_was_given_out_again_is_not_hit(grown):
    """Between two looks a process may end, and its pid go to anybody on the host."""
    started = read_status(f"/proc/{grown.root}/stat").started
    same, other = (process_tree.Process(grown.root, began) for began in (started, started - 1))

    assert not process_tree.send_signal(other, signal.SIGKILL)
    assert not process_tree.send_signal(same, signal.SIGKILL, {1})  # It has other parents by now.
    assert grown.process.poll() is None
    assert process_tree.send_signal(same, signal.SIGKILL, {os.getpid()})
    grown.process.wait()
    assert not process_tree.send_signal(same, signal.SIGKILL)


def test_a_dead_tree_is_held_without_a_word():
    """Its end is told elsewhere."""
    with Grown(GROW, "(False, [])") as tree:
        holder = SignalFreezer(tree.root)
    for level in (Level.FROZEN, Level.PROGRAMS_STOPPED, Level.RUNNING):
        holder.hold(level)


class Ice:
    """A control group's freezer, as far as one can be had without one."""

    def __init__(self, *, works: bool = True) -> None:
        self.frozen = False
        self.thaws = 0
        self.works = works

    def set_frozen(self, wanted: bool) -> None:
        if not self.works:
            raise OSError
        self.thaws += self.frozen and not wanted
        self.frozen = wanted

    def is_frozen(self) -> bool:
        return self.frozen


@pytest.mark.parametrize("works", [True, False])
def test_a_group_helps_where_signals_come_too_late_and_is_let_go_of_at_once(monkeypatch, works):
    """What version 1 has frozen cannot be killed, so nothing may stay frozen by it."""
    monkeypatch.setattr(freezer, "_HELP_SECONDS", -1.0)
    monkeypatch.setattr(freezer, "_PATIENCE_SECONDS", 5.0)
    ice = Ice(works=works)
    with Grown(GROW, "(False, [(False, [(False, [])]), (True, [])])", count=4) as tree:
        before = tree.settle(1)
        holder = SignalFreezer(tree.root, ice)
        holder.hold(Level.FROZEN)
        assert set(tree.states().values()) == {"T"}
        assert (ice.thaws, ice.frozen) == (int(works), False)
        holder.hold(Level.RUNNING)

        assert tree.settle(1) == before


def test_a_fork_bomb_is_killed_and_its_first_process_is_not():
    """Its disk is full, and somebody may want to see why."""
    bomb = FORK.replace("os._exit(0)", "pass")
    nested = f"import os\nif os.fork() == 0:\n    exec({bomb!r})\nos.write(1, b'x')\nos.wait()"
    with Grown(nested, count=2) as tree:
        SignalFreezer(tree.root).kill_programs()
        left = [state for pid, state in tree.states().items() if pid != tree.root]

        assert set(left) <= {"Z"}


@pytest.mark.parametrize("level", list(Level))
def test_who_is_held_still_is_killed_too(level):
    """And whoever is spared is held as before."""
    with Grown(GROW, "(False, [(False, []), (True, [])])", count=3) as tree:
        tree.settle(1)
        holder = SignalFreezer(tree.root)
        holder.hold(level)
        holder.kill_programs()
        states = tree.states()
        assert states.pop(tree.root) == ("T" if level is Level.FROZEN else "S")
        assert set(states.values()) <= {"Z"}
        holder.hold(Level.RUNNING)

        # Going on: at work or asleep, but not stopped.
        assert tree.states()[tree.root] in {"R", "S"}


def test_killing_the_dead_is_done_at_once():
    with Grown(GROW, "(False, [])") as tree:
        holder = SignalFreezer(tree.root)
    holder.kill_programs()
