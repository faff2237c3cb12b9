"""How envd tells that a signal ended a program: in the words of Go's runtime."""

from __future__ import annotations

import re
import signal
from typing import Final

_WORDS: Final = {
    "hangup": "HUP",
    "interrupt": "INT",
    "quit": "QUIT",
    "illegal instruction": "ILL",
    "trace/breakpoint trap": "TRAP",
    "aborted": "ABRT",
    "bus error": "BUS",
    "floating point exception": "FPE",
    "killed": "KILL",
    "user defined signal 1": "USR1",
    "segmentation fault": "SEGV",
    "user defined signal 2": "USR2",
    "broken pipe": "PIPE",
    "alarm clock": "ALRM",
    "terminated": "TERM",
    "cpu time limit exceeded": "XCPU",
    "file size limit exceeded": "XFSZ",
    "bad system call": "SYS",
}
_STATUS: Final = re.compile(r"signal: (?P<words>[^(]+?)(?: \(core dumped\))?$")
_NUMBER: Final = re.compile(r"signal (\d+)$")


def signal_name(status: str) -> str:
    """Return the signal's name without SIG, or "" when `status` tells of none."""
    found = _STATUS.match(status.strip())
    if found is None:
        return ""
    words = found["words"].lower()
    number = _NUMBER.match(words)
    if number is None:
        return _WORDS.get(words, words.upper())
    try:
        return signal.Signals(int(number[1])).name.removeprefix("SIG")
    except ValueError:
        return number[1]
