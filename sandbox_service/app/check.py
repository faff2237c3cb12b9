"""`sandbox-service check`: what the code policy says of a file, without a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

HELP: Final = (
    "Say what the code policy finds in files, as the service would; run nothing. "
    "Exits with 1 if a file would be denied, with 2 if it cannot be checked."
)

_LANGUAGES: Final = {".py": "python", ".sh": "bash", ".js": "javascript", ".ts": "typescript"}


def check(
    files: Annotated[list[str], typer.Argument(help="Files of source code; - is standard input.")],
    language: Annotated[
        str, typer.Option(help="Their language. Empty: by the file's name, else bash.")
    ] = "",
    rules: Annotated[
        str, typer.Option(help="A folder of ast-grep rules.", envvar="SANDBOX_POLICY_RULES")
    ] = "",
) -> None:
    """Print findings as FILE:LINE:COLUMN: ACTION RULE: MESSAGE."""
    # Imported late: the parsers take a while, and no other command needs them.
    from sandbox_service.domain.execs import SourceCode
    from sandbox_service.domain.policy import Action
    from sandbox_service.operations.policy.engine import Engine, TooNestedError, code_of
    from sandbox_service.operations.policy.rules import RulesError, RuleSet

    denied = False
    try:
        engine = Engine(RuleSet.load(Path(rules) if rules else None))
        for name in files:
            text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            spoken = language or _LANGUAGES.get(Path(name).suffix, "bash")
            code = code_of(SourceCode(spoken, text))
            if code is None:
                raise RulesError(f"{name}: no rule can be about {spoken}")
            for it in engine.findings(code):
                denied = denied or it.action is Action.DENY
                typer.echo(
                    f"{name}:{it.line}:{it.column}: {it.action.name} {it.rule_id}: {it.message}"
                )
    except (OSError, RulesError, TooNestedError) as error:
        typer.echo(f"Cannot check: {str(error) or type(error).__name__}", err=True)
        raise typer.Exit(2) from None
    if denied:
        raise typer.Exit(1)
