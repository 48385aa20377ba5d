"""Where the tables of results go: stdout. It knows no table."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

PIPED_COLUMNS = 200
"""A file has no width, and rich takes it for 80 columns: it would cut figures."""


def console() -> Console:
    """Give a console for results: as wide as the terminal, or ``PIPED_COLUMNS`` into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def print_whole(screen: Console, table: Table, *, elsewhere: str) -> None:
    """Print a table without cutting a figure: where a terminal is too narrow, the last columns are left out.

    Args:
        screen: Where to.
        table: What; it loses the columns.
        elsewhere: Where the columns that are left out are to be found.
    """
    left_out: list[str] = []
    endless = screen.options.update(width=10_000)  # a measure is never more than the width there is
    while len(table.columns) > 2 and Measurement.get(screen, endless, table).maximum > screen.width:
        left_out.insert(0, str(table.columns.pop().header))
    screen.print(table)
    if left_out:
        screen.print(f"The terminal is too narrow for {', '.join(left_out)}: {elsewhere}.")
