"""Predictions as CSV, whose cells no spreadsheet runs: see ``geomind.spreadsheets``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from geomind.errors import ManifestError
from geomind.predictions import DECIMALS, Prediction, readable_columns
from geomind.spreadsheets import guard, unguard


def write(predictions: Iterable[Prediction], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write a header and one row a prediction; return how many."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    count = 0
    for prediction in predictions:
        writer.writerow([_cell(name, getattr(prediction, name)) for name in columns])
        count += 1
    text.flush()
    text.detach()  # otherwise the file is closed with the wrapper
    return count


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read row by row: where it stands, and its values by column.

    Raises:
        ManifestError: the file cannot be read or is not a CSV of predictions, or a cell holds no number where one
            belongs.
    """
    try:
        # utf-8-sig: a spreadsheet that saves the file again puts a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = readable_columns(reader.fieldnames or (), path)
            for row in reader:
                where = f"line {reader.line_num}"
                if None in row:
                    raise ManifestError(f"{path}, {where}: the row has more cells than the header.")
                try:
                    values = {name: _value(name, row[name]) for name in names}
                except ValueError as error:
                    raise ManifestError(f"{path}, {where}: {error}") from error
                yield where, values
    except OSError as error:
        raise ManifestError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} is not a CSV file in UTF-8: {error}. Write it again with `geomind infer`."
        ) from error


def _cell(name: str, value: str | float | None) -> str:
    """Write one value as a cell that no spreadsheet runs and that ``_value`` reads back exactly."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"{value:.{DECIMALS[name]}f}"
    return guard(value)


def _value(name: str, cell: str | None) -> str | float | None:
    """Read one cell: the inverse of ``_cell``.

    Raises:
        ValueError: the column holds numbers and the cell none, or the row is too short.
    """
    if cell is None:
        raise ValueError(f"the row ends before {name}.")
    if cell == "":
        return None
    if name in DECIMALS:
        try:
            return float(cell)
        except ValueError:
            raise ValueError(f"{name} '{cell}' is not a number.") from None
    return unguard(cell)
