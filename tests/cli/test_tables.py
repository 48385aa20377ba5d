from __future__ import annotations

import io
import sys

import pytest

from geomind.cli.tables import PIPED_COLUMNS, console


def test_a_terminal_has_its_own_width_and_a_pipe_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal rich assumes 80 columns: tables in a file lost figures."""
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console().width == PIPED_COLUMNS
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert console().width == 70
