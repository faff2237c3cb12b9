"""The loop of pid 1."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import fcntl

# `os` without what Python builds upon it, which takes a millisecond of each boot.
import posix as os
import resource
import select
import stat
import sys

# Relative, for inside there is no other package around this one.
from .messages import decode_json, receive, send

# Python 3.8 must be able to run this file, whatever runs the server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430
TIOCSWINSZ = 0x5414
SIGKILL = 9
SIGCHLD = 17
SIGSTOP = 19

LISTEN_BACKLOG = 64


SETSID = "/usr/bin/setsid"

OOM_SCORE_OF_PROGRAMS = 500
"""Programs are to die before the agent when memory runs out."""


class Refusal(Exception):  # noqa: N818
    """A question that is answered with an error of a kind the asker knows."""

    def __init__(self, number: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.answer = [number, kind, text]


def is_file(path: str) -> bool:
    """Whether a regular file is there, be it behind a link."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_program(path: str) -> bool:
    """Whether an absolute path leads to a file that may be run."""
    return path.startswith("/") and is_file(path) and os.access(path, os.X_OK)


def find_program(name: str, search_path: str) -> str:
    """Look a program up as a shell would."""
    if "/" in name:
        return name
    found = 0
    for folder in search_path.split(":"):
        candidate = (folder or ".") + "/" + name
        if is_file(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found = errno.EACCES
    number = found or errno.ENOENT
    raise Refusal(number, "exec", f"{name}: {os.strerror(number)} (looked in PATH)")


def open_terminal(rows: int, cols: int) -> tuple[int, str]:
    """Open a terminal of this sandbox's own; the master and the slave's name."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, bytes(4))
    number = int.from_bytes(fcntl.ioctl(master, TIOCGPTN, bytes(4)), sys.byteorder)
    order = sys.byteorder
    size = rows.to_bytes(2, order) + cols.to_bytes(2, order) + bytes(4)
    fcntl.ioctl(master, TIOCSWINSZ, size)
    return master, f"/dev/pts/{number}"


class Agent:
    """The loop of pid 1, and what it must remember between two messages."""

    def __init__(self, control: _socket.socket, oom_score: int) -> None:
        self._control = control
        self._oom_score = oom_score
        self._oom_score_own = os.pread(oom_score, 16, 0).strip() or b"0"
        self._programs: set[int] = set()
        self._workers: dict[int, int] = {}
        every = set(range(1, _signal.NSIG)) - {SIGKILL, SIGSTOP, 32, 33}
        self._every_signal = sorted(every)
        self._wake, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(wake_writer)
        _signal.signal(SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answer until the server's end of the socket is closed."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        send(self._control, {"event": "hello"})
        self._import_rest()
        while True:
            for ready, _ in poll.poll():
                if ready == self._wake:
                    os.read(self._wake, 4096)
                    self._reap()
                    continue
                message = receive(self._control)
                if message is None:
                    return
                self._answer(*message)

    def _import_rest(self) -> None:
        """Import what a boot does not need, while the server has work of its own.

        Not when it is asked for: by then, programs may have moved what leads to it.
        """
        from . import archives, files, opening

        self._quick, self._slow = files.QUICK, files.SLOW
        self._archives = archives.WORK
        self._open = opening.open_path

    def _answer(self, question: dict[str, Any], descriptors: list[int]) -> None:
        identity, operation = question["id"], question["op"]
        passed: list[int] = []
        try:
            if operation in self._slow:
                work = self._slow[operation]
                self._start_worker(identity, lambda: work(question))
                return
            if operation in self._archives:
                pack = self._archives[operation]
                self._start_worker(identity, lambda: pack(question, descriptors))
                return
            if operation in self._quick:
                result = self._quick[operation](question)
            else:
                result = getattr(self, "do_" + operation)(question, descriptors, passed)
            send(self._control, {"id": identity, "ok": result}, tuple(passed))
        except Exception as error:  # noqa: BLE001 - pid 1 must outlive any question.
            self._send_error(identity, error)
        finally:
            for descriptor in descriptors + passed:
                os.close(descriptor)

    def _send_error(self, identity: int, error: Exception) -> None:
        if isinstance(error, Refusal):
            answer = error.answer
        elif isinstance(error, OSError):
            answer = [error.errno or errno.EIO, "os", error.strerror or str(error)]
        elif isinstance(error, ValueError):  # A NUL in a path.
            answer = [errno.EINVAL, "os", str(error)]
        else:
            answer = [errno.EIO, "agent", repr(error)]
        send(self._control, {"id": identity, "error": answer})

    def _set_oom_score(self, score: bytes) -> None:
        try:
            os.pwrite(self._oom_score, score, 0)
        except OSError:
            pass  # A host that hides it: programs and agent are then equals.

    def _start_worker(self, identity: int, work: Callable[[], object]) -> None:
        self._set_oom_score(b"%d" % OOM_SCORE_OF_PROGRAMS)
        try:
            pid = os.fork()
        finally:
            self._set_oom_score(self._oom_score_own)
        if pid:
            self._workers[pid] = identity
            return
        try:
            try:
                send(self._control, {"id": identity, "ok": work()})
            except Exception as error:  # noqa: BLE001 - Any failure is an answer.
                self._send_error(identity, error)
            os._exit(0)
        finally:
            os._exit(1)

    def _reap(self) -> None:
        """Collect the dead: programs, workers, and orphans that came to pid 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._programs:
                self._programs.discard(pid)
                send(self._control, {"event": "exit", "pid": pid, "status": status})
            identity = self._workers.pop(pid, None)
            if identity is not None and status != 0:
                answer = [errno.EIO, "os", f"the work was killed (wait status {status})"]
                send(self._control, {"id": identity, "error": answer})

    def do_ping(self, _question: dict[str, Any], _got: list[int], _out: list[int]) -> object:
        """Answer, to show that there is somebody."""
        return None

    def do_spawn(self, question: dict[str, Any], got: list[int], out: list[int]) -> object:
        """Start a program on three descriptors, or on a terminal whose master goes out."""
        argv, env = question["argv"], question["env"]
        try:
            os.chdir(question["cwd"])
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or errno.EINVAL
            text = f"{question['cwd']}: {os.strerror(number)}"
            raise Refusal(number, "cwd", text) from None
        session = bool(question["pty"])
        try:
            program = find_program(argv[0], env.get("PATH", ""))
            actions: list[tuple[Any, ...]] = []
            if question["pty"]:
                master, slave = open_terminal(*question["pty"])
                out.append(master)
                # Opened after setsid, it becomes the controlling terminal.
                actions.append((os.POSIX_SPAWN_OPEN, 0, slave, os.O_RDWR, 0))
                actions += [(os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
            else:
                # 0 to 2 are the agent's own, so what came in lies above them.
                wanted = got if question["stdin"] else [0, *got]
                actions += [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(wanted)]
            pid = 0
            if program == SETSID and not session and argv[1:] and is_program(argv[1]):
                # What setsid(1) would do, without the time that it takes to start.
                try:
                    pid = self._spawn(argv[1], argv[1:], env, actions, session=True)
                except Refusal:
                    # It would have started, and then told what it cannot run.
                    pass
            pid = pid or self._spawn(program, argv, env, actions, session=session)
        finally:
            os.chdir("/")
        self._programs.add(pid)
        return pid

    def _spawn(
        self,
        program: str,
        argv: list[str],
        env: dict[str, str],
        actions: list[tuple[Any, ...]],
        *,
        session: bool,
    ) -> int:
        def start(path: str, arguments: list[str]) -> int:
            return os.posix_spawn(
                path,
                arguments,
                env,
                file_actions=actions,
                setsid=session,
                setsigmask=(),
                setsigdef=self._every_signal,
            )

        self._set_oom_score(b"%d" % OOM_SCORE_OF_PROGRAMS)
        try:
            try:
                return start(program, argv)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script without a first line that names its shell, as execvp does.
                return start("/bin/sh", ["/bin/sh", program, *argv[1:]])
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or errno.EINVAL
            scarce = number in (errno.EAGAIN, errno.ENOMEM)
            text = f"{argv[0]}: {os.strerror(number)}"
            raise Refusal(number, "resources" if scarce else "exec", text) from None
        finally:
            self._set_oom_score(self._oom_score_own)

    def do_signal(self, question: dict[str, Any], _got: list[int], _out: list[int]) -> object:
        """Signal a process or a group. False: there is none."""
        pid = question["pid"]
        if pid <= 1:
            raise PermissionError(errno.EPERM, "pid 1 and less are not for signals")
        try:
            (os.killpg if question["group"] else os.kill)(pid, question["signal"])
        except ProcessLookupError:
            return False
        return True

    def do_open(self, question: dict[str, Any], _got: list[int], out: list[int]) -> None:
        """Open a file or folder as the sandbox sees it; the descriptor goes out."""
        flags = question["flags"] | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = self._open(question["path"], flags, question["mode"])
        out.append(descriptor)
        kind = os.fstat(descriptor)
        if not (stat.S_ISREG(kind.st_mode) or stat.S_ISDIR(kind.st_mode)):
            raise OSError(errno.ENODEV, "neither a file nor a folder")
        if flags & os.O_ACCMODE != os.O_RDONLY and kind.st_dev == os.lstat("/proc").st_dev:
            # `/proc/self` is the agent here: nobody may write into its memory.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def do_connect(self, question: dict[str, Any], _got: list[int], out: list[int]) -> None:
        """Begin a TCP connection to this sandbox's loopback; the socket goes out.

        It may still be connecting: whoever gets it waits and looks at SO_ERROR.
        """
        family = _socket.AF_INET6 if question["v6"] else _socket.AF_INET
        address = ("::1" if question["v6"] else "127.0.0.1", question["port"])
        kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        connection = _socket.socket(family, kind)
        number = connection.connect_ex(address)
        out.append(connection.detach())
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))

    def do_listen(self, question: dict[str, Any], _got: list[int], out: list[int]) -> None:
        """Listen on this sandbox's loopback for somebody else; the socket goes out."""
        kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        listening = _socket.socket(_socket.AF_INET, kind)
        try:
            listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", question["port"]))
            listening.listen(LISTEN_BACKLOG)
        except OSError:
            listening.close()
            raise
        out.append(listening.detach())


def forbid_inspection() -> None:
    """Make this process one that no other of the same uid can trace or read."""
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]

        def call(*arguments: int) -> int:
            return int(_ctypes.call_function(prctl, arguments))
    except (ImportError, AttributeError):
        import ctypes

        call = ctypes.CDLL(None).prctl
    call(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if call(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(errno.EPERM, "PR_SET_DUMPABLE has no effect")


def main(arguments: list[str]) -> None:
    """Shut every door behind oneself, then serve."""
    control = _socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    # Whatever else was left open on the way here is for no program to inherit.
    os.closerange(3, control.fileno())
    os.closerange(control.fileno() + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    # Before the process becomes uninspectable: afterwards even it cannot open this.
    oom_score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    forbid_inspection()
    limits = decode_json(arguments[1])
    os.nice(limits.pop("nice", 0))
    for name, value in limits.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (limit, limit))
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    agent = Agent(control, oom_score)
    for standard in (0, 1, 2):
        os.dup2(null, standard, True)
    os.close(null)
    agent.serve()
