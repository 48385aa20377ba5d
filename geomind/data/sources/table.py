"""A table that says where photos were taken: path, latitude and longitude a row, under any of their usual names.

CSV, TSV and Parquet. The published data sets are such tables too, each with its own names and folders.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geomind.data.csv_table import CsvChunk, count_rows, read_chunks, read_header
from geomind.data.manifest import CITY, COLUMNS
from geomind.data.sources import NOTHING_LEFT_OUT, Records, file_fingerprint
from geomind.errors import ManifestError

NAMES = {
    "image_path": ("image_path", "filename", "path", "file"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
}
"""What a column may be called, in any case; the first that is there counts, and a second is kept as it is."""

_KEPT = {"group": ("group", "pano_id"), "split": ("split",), "source": ("source",)}
"""Taken over where the table has them; photos cut from one panorama are a group. Country, region and city are not: they
follow from the coordinates."""

Locate = Callable[[Sequence[str]], list[str]]
"""Says where photos are: the cells of the column of paths -> absolute paths."""

Tie = Callable[[Sequence[str]], list[str]]
"""Says what photos belong together: the cells of the column of paths -> groups."""


@dataclass(frozen=True)
class Table:
    """A table of photos and their places."""

    path: Path
    columns: Mapping[str, str]
    """Column of the manifest -> column of the table."""

    extra_columns: tuple[str, ...]
    total: int
    locate: Locate
    source: str
    """Written to the manifest in rows that name no other."""
    split: str = ""
    """As ``source``."""
    tie: Tie | None = None
    """Gives the groups that no column holds."""

    left_out: ClassVar[Mapping[str, int]] = NOTHING_LEFT_OUT

    @classmethod
    def open(
        cls,
        path: Path,
        columns: Mapping[str, str] = MappingProxyType({}),
        *,
        images_dir: Path | None = None,
        locate: Locate | None = None,
        source: str | None = None,
        split: str = "",
        tie: Tie | None = None,
    ) -> Table:
        """Read the header of a table.

        Args:
            path: A .csv, .tsv or .parquet; any other file is taken for a CSV, or for a TSV if its header has tabs.
            columns: Column of the manifest -> column of the table, where the table calls it otherwise.
            images_dir: What relative paths are relative to, the table's folder if left out.
            locate: Says where photos are, instead of ``images_dir``.
            source: Name of the source, the file's if left out.
            split: The split of all its photos.
            tie: Says what photos belong together, where no column does.

        Raises:
            ManifestError: the file cannot be read, or lacks a column.
        """
        file = table_file(path)
        header = file.header()
        found = find_columns(path, header, columns, NAMES, _KEPT)
        used = {found[column] for column in NAMES} | {name for name in header if name.lower() in (*COLUMNS, CITY)}
        extra = tuple(name for name in header if name and name not in used)  # pandas' row numbers have no name
        folder = os.path.abspath(path.parent if images_dir is None else images_dir)  # noqa: PTH100
        locate = locate or partial(below, folder)
        return cls(path, found, extra, file.count_nearly(), locate, source or path.name, split, tie)

    @property
    def fingerprint(self) -> str:
        """What the rows depend on."""
        return f"{file_fingerprint(self.path)}, {sorted(self.columns.items())}"

    def count(self) -> int:
        """Count the rows."""
        return table_file(self.path).count()

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read the table, so many rows at a time.

        Raises:
            ManifestError: the file is broken; the message says on which line.
        """
        for chunk in table_file(self.path).chunks(rows, skip):
            cells, faults = chunk.cells, chunk.faults.copy()
            names = cells[self.columns["image_path"]].tolist()
            _note(faults, "no path", [name == "" for name in names])
            places = {}
            for name in ("latitude", "longitude"):
                text = cells[self.columns[name]]
                places[name] = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
                _note(faults, f"{name} is not a number", np.isnan(places[name]), text)
            frame = pd.DataFrame({"image_path": pd.Series(self.locate(names), dtype="str")}).assign(**places)
            for column in _KEPT:
                frame[column] = cells[self.columns[column]] if column in self.columns else ""
            if self.tie is not None:
                frame["group"] = pd.Series(self.tie(names), dtype="str")
            for column, value in (("source", self.source), ("split", self.split)):
                frame[column] = frame[column].where(frame[column] != "", value)
            extra = {name: cells[name] for name in self.extra_columns}
            yield Records(frame.assign(**extra), chunk.lines, faults)


@dataclass(frozen=True)
class Tables:
    """Several tables that are one source."""

    tables: tuple[Table, ...]

    left_out: ClassVar[Mapping[str, int]] = NOTHING_LEFT_OUT

    @property
    def total(self) -> int:
        """How many rows they have together, nearly."""
        return sum(table.total for table in self.tables)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns of all."""
        return tuple(dict.fromkeys(name for table in self.tables for name in table.extra_columns))

    @property
    def fingerprint(self) -> str:
        """What the rows depend on."""
        return "; ".join(f"{table.path}: {table.fingerprint}" for table in self.tables)

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read one table after the other.

        Raises:
            ManifestError: a file is broken; the message says on which line.
        """
        for table in self.tables:
            if skip and skip >= (count := table.count()):
                skip -= count
                continue
            yield from table.chunks(rows, skip)
            skip = 0


def table_file(path: Path) -> CsvFile | ParquetFile:
    """Choose how a table is read, by its name."""
    return ParquetFile(path) if path.suffix.lower() == ".parquet" else CsvFile(path)


