from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table

from geomind.cli.tables import PIPED_COLUMNS, console, print_whole


def test_a_terminal_has_its_own_width_and_a_pipe_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal rich assumes 80 columns: tables in a file lost figures."""
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console().width == PIPED_COLUMNS
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert console().width == 70


@pytest.mark.parametrize(("width", "shown"), [(60, 4), (42, 3), (30, 2)])
def test_a_narrow_terminal_leaves_columns_out_and_says_so(width: int, shown: int) -> None:
    """Rich cut the figures of columns that did not fit: a median of 1,234 km was 1,…"""
    names = ["region", "median", "right region", "GeoScore"]
    table = Table(*names)
    table.add_row("Africa", "1,234 km", "87.5%", "2,345")
    screen = Console(width=width, file=io.StringIO())
    print_whole(screen, table, elsewhere="in the file")
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "1,234 km" in said
    assert "…" not in said
    told = " ".join(said.split("┘")[1].split())
    assert told == (f"The terminal is too narrow for {', '.join(names[shown:])}: in the file." if shown < 4 else "")
