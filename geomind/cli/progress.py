"""Progress bars on stderr, so that stdout holds results only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from geomind.devices import is_first_process
from geomind.progress import SILENT, Advance, Progress

stderr = Console(stderr=True, width=None if sys.stderr.isatty() else 200)  # a log file wants its lines whole


def bars() -> Progress:
    """Give bars to the process that prints."""
    return Bars() if is_first_process() else SILENT


class Bars:
    """Shows each piece of work as a bar: how far, how long, how much longer, and a note."""

    def __init__(self) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=stderr,
        )
        self._open = 0

    @contextlib.contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show ``what`` while the block runs; a bar inside another one goes away when it is done."""
        if self._open == 0:
            self._bars.start()
        self._open += 1
        task = self._bars.add_task(what, total=total, note="")

        def advance(steps: float = 1, note: str = "") -> None:
            if note:
                self._bars.update(task, advance=steps, note=note)
            else:
                self._bars.update(task, advance=steps)

        try:
            yield advance
        finally:
            self._open -= 1
            if self._open == 0:
                self._bars.stop()
                for done in self._bars.task_ids:
                    self._bars.remove_task(done)
            else:
                self._bars.remove_task(task)
