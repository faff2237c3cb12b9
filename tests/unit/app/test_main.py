"""The program itself, before any command runs."""

from __future__ import annotations

import sys

import pytest

from sandbox_service.__main__ import main


class _Interrupted:
    """Presses Ctrl-C while the command line is loaded."""

    def find_spec(self, name, *_):
        if name == "sandbox_service.app.cli":
            raise KeyboardInterrupt


def test_ctrl_c_while_it_loads_shows_no_traceback(monkeypatch, capsys):
    """People press it at once when they see that they mistyped."""
    monkeypatch.delitem(sys.modules, "sandbox_service.app.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Interrupted(), *sys.meta_path])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130
    assert capsys.readouterr().err == ""
