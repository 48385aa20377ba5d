"""CSV as columns of text, chunk by chunk, every row with its line in the file. It knows no photos.

Python's own reader is used, not pandas': no cell is taken for a missing value (``NA`` is Namibia) or a number, a row of
another length is seen, and a row with line breaks in its cells still knows where it begins.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.errors import ManifestError, OutputError

Append = Callable[[pd.DataFrame], None]
"""Writes the rows of a frame behind those already written; the frame has the file's columns, perhaps among others."""


@dataclass(frozen=True)
class CsvChunk:
    """Some rows of a CSV, in its order."""

    cells: pd.DataFrame
    """Every column that has a name, as text."""

    lines: NDArray[np.int64]
    """(n,) the line of the file where each row begins; the header is line 1."""

    faults: NDArray[np.object_]
    """(n,) why a row does not fit the header, "" where it does. Missing cells of such a row are empty."""


def read_header(path: Path, *, delimiter: str = ",") -> tuple[str, ...]:
    """Read the names of a CSV's columns, without the spaces around them; columns without a name are ignored.

    Raises:
        ManifestError: the file cannot be read, is empty, or names a column twice.
    """
    with _rows(path, delimiter) as rows:
        return tuple(name for name in _header(path, rows) if name)


def count_rows(path: Path, *, delimiter: str = ",") -> int:
    """Count the rows of a CSV: not its lines, as a cell may hold some.

    Raises:
        ManifestError: the file cannot be read, or is no CSV in UTF-8.
    """
    with _rows(path, delimiter) as rows:
        _header(path, rows)
        return sum(1 for _ in rows)


def read_chunks(path: Path, rows: int, *, skip: int = 0, delimiter: str = ",") -> Iterator[CsvChunk]:
    """Read a CSV in chunks of so many rows, without the first ``skip``; blank lines are no rows.

    Raises:
        ManifestError: the file cannot be read, or is no CSV in UTF-8; the message says on which line.
    """
    with _rows(path, delimiter) as numbered:
        header = _header(path, numbered)
        next(itertools.islice(numbered, skip, skip), None)
        while chunk := list(itertools.islice(numbered, rows)):
            lines, cells = zip(*chunk, strict=True)
            faults = np.full(len(chunk), "", dtype=object)
            fitting = list(cells)
            lengths = np.fromiter(map(len, cells), dtype=np.int64)
            for i in np.flatnonzero(lengths != len(header)):
                faults[i] = f"wrong number of cells: {lengths[i]}, the header has {len(header)}"
                fitting[i] = (cells[i] + [""] * len(header))[: len(header)]
            columns = dict(zip(header, zip(*fitting, strict=True), strict=True))
            frame = pd.DataFrame({name: pd.Series(column, dtype="str") for name, column in columns.items() if name})
            yield CsvChunk(frame, np.array(lines, dtype=np.int64), faults)


class CsvWriter:
    """Writes a CSV from frames, one behind the other; it reads back cell by cell as it was."""

    def __init__(self, path: Path, columns: Sequence[str], *, keep_bytes: int | None = None) -> None:
        """Begin a file with its header, or cut one after its first ``keep_bytes`` and go on there.

        Raises:
            OutputError: the file has fewer bytes than are to be kept.
        """
        if keep_bytes is not None and (size := path.stat().st_size) < keep_bytes:
            raise OutputError(
                f"{path} is damaged: {size:,} bytes are left of {keep_bytes:,}. Delete it and begin anew."
            )
        self._columns = list(columns)
        self._file = path.open("w" if keep_bytes is None else "r+", encoding="utf-8", newline="")
        if keep_bytes is None:
            csv.writer(self._file, lineterminator="\n").writerow(columns)
        else:
            self._file.truncate(keep_bytes)
            self._file.seek(0, os.SEEK_END)

    def append(self, frame: pd.DataFrame) -> None:
        """Write the rows of a frame; it has the file's columns, perhaps among others."""
        text = frame[self._columns].select_dtypes(exclude="number")
        # The csv module quotes a cell with a line feed, and forgets a lone carriage return, which ends a line too.
        returns = any(text[name].astype("str").str.contains("\r", regex=False).any() for name in text)
        quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
        frame.to_csv(  # type: ignore[call-overload]  # the stubs want quoting as a literal
            self._file, columns=self._columns, header=False, index=False, lineterminator="\n", quoting=quoting
        )

    def sync(self) -> int:
        """Bring everything to the disk, and say how many bytes that are."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def append_rows(path: Path, columns: Sequence[str]) -> Iterator[Append]:
    """Write a CSV from frames, header first; it is closed when the block ends."""
    with contextlib.closing(CsvWriter(path, columns)) as writer:
        yield writer.append


@contextlib.contextmanager
def _rows(path: Path, delimiter: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Open a CSV as its rows, blank ones left out, each with the line where it begins.

    Raises:
        ManifestError: inside the block too, whatever is wrong with the file.
    """
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict: otherwise a quote that is never closed swallows all rows behind it without a word.
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            yield _numbered(reader)
    except OSError as error:
        raise ManifestError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        line = _undecodable_line(path)
        raise ManifestError(f"{path}, line {line}: not UTF-8. Save the table as CSV in UTF-8.") from error
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise ManifestError(
            f"{path}, line {line}: no CSV: {error}. A quote may be open since an earlier line."
        ) from error


def _numbered(reader: csv._reader) -> Iterator[tuple[int, list[str]]]:  # type: ignore[name-defined]
    line = 1
    for row in reader:
        if row:
            yield line, row
        line = reader.line_num + 1


def _header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> tuple[str, ...]:
    _, cells = next(rows, (0, []))
    header = tuple(cell.strip() for cell in cells)
    if not any(header):
        raise ManifestError(f"{path} is empty. Its first line must name the columns.")
    if twice := {name for name in header if name and header.count(name) > 1}:
        raise ManifestError(f"{path}, line 1: the column '{min(twice)}' is there twice. Rename or remove one.")
    return header


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
