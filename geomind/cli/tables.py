"""Where the tables of results go: stdout. It knows no table."""

from __future__ import annotations

import sys

from rich.console import Console

PIPED_COLUMNS = 200
"""A file has no width, and rich takes it for 80 columns: it would cut figures."""


def console() -> Console:
    """Give a console for results: as wide as the terminal, or ``PIPED_COLUMNS`` into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)
