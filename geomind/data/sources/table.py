"""A CSV that says where photos were taken: path, latitude and longitude a row, under any of their usual names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geomind.data.csv_table import read_chunks, read_header
from geomind.data.manifest import COLUMNS
from geomind.data.sources import Records
from geomind.errors import ManifestError

NAMES = {
    "image_path": ("image_path", "filename", "path", "file"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
}
"""What a column may be called, in any case; the first that is there counts, and a second is kept as it is."""

_KEPT = {"group": ("group", "pano_id"), "split": ("split",), "source": ("source",)}
"""Taken over where the table has them; photos cut from one panorama are a group. A country or region is not: both
follow from the coordinates."""


@dataclass(frozen=True)
class Table:
    """A CSV of photos and their places; relative paths are relative to its folder."""

    path: Path
    columns: dict[str, str]
    """Column of the manifest -> column of the table."""

    extra_columns: tuple[str, ...]
    total: int

    @classmethod
    def open(cls, path: Path) -> Table:
        """Read the header of a table.

        Raises:
            ManifestError: the file cannot be read, or lacks a column.
        """
        header = read_header(path)
        by_name = {name.lower(): name for name in reversed(header)}
        columns = {}
        for column, names in (NAMES | _KEPT).items():
            if found := [by_name[name] for name in names if name in by_name]:
                columns[column] = found[0]
            elif column in NAMES:
                raise ManifestError(
                    f"{path} has no column for {column}: it has {', '.join(header)[:200]}. "
                    f"Call one of them {' or '.join(names)}, and separate columns by commas."
                )
        used = {columns[column] for column in NAMES} | {name for name in header if name.lower() in COLUMNS}
        extra = tuple(name for name in header if name not in used)
        return cls(path, columns, extra, _count_lines(path) - 1)

    def chunks(self, rows: int) -> Iterator[Records]:
        """Read the table, so many rows at a time.

        Raises:
            ManifestError: the file is no CSV in UTF-8; the message says on which line.
        """
        folder = os.path.abspath(self.path.parent)  # noqa: PTH100  strings: a million Paths take too long
        for chunk in read_chunks(self.path, rows):
            cells, faults = chunk.cells, chunk.faults.copy()
            paths = cells[self.columns["image_path"]].tolist()
            _note(faults, "no path", [path == "" for path in paths])
            places = {}
            for name in ("latitude", "longitude"):
                text = cells[self.columns[name]]
                places[name] = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
                _note(faults, f"{name} is not a number", np.isnan(places[name]), text)
            absolute = [os.path.normpath(os.path.join(folder, path)) if path else "" for path in paths]  # noqa: PTH118
            frame = pd.DataFrame({"image_path": pd.Series(absolute, dtype="str")}).assign(**places)
            for column in _KEPT:
                frame[column] = cells[self.columns[column]] if column in self.columns else ""
            frame["source"] = frame["source"].where(frame["source"] != "", self.path.name)
            extra = {name: cells[name] for name in self.extra_columns}
            yield Records(frame.assign(**extra), chunk.lines, faults)


def _note(faults: NDArray[np.object_], reason: str, wrong: ArrayLike, cells: pd.Series[str] | None = None) -> None:
    """Write down what is wrong with some rows that were faultless so far, and the cell that is."""
    for row in np.flatnonzero(np.asarray(wrong) & (faults == "")):
        faults[row] = reason if cells is None else f"{reason}: {cells.iloc[row][:40]!r}"


def _count_lines(path: Path) -> int:
    """Count the lines of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
