"""Predictions as Parquet: the columns of the CSV with their types, some thousand rows at a time.

Texts are written as in the CSV (``geomind.spreadsheets``): a file name that is no UTF-8 reads back as the same bytes,
and a Parquet that becomes a CSV elsewhere is as safe in a spreadsheet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from geomind.errors import ManifestError
from geomind.predictions import DECIMALS, Prediction, readable_columns
from geomind.spreadsheets import guard, unguard

ROWS_AT_ONCE = 20_000
"""Rows of a row group: some 10 MB while it is made, and large enough to compress well."""


def write(predictions: Iterable[Prediction], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write predictions as row groups; return how many."""
    schema = pa.schema([(name, _type(name)) for name in columns])
    rows, count = iter(predictions), 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while part := list(itertools.islice(rows, ROWS_AT_ONCE)):
            values = {name: [_stored(getattr(each, name)) for each in part] for name in columns}
            writer.write_table(pa.table(values, schema=schema))
            count += len(part)
    return count


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read row by row: where it stands, and its values by column.

    A folder of parts, as a cluster writes it, is read in the order of their names.

    Raises:
        ManifestError: the file cannot be read or is not a Parquet of predictions.
    """
    if path.is_dir():
        parts = sorted(path.glob("part-*.parquet"))
        if not parts:
            raise ManifestError(f"{path} is a folder without parts of predictions. Name the file, or another folder.")
        for part in parts:
            for where, values in read(part):
                yield f"{part.name}, {where}", values
        return
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            names = readable_columns(file.schema_arrow.names, path)
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    values = {name: unguard(value) if isinstance(value, str) else value for name, value in row.items()}
                    yield f"row {number}", values
    except pa.ArrowException as error:
        raise ManifestError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}.") from error
    except OSError as error:
        raise ManifestError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error


def _type(name: str) -> pa.DataType:
    if name not in DECIMALS:
        return pa.string()
    return pa.float64() if DECIMALS[name] else pa.int32()


def _stored(value: str | float | None) -> str | float | None:
    return guard(value) if isinstance(value, str) else value