@dataclass(frozen=True)
class CsvFile:
    """A CSV or TSV on the disk."""

    path: Path

    def header(self) -> tuple[str, ...]:
        """Read the names of the columns."""
        return read_header(self.path, delimiter=self._delimiter())

    def count(self) -> int:
        """Count the rows."""
        return count_rows(self.path, delimiter=self._delimiter())

    def count_nearly(self) -> int:
        """Count the lines without the header, which is quick."""
        with self.path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b"")) - 1

    def chunks(self, rows: int, skip: int) -> Iterator[CsvChunk]:
        """Read the rows."""
        return read_chunks(self.path, rows, skip=skip, delimiter=self._delimiter())

    def _delimiter(self) -> str:
        suffix = self.path.suffix.lower()
        if suffix in (".tsv", ".tab"):
            return "\t"
        if suffix != ".csv":
            with contextlib.suppress(OSError), self.path.open("rb") as file:
                first = file.readline(2**16)
                return "\t" if first.count(b"\t") > first.count(b",") else ","
        return ","


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file on the disk, its cells as text; columns of bytes and of nested values are left out."""

    path: Path

    def header(self) -> tuple[str, ...]:
        """Read the names of the columns."""
        import pyarrow.types as kinds

        with self._open() as file:
            schema = file.schema_arrow
        columns = tuple(
            column.name
            for column in schema
            if not (
                kinds.is_nested(column.type)
                or kinds.is_binary(column.type)
                or kinds.is_large_binary(column.type)
                or kinds.is_fixed_size_binary(column.type)
                or column.name.startswith("__index_level_")  # pandas' row numbers
            )
        )
        if twice := {name for name in columns if columns.count(name) > 1}:
            raise ManifestError(f"{self.path}: the column '{min(twice)}' is there twice. Rename or remove one.")
        return columns

    def count(self) -> int:
        """Count the rows."""
        with self._open() as file:
            return int(file.metadata.num_rows)

    count_nearly = count

    def chunks(self, rows: int, skip: int) -> Iterator[CsvChunk]:
        """Read the rows; none of a chunk is of another row group than the rest."""
        import pyarrow as pa

        header, read = list(self.header()), 0
        try:
            with self._open() as file:
                for group in range(file.num_row_groups):
                    if (count := file.metadata.row_group(group).num_rows) <= skip - read:
                        read += count
                        continue
                    for batch in file.iter_batches(rows, row_groups=[group], columns=header):
                        if read >= skip:
                            cells = [batch.column(name).cast(pa.string()).fill_null("") for name in header]
                            frame = pd.DataFrame(
                                {
                                    name: column.to_pandas().astype("str")
                                    for name, column in zip(header, cells, strict=True)
                                }
                            )
                            lines = np.arange(read + 1, read + 1 + len(batch))
                            yield CsvChunk(frame, lines, np.full(len(batch), "", dtype=object))
                        read += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise ManifestError(f"Cannot read {self.path}: {_first_line(error)}.") from error

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise ManifestError(f"Cannot read {self.path}: {_first_line(error)}.") from error


def find_columns(
    path: Path,
    header: Sequence[str],
    given: Mapping[str, str],
    needed: Mapping[str, Sequence[str]],
    kept: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, str]:
    """Find a table's columns.

    Args:
        path: the table, for messages.
        header: its columns.
        given: column -> column of the table, where the user said so.
        needed: column -> what it may be called, in any case.
        kept: the same, for columns that need not be there.

    Returns:
        Column -> column of the table.

    Raises:
        ManifestError: one is missing, or what was given is not there.
    """
    has = f"it has {', '.join(header)[:200]}"
    taken: dict[str, str] = {}
    for column, name in given.items():
        if column not in {*needed, *kept}:
            raise ManifestError(f"A table gives no column '{column}'. Choose among {', '.join([*needed, *kept])}.")
        if name not in header:
            raise ManifestError(f"{path} has no column '{name}' for {column}: {has}.")
        if name in taken:
            raise ManifestError(f"The column '{name}' cannot be both {taken[name]} and {column}. Name two columns.")
        taken[name] = column
    by_name = {name.lower(): name for name in reversed(header) if name not in taken}
    columns = dict(given)
    for column, names in [*needed.items(), *kept.items()]:
        if column in columns:
            continue
        if found := [by_name[name] for name in names if name in by_name]:
            columns[column] = found[0]
        elif column in needed:
            raise ManifestError(
                f"{path} has no column for {column}: {has}. Call one of them {' or '.join(names)}, "
                f"or say which it is with --columns {column}=NAME; separate columns by commas, or by tabs in a .tsv."
            )
    return columns


def below(folder: str, names: Sequence[str]) -> list[str]:
    """Place relative paths in a folder."""
    # Strings: a million Paths take too long.
    return [os.path.normpath(os.path.join(folder, name)) if name else "" for name in names]  # noqa: PTH118


def _note(faults: NDArray[np.object_], reason: str, wrong: ArrayLike, cells: pd.Series[str] | None = None) -> None:
    """Write down what is wrong with some rows that were faultless so far, and the cell that is."""
    for row in np.flatnonzero(np.asarray(wrong) & (faults == "")):
        faults[row] = reason if cells is None else f"{reason}: {cells.iloc[row][:40]!r}"


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0].lower().rstrip(".")
