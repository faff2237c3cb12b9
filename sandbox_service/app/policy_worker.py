"""The process in which code is parsed: what a stranger's text does to a parser, it does here.

Reads a line of JSON with the rules, then one per piece of code, and answers
each with a line. A check that takes too long ends the process.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any, Final

from sandbox_service.operations.policy.engine import Code, Engine, TooNestedError
from sandbox_service.operations.policy.rules import RuleSet

_MEMORY_BYTES_MAX: Final = 2 << 30


def main() -> None:
    """Serve until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    # Python's own handlers wait for the parser; the kernel does not.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    told = json.loads(sys.stdin.readline() or "{}")
    if not told:
        return
    engine = Engine(RuleSet((origin, document) for origin, document in told["documents"]))
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, told["limit_s"])
        answer = _answer(engine, Code(**json.loads(line)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer's way back.


def _answer(engine: Engine, code: Code) -> dict[str, Any]:
    try:
        return {"findings": [asdict(it) for it in engine.findings(code)]}
    except TooNestedError:
        return {"unchecked": "it holds too much code within code"}
    except BaseException as error:  # noqa: BLE001 - a panic of the parser is no Exception.
        return {"unchecked": f"the parser failed ({type(error).__name__})"}


if __name__ == "__main__":
    main()
