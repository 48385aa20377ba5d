"""Where photos with known places come from: one file per kind of source. None knows countries, regions or the manifest.

A source is read in chunks, so that its size does not matter, and judges only what it alone can see: a cell that is no
number, a photo without GPS. What is checked of every photo is checked in ``geomind.data.prepare``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Records:
    """Some photos of a source, in its order."""

    rows: pd.DataFrame
    """image_path (absolute), latitude, longitude (NaN where there is none), group, split, source and the source's own
    columns."""

    lines: NDArray[np.int64]
    """(n,) the line of the source's file where each row begins, 0 where there is no file of rows."""

    faults: NDArray[np.object_]
    """(n,) why a row cannot be used, "" where nothing is known against it."""


class Source(Protocol):
    """Something that lists photos and where they were taken."""

    @property
    def total(self) -> int:
        """How many rows there are, nearly; only the progress bar goes by it."""
        ...

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The source's own columns, known before the first row, as the manifest's header has to be."""
        ...

    def chunks(self, rows: int) -> Iterator[Records]:
        """Read the rows, so many at a time."""
        ...
