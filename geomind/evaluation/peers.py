"""Anybody's answers: a table with a path, a latitude and a longitude a row, under the names that people give them.

A predictions.csv of GeoMind is read as what it is. Of any other table the three columns are taken, and besides them
those that are called as in predictions.csv and hold what is judged: regions, probabilities, radii, abstention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from geomind.data.sources.table import NAMES, find_columns, table_file
from geomind.errors import ManifestError
from geomind.predictions import DECIMALS, REQUIRED_COLUMNS, Prediction, read_predictions
from geomind.spreadsheets import unguard

ANSWER_NAMES = MappingProxyType(
    {
        "image_path": (*NAMES["image_path"], "img_id", "image_id", "image", "id"),
        "latitude": ("pred_lat", "pred_latitude", "lat_pred", "latitude_pred", "predicted_lat", "predicted_latitude",
                     *NAMES["latitude"]),
        "longitude": ("pred_lon", "pred_lng", "pred_longitude", "lon_pred", "lng_pred", "longitude_pred",
                      "predicted_lon", "predicted_lng", "predicted_longitude", *NAMES["longitude"]),
    }
)  # fmt: skip
"""What a column may be called, in any case; the first that is there counts. A table that names its predictions has the
truth, if anything, under the plain name."""

JUDGED = (
    "region_id",
    "region_probability",
    "radius_km_50",
    "radius_km_90",
    "confidence",
    "abstained",
    "candidates",
    "error",
)
"""Columns of predictions.csv that are taken from other tables too."""

NO_PLACE = "no place in the row"
"""The error of a row whose latitude and longitude are empty."""

_NOT_ABSTAINED = ("", "0", "0.0", "false", "no", "nan", "none")

_ROWS_AT_ONCE = 20_000


def read_answers(
    path: Path | str, given: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Prediction], list[str]]:
    """Read answers, and say what a reader must know of how they were read.

    Args:
        path: a predictions.csv or .parquet, a folder of Parquet parts, or anybody's CSV, TSV or Parquet.
        given: image_path, latitude or longitude -> column of the table, where it calls them otherwise.

    Raises:
        ManifestError: the file cannot be read, has no such columns, or a row makes no sense; the message names the
            line.
    """
    path = Path(path)
    if path.is_dir():
        return read_predictions(path), []
    header = table_file(path).header()
    if set(header) >= set(REQUIRED_COLUMNS) and not given:
        return read_predictions(path), []
    columns = find_columns(path, header, given, ANSWER_NAMES)
    taken = {**columns, **{name: name for name in JUDGED if name in header and name not in columns.values()}}
    used = ", ".join(name if name == column else f"{column} for {name}" for name, column in taken.items())
    note = f"{path} is read as a table of answers with the columns {used}; its others are left alone."
    return list(_rows(path, taken)), [note]


def _rows(path: Path, columns: dict[str, str]) -> Iterator[Prediction]:
    place = "row" if path.suffix.lower() == ".parquet" else "line"
    for chunk in table_file(path).chunks(_ROWS_AT_ONCE, 0):
        cells = {name: chunk.cells[column].tolist() for name, column in columns.items()}
        for i, (line, fault) in enumerate(zip(chunk.lines.tolist(), chunk.faults.tolist(), strict=True)):
            where = f"{path}, {place} {line}"
            if fault:
                raise ManifestError(f"{where}: {fault}.")
            try:
                values = {name: _value(name, columns[name], column[i]) for name, column in cells.items()}
                if values["latitude"] is None and values["longitude"] is None:
                    values["error"] = values.get("error") or NO_PLACE
                else:
                    values.pop("error", None)  # of an answer it may be anything, kilometres too
                yield Prediction(**values)
            except ValueError as error:
                raise ManifestError(f"{where}: {str(error).rstrip('.')}.") from error


def _value(name: str, column: str, cell: str) -> Any:
    """Read one cell; empty, and the NaN that libraries write for nothing, is None.

    Raises:
        ValueError: the column holds numbers and the cell none.
    """
    if name == "abstained" and cell.strip().lower() in _NOT_ABSTAINED:
        return None
    if name not in DECIMALS:
        return unguard(cell)
    try:
        number = float(cell) if cell.strip() else math.nan
    except ValueError:
        raise ValueError(f"{column} is not a number: {cell[:40]!r}") from None
    return None if math.isnan(number) else number
