"""Starts an agent that Landlock holds, and ends all that is left when the agent has ended.

It takes the place of bubblewrap and is called like it: `keeper --args FD -- COMMAND`, with
options on the descriptor, each ended by a NUL. It is what dies with the server, and what
the sandbox's orphans come to; so nothing of a sandbox outlives either.

Nothing here may import the rest of the product.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
INSTRUCTION_BYTES = 8

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
BASIC = (1 << 13) - 1
# What each version of Landlock added to the rights to files.
ADDED = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
NETWORK = 3  # To bind and to connect, over TCP; since version 4.
SCOPES = 3  # Abstract sockets and signals; since version 6.
READ = EXECUTE | READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """Raise what the kernel said, if it refused."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def prctl(option: int, value: int) -> None:
    """Call prctl."""
    check(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def landlock_version() -> int:
    """Which version of Landlock this kernel has. 0: none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, 0, CREATE_VERSION)))


def restrict(rules: list[tuple[int, str]]) -> None:
    """Give up every right to files but those to some paths, and what is beneath them.

    Args:
        rules: Rights and a path; one that is not there is left out.
    """
    version = landlock_version()
    handled = BASIC
    for since, right in ADDED.items():
        handled |= right if version >= since else 0
    words = [handled]
    if version >= 4:
        words.append(NETWORK)
    if version >= 6:
        words.append(SCOPES)
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = check(libc.syscall(CREATE_RULESET, attributes, len(attributes), 0), "Landlock")
    for rights, path in rules:
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = rights & handled
        if not Path(path).is_dir():
            allowed &= OF_FILES
        rule = struct.pack("=Qi", allowed, beneath)
        check(libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0), f"Landlock, {path}")
        os.close(beneath)
    check(libc.syscall(RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def filter_calls(program: bytes) -> None:
    """Load a seccomp filter."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    instructions = ctypes.create_string_buffer(program, len(program))
    address = ctypes.cast(instructions, ctypes.c_void_p)
    whole = Program(len(program) // INSTRUCTION_BYTES, address)
    check(
        libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(whole), 0, 0),
        "seccomp",
    )


def become(uid: int) -> None:
    """Become another user for good, with no group and no capability."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def start(options: list[tuple[str, str]], command: list[str]) -> None:
    """Turn this process into the agent."""
    rules = [(READ, path) for name, path in options if name == "--read"]
    rules += [(~0, path) for name, path in options if name == "--write"]
    rules += [(DEVICE | READ_DIR, path) for name, path in options if name == "--device"]
    # The agent's own, by number; programs have other numbers.
    rules.append((READ_FILE | WRITE_FILE, f"/proc/{os.getpid()}/oom_score_adj"))
    given = dict(options)
    program = Path(f"/proc/self/fd/{given['--seccomp']}").read_bytes()
    os.setsid()
    if "--uid" in given:
        become(int(given["--uid"]))
    # Only now, for the kernel forgets it when the user changes.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(given["--keeper"]):
        raise OSError(errno.ESRCH, "the keeper has ended")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    restrict(rules)
    filter_calls(program)
    os.execve(command[0], command, {"LC_ALL": "C"})  # noqa: S606 - There is no shell.


def read_children(pid: int) -> list[int]:
    """The pids of a process' children. None: it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def read_descendants() -> list[int]:
    """The pids of all that have come from this process."""
    found, pending = [], read_children(os.getpid())
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += read_children(pid)
    return found


def send(pids: list[int], number: int) -> None:
    """Signal processes; some may be gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_all() -> None:
    """Kill every descendant, and return when none is left."""
    while True:
        stopped: set[int] = set()
        # What is stopped makes no more of its kind.
        while new := [pid for pid in read_descendants() if pid not in stopped]:
            send(new, signal.SIGSTOP)
            stopped.update(new)
        send(list(stopped), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def keep(agent: int) -> int:
    """Wait until the agent has ended or the server is gone; the agent's wait status."""
    status = 0
    try:
        while True:
            pid, ended = os.waitpid(-1, 0)
            if pid == agent:
                status = ended
                break
    except InterruptedError:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_all()
    return status


def interrupt(*_: object) -> None:
    """Stop waiting: the server is gone."""
    raise InterruptedError


def main(arguments: list[str]) -> None:
    """Read the options, start the agent, keep it."""
    at = arguments.index("--args")
    command = arguments[arguments.index("--") + 1 :]
    told = Path(f"/proc/self/fd/{arguments[at + 1]}").read_bytes()
    words = told.decode("utf-8", "surrogateescape").split("\0")[:-1]
    options = [(words[at], words[at + 1]) for at in range(0, len(words), 2)]
    given = dict(options)
    signal.signal(signal.SIGTERM, interrupt)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(given.get("--server", 0)):
        sys.exit("the server has ended")
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    options.append(("--keeper", str(os.getpid())))
    agent = os.fork()
    if agent == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            start(options, command)
        except OSError as error:
            sys.stderr.write(f"keeper: {error}\n")
        finally:
            os._exit(1)
    os.close(int(given["--control"]))
    os._exit(1 if keep(agent) else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
