"""The server's end of the socket pair to one agent.

The agent runs beside code that nobody trusts, so what it says is checked like any
stranger's: sizes, types, the number of descriptors. One message that makes no sense ends
the conversation, and with it the sandbox.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import stat
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.machine.agent.messages import (
    BODY_IN_MEMFD,
    BODY_INLINE,
    DESCRIPTORS_PER_MESSAGE,
    INLINE_LIMIT_BYTES,
    MESSAGE_LIMIT_BYTES,
)
from sandbox_service.e2b_local.machine.model import (
    GuestLostError,
    GuestOSError,
    SpawnRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER_LIMIT_BYTES: Final = 64 * 1024**2
_MESSAGES_PER_TURN: Final = 64
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: pid, uid, gid.
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(4 * DESCRIPTORS_PER_MESSAGE) + socket.CMSG_SPACE(
    _CREDENTIALS.size
)
_REFUSALS: Final = frozenset({"cwd", "exec", "resources"})


class ProtocolError(Exception):
    """The agent said something that no agent of ours says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a value, and descriptors that now belong to the receiver."""

    value: object
    descriptors: tuple[int, ...]

    def close(self) -> None:
        """Give the descriptors up."""
        for descriptor in self.descriptors:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came off the wire.

    Attributes:
        fields: The decoded body.
        descriptors: What came along; the receiver closes them.
        sender: Its pid as the kernel attests it, in this process's pid namespace; 0
            where the socket was not asked to tell.
    """

    fields: dict[str, Any]
    descriptors: tuple[int, ...]
    sender: int


@dataclass(frozen=True, slots=True)
class _Question:
    future: asyncio.Future[Any]
    accept: Callable[[Answer], Any]
    abandon: Callable[[Answer], None]


