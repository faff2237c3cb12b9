"""The command line: `python -m sandbox_service`, and the installed `sandbox-service`."""

from __future__ import annotations

import sys
from typing import Final

_EXIT_INTERRUPTED: Final = 130
"""What a shell reports of a program that Ctrl-C ended."""


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while it still loads."""
    try:
        # Loading takes most of a second, in which people change their minds.
        from sandbox_service.app.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
