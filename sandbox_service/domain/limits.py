"""Every ceiling of the service, with its unit in its name.

The limits that the contract's validation rules state are repeated there; a
unit test holds both sides together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

OUTPUT_FRAME_BYTES: Final = 256 * KIB
"""At most this much output travels in one frame: few large messages in a flood."""

OUTPUT_FRAME_INTERVAL_S: Final = 0.002
"""After a frame the next one waits this long, unless it is full before."""

SETUP_OUTPUT_TAIL_BYTES: Final = 2 * KIB
"""How much of a failed setup step's output travels in the error."""

MESSAGE_BYTES_MAX: Final = 4 * MIB
"""The largest message in either direction: what gRPC clients take by default."""

INITIAL_FILES_BYTES_MAX: Final = 3 * MIB
"""What all initial files of a Create may have together: it is one message."""

SYNC_CHUNK_BYTES_MAX: Final = MIB
"""The largest chunk of a file that a SyncFiles message carries."""

PATH_BYTES_MAX: Final = 4096
NAME_BYTES_MAX: Final = 255

TOMBSTONE_RETENTION: Final = timedelta(hours=24)
"""How long a sandbox that ended still answers with how it ended."""

INTENT_RETENTION: Final = timedelta(hours=24)
"""How long an idempotency key is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceilings that an operator may move.

    Attributes:
        lifetime_default: A sandbox's lifetime when the caller asks for none.
        lifetime_max: The longest lifetime from now that may be asked for.
        execs_per_sandbox: Execs that may run at once in one sandbox.
        execs: Execs that may run at once in this process.
        journal_bytes: Output kept per exec for its readers.
        journals_bytes: Output kept for readers of all execs together.
        ended_execs: Execs that ended and whose results and output are kept.
        ended_exec_retention: How long after its end an exec is kept.
        spool_bytes: Output of each stream that a DURABLE exec keeps in the
            sandbox when the caller does not say.
        sync_files: Entries in one SyncFiles call.
        sync_bytes: Bytes of content in one SyncFiles call.
        kill_grace: Between TERM and KILL when the caller does not say.
        heartbeat_interval: The longest silence on an Exec stream.
        reconnect_limit: How long the backend may be out of reach of an exec
            when the caller does not say.
        deadline_max: The longest a unary call may take, whatever its deadline.
        deadline_default: The same for a caller that sets none, except of calls
            that may wait for something by their nature.
    """

    lifetime_default: timedelta = timedelta(minutes=5)
    lifetime_max: timedelta = timedelta(hours=24)
    execs_per_sandbox: int = 1024
    execs: int = 4096
    journal_bytes: int = 8 * MIB
    journals_bytes: int = 512 * MIB
    ended_execs: int = 1024
    ended_exec_retention: timedelta = timedelta(minutes=15)
    spool_bytes: int = 64 * MIB
    sync_files: int = 200_000
    sync_bytes: int = 8 * 1024 * MIB
    kill_grace: timedelta = timedelta(milliseconds=500)
    heartbeat_interval: timedelta = timedelta(seconds=15)
    reconnect_limit: timedelta = timedelta(seconds=60)
    deadline_max: timedelta = timedelta(hours=1)
    deadline_default: timedelta = timedelta(minutes=1)
