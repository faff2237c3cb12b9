"""Ending a program whose start failed though it may have been made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sandbox_service.domain.errors import BackendUnavailableError, SandboxEndedError
from sandbox_service.domain.execs import ShellCommand
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.providers.e2b import orphans


class Killer:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self, *answers: list[int] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def kill(self, group: int, marker: str, grace_s: float) -> list[int]:
        assert (group, grace_s) == (0, 0)
        self.asked.append(marker)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        pytest.param([[], [], []], 1, id="a start that is late is met by the second look"),
        pytest.param([BackendUnavailableError("."), [], []], 1, id="one that failed was none"),
        pytest.param([[], [7], [], []], 1, id="until nothing is left"),
        pytest.param([SandboxEndedError("."), []], 1, id="it ends with its sandbox"),
        pytest.param([[7]] * 6, 1, id="not for ever"),
    ],
)
async def test_an_orphan_is_looked_for_until_none_can_be_left(
    monkeypatch: pytest.MonkeyPatch, answers: list[list[int] | Exception], left: int
) -> None:
    """The first look may come before the program, for the backend may still be making it."""
    monkeypatch.setattr(orphans, "_PAUSES_S", (0.0, *[1e-6] * 4))
    killer = Killer(*answers)
    connection = SimpleNamespace(killers={"user": killer})
    spec = ProcessSpec(
        marker="mark",
        program=ShellCommand("true"),
        cwd="",
        env={},
        user="user",
        stdin=False,
        backstop=None,
    )

    await orphans.end_orphan(connection, spec)  # type: ignore[arg-type]

    assert len(killer.answers) == left
    assert set(killer.asked) == {"mark"}
