"""How long work tells how far it is. It does not print: the command line draws the bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

Advance = Callable[..., None]
"""``advance(steps=1, note="")``: so many steps more are done; the note is shown beside the bar."""


class Progress(Protocol):
    """Something that can show a piece of work."""

    def track(self, what: str, total: int | None) -> contextlib.AbstractContextManager[Advance]:
        """Show ``what`` while the block runs; ``total`` steps, or None where nobody knows."""
        ...


class Silent:
    """Shows nothing: what functions use when nobody watches."""

    @contextlib.contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        """Take the steps and show nothing."""
        del what, total
        yield _nothing


def _nothing(steps: float = 1, note: str = "") -> None:
    """Show no step."""
    del steps, note


SILENT = Silent()