def encode(fields: dict[str, Any]) -> tuple[bytes, int | None]:
    """Frame a question.

    Returns:
        The message, and a memory file with the body when that is too long for one.
    """
    body = json.dumps(fields, separators=(",", ":")).encode("ascii")
    if len(body) <= INLINE_LIMIT_BYTES:
        return bytes((BODY_INLINE,)) + body, None
    memory = os.memfd_create("question", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        file.write(body)
    return bytes((BODY_IN_MEMFD,)), memory


def receive(connection: socket.socket) -> Message | None:
    """Take one message.

    Returns:
        None when the other end is closed.

    Raises:
        BlockingIOError: There is none.
        ProtocolError: It is none of ours. Its descriptors are closed.
    """
    data, ancillary, flags, _ = connection.recvmsg(
        MESSAGE_LIMIT_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    sender = 0
    for level, kind, payload in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
        elif kind == socket.SCM_CREDENTIALS and len(payload) >= _CREDENTIALS.size:
            sender = _CREDENTIALS.unpack_from(payload)[0]
    if not data and not descriptors:
        return None
    try:
        fields = _decode(data, flags, descriptors)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return Message(fields, tuple(descriptors), sender)


def _decode(data: bytes, flags: int, descriptors: array.array[int]) -> dict[str, Any]:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ProtocolError("a message longer than allowed")
    body = data[1:]
    if data[:1] == bytes((BODY_IN_MEMFD,)) and descriptors:
        body = _read_memory(descriptors.pop())
    elif data[:1] != bytes((BODY_INLINE,)):
        raise ProtocolError("a message without a body")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a body that is not JSON") from error
    if not isinstance(fields, dict):
        raise ProtocolError("a body that is not an object")
    return fields


def _read_memory(descriptor: int) -> bytes:
    try:
        status = os.fstat(descriptor)
        # Anything else than a file in memory could make this process wait.
        if not stat.S_ISREG(status.st_mode) or status.st_size > _ANSWER_LIMIT_BYTES:
            raise ProtocolError("a body that is no file of a sensible size")
        return os.pread(descriptor, status.st_size, 0)
    finally:
        os.close(descriptor)


class Channel:
    """Questions and answers with one agent, on the running loop.

    Args:
        connection: The server's end. It belongs to the channel from now on.
        on_event: Called with each message that answers nothing.
        on_lost: Called once with a cause when the other end is closed or talks nonsense,
            not when this end is closed.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_event: Callable[[Message], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._on_event = on_event
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._questions: dict[int, _Question] = {}
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._last_id = 0
        self._closed_by: str | None = None
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._read)

    async def ask(self, operation: str, **fields: object) -> Answer:
        """Put a question and wait for its answer.

        Cancelling it gives the answer up, not the work.

        Returns:
            The answer, whose descriptors the caller now owns.

        Raises:
            GuestLostError: The channel was closed before the answer came.
            GuestOSError: It failed inside.
        """
        answer: Answer = await self.put(operation, fields)
        return answer

    def put(
        self,
        operation: str,
        fields: dict[str, Any],
        descriptors: tuple[int, ...] = (),
        accept: Callable[[Answer], Any] = lambda answer: answer,
        abandon: Callable[[Answer], None] = Answer.close,
    ) -> asyncio.Future[Any]:
        """Put a question.

        Args:
            operation: What is asked for.
            fields: Its arguments.
            descriptors: Sent along and closed here, whatever happens.
            accept: Turns the answer into the result the moment it is read, before any
                later message is.
            abandon: Called instead when nobody waits for the answer any more.

        Raises:
            GuestLostError: The channel is closed.
        """
        if self._closed_by is not None:
            _close_all(descriptors)
            raise GuestLostError(self._closed_by)
        self._last_id += 1
        try:
            data, memory = encode({**fields, "id": self._last_id, "op": operation})
        except BaseException:
            _close_all(descriptors)
            raise
        if memory is not None:
            descriptors = (*descriptors, memory)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._questions[self._last_id] = _Question(future, accept, abandon)
        self._unsent.append((data, descriptors))
        if len(self._unsent) == 1:
            self._write()
        return future

    def close(self, cause: str) -> None:
        """Close this end; who still waits for an answer gets GuestLostError."""
        if self._closed_by is not None:
            return
        self._closed_by = cause
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        for _, descriptors in self._unsent:
            _close_all(descriptors)
        self._unsent.clear()
        for question in self._questions.values():
            if not question.future.done():
                question.future.set_exception(GuestLostError(cause))
        self._questions.clear()

    def _lose(self, cause: str) -> None:
        if self._closed_by is None:
            self.close(cause)
            self._on_lost(cause)

    def _write(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            rights = array.array("i", descriptors).tobytes()
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                self._connection.sendmsg([data], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._connection.fileno(), self._write)
                return
            except OSError as error:
                self._loop.call_soon(self._lose, f"the agent cannot be reached ({error})")
                return
            self._unsent.popleft()
            _close_all(descriptors)
        self._loop.remove_writer(self._connection.fileno())

    def _read(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            try:
                message = receive(self._connection)
            except BlockingIOError:
                return
            except ConnectionResetError:  # It ended with questions unread.
                message = None
            except (ProtocolError, OSError) as error:
                self._lose(f"the agent's message could not be read: {error}")
                return
            if message is None:
                self._lose("the agent ended")
                return
            try:
                self._take(message)
            except ProtocolError as error:
                _close_all(message.descriptors)
                self._lose(f"the agent's message made no sense: {error}")
            if self._closed_by is not None:
                return

    def _take(self, message: Message) -> None:
        identity = message.fields.get("id")
        if identity is None:
            self._on_event(message)
            _close_all(message.descriptors)
            return
        if not isinstance(identity, int) or not 0 < identity <= self._last_id:
            raise ProtocolError("an answer to no question")
        question = self._questions.pop(identity, None)
        if question is None:
            # Answered before: work that was killed between its answer and its end.
            _close_all(message.descriptors)
            return
        try:
            self._settle(question, message)
        except ProtocolError as nonsense:
            if not question.future.done():
                question.future.set_exception(GuestLostError(str(nonsense)))
            raise

    def _settle(self, question: _Question, message: Message) -> None:
        error = message.fields.get("error")
        if error is not None:
            exception = _to_exception(error)
            _close_all(message.descriptors)
            if not question.future.done():
                question.future.set_exception(exception)
            return
        answer = Answer(message.fields.get("ok"), message.descriptors)
        if question.future.done():
            question.abandon(answer)
        else:
            question.future.set_result(question.accept(answer))


def _to_exception(error: object) -> Exception:
    match error:
        case [int(number), str(kind), str(text)] if kind in _REFUSALS:
            return SpawnRefusedError(kind, text, number)  # type: ignore[arg-type]
        case [int(number), str(), str(text)]:
            return GuestOSError(number, text)
        case _:
            raise ProtocolError("an error of no known form")


def _close_all(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
