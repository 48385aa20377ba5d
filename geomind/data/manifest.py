"""The manifest: the one table of photos and where they were taken. It opens no photo.

A manifest is a CSV or Parquet file with one row a photo. ``image_path`` is written relative to the manifest's folder
for a photo below it, so that the folder can be moved as a whole, and absolute for any other.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from geomind.data.csv_table import Append, append_rows, read_chunks, read_header
from geomind.errors import ManifestError, OutputError
from geomind.files import atomic_path, refuse_existing
from geomind.photos import position_fault

COLUMNS = ("image_path", "latitude", "longitude", "country", "region_id", "group", "split", "source")
"""The columns of every manifest, in order; others may follow and are kept as text.

country: ISO 3166-1 alpha-2, "" at sea. group: ties photos that must stay in one split, "" ties nothing. split: train,
validation, test … or "". source: where the row came from.
"""

CITY = "city"
"""A column that ``geomind prepare`` adds: the nearest town of the photo's country, "" where none is near."""

_NUMBERS = ("latitude", "longitude", "region_id")

_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@")

_CHUNK_ROWS = 5_000

_ROW_GROUP_ROWS = 50_000


def read_manifest(path: Path | str) -> pd.DataFrame:
    """Read a manifest: float64 latitude and longitude, Int64 region_id, every other column text, "" where empty.

    Paths are left as they are written; ``photo_path`` says where a photo is.

    Raises:
        ManifestError: the file cannot be read, a column is missing, it has no row, or a cell makes no sense; the
            message names the line.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        frame = _read_parquet(path)
        numbers = np.arange(1, len(frame) + 1)
        place = "row"
    else:
        chunks = []
        for chunk in read_chunks(path, _CHUNK_ROWS):
            if (odd := chunk.faults != "").any():
                first = int(np.argmax(odd))
                raise ManifestError(f"{path}, line {chunk.lines[first]}: {chunk.faults[first]}.")
            chunks.append(chunk)
        if not chunks:
            raise ManifestError(f"{path} has no row.")
        frame = pd.concat([chunk.cells for chunk in chunks], ignore_index=True)
        numbers = np.concatenate([chunk.lines for chunk in chunks])
        place = "line"
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ManifestError(_missing_columns(path, missing, list(frame.columns)))
    if frame.empty:
        raise ManifestError(f"{path} has no row.")
    return _typed(frame, lambda row: f"{path}, {place} {numbers[row]}")


def photo_path(manifest: Path | str, image_path: str) -> Path:
    """Say where a photo of a manifest is: its ``image_path``, taken from the manifest's folder."""
    return Path(manifest).parent / image_path


def stored_path(photo: str, folder: str) -> str:
    """Write a photo's path for a manifest in a folder; both are absolute.

    Below the folder it becomes relative, with "/" on every system. A name that a spreadsheet would run gets a "./".
    """
    prefix = folder if folder.endswith(os.sep) else folder + os.sep
    if not photo.startswith(prefix):
        return photo
    relative = photo[len(prefix) :]
    if os.sep != "/":
        relative = relative.replace(os.sep, "/")
    return f"./{relative}" if relative.startswith(_RUN_BY_SPREADSHEETS) else relative


def rebased_paths(image_paths: Sequence[str], manifest: Path | str, output: Path | str) -> list[str]:
    """Write the paths of one manifest as another manifest, perhaps in another folder, has to write them."""
    before, after = (os.path.abspath(Path(path).parent) for path in (manifest, output))  # noqa: PTH100  links stay
    if before == after:
        return list(image_paths)
    return [stored_path(os.path.normpath(os.path.join(before, path)), after) for path in image_paths]  # noqa: PTH118


def write_manifest(frame: pd.DataFrame, path: Path | str, *, overwrite: bool = False) -> None:
    """Write a manifest, CSV or Parquet by its ending; columns beside ``COLUMNS`` follow them.

    The paths in it must already be meant from the manifest's folder; ``stored_path`` makes them so.

    Raises:
        OutputError: it cannot be written, or exists and ``overwrite`` is false.
    """
    extra = [str(name) for name in frame.columns if name not in COLUMNS]
    with manifest_writer(path, extra_columns=extra, overwrite=overwrite) as append:
        append(frame)


@contextlib.contextmanager
def manifest_writer(
    path: Path | str, *, extra_columns: Sequence[str] = (), overwrite: bool = False
) -> Iterator[Append]:
    """Write a manifest from frames, one after the other; it is there when the block has ended well, and not before.

    Raises:
        OutputError: it cannot be written, or exists and ``overwrite`` is false.
    """
    path = Path(path)
    columns = [*COLUMNS, *extra_columns]
    check_ending(path)
    refuse_existing(path, overwrite=overwrite)
    write = append_rows if path.suffix.lower() == ".csv" else _append_parquet
    with atomic_path(path) as temporary, write(temporary, columns) as append:
        yield append


def check_ending(path: Path) -> None:
    """Refuse a name that no manifest can have.

    Raises:
        OutputError: it ends neither in .csv nor in .parquet.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise OutputError(f"A manifest ends in .csv or .parquet; {path} does not.")


def convert_manifest(rows: Path, path: Path) -> None:
    """Move a manifest that is a CSV to its place, in the format of its ending; what was there is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    if path.suffix.lower() == ".csv":
        rows.replace(path)
        return
    extra = [name for name in read_header(rows) if name not in COLUMNS]
    with manifest_writer(path, extra_columns=extra, overwrite=True) as append:
        for chunk in read_chunks(rows, _ROW_GROUP_ROWS):
            append(_typed(chunk.cells, lambda row: f"{rows}, row {row}"))
    rows.unlink()


@contextlib.contextmanager
def _append_parquet(path: Path, columns: Sequence[str]) -> Iterator[Append]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"latitude": pa.float64(), "longitude": pa.float64(), "region_id": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    with pq.ParquetWriter(path, schema) as writer:

        def append(frame: pd.DataFrame) -> None:
            text = {name: frame[name].astype("str") for name in columns if name not in types}
            writer.write_table(pa.Table.from_pandas(frame.assign(**text), schema=schema, preserve_index=False))

        yield append


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise ManifestError(f"Cannot read {path}: {reason.lower().rstrip('.')}.") from error
    text = [name for name in frame.columns if name not in _NUMBERS]
    return frame.assign(**{name: frame[name].astype("str").where(frame[name].notna(), "") for name in text})


def _missing_columns(path: Path, missing: Sequence[str], present: Sequence[str]) -> str:
    spare = [name for name in present if name not in COLUMNS]
    shortened = [name for name in spare if missing[0].startswith(name.lower())]  # lat, lon
    nearest = shortened or difflib.get_close_matches(missing[0], spare, n=1)
    hint = f" (is '{nearest[0]}' meant?)" if nearest else ""
    more = f" It also lacks {', '.join(missing[1:])}." if missing[1:] else ""
    return (
        f"{path} is no manifest: it has no column '{missing[0]}'{hint}.{more} "
        f"Make a manifest of it with `geomind prepare {path} --output manifest.csv`."
    )


def _typed(frame: pd.DataFrame, where: Callable[[int], str]) -> pd.DataFrame:
    """Turn the columns of text into their types.

    Raises:
        ManifestError: a cell makes no sense.
    """
    if (empty := (frame["image_path"] == "").to_numpy()).any():
        raise ManifestError(f"{where(int(np.argmax(empty)))}: image_path is empty.")
    latitude, longitude = (_float_column(frame[name], name, where) for name in ("latitude", "longitude"))
    if (outside := ~((np.abs(latitude) <= 90) & (np.abs(longitude) <= 180))).any():
        row = int(np.argmax(outside))
        raise ManifestError(f"{where(row)}: {position_fault(latitude[row], longitude[row])}.")
    cells = frame["region_id"]
    given = (cells.notna() & (cells.astype("str") != "")).to_numpy()
    region_id = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    ids = _float_column(cells[given], "region_id", lambda row: where(int(np.flatnonzero(given)[row])))
    if (broken := ~np.isfinite(ids) | (ids != np.floor(ids)) | (np.abs(ids) > 2**31)).any():
        row = int(np.argmax(broken))
        raise ManifestError(f"{where(int(np.flatnonzero(given)[row]))}: region_id is no whole number: {ids[row]:g}.")
    region_id[given] = ids.astype(np.int64)
    return frame.assign(latitude=latitude, longitude=longitude, region_id=region_id)


def _float_column(cells: pd.Series, name: str, where: Callable[[int], str]) -> np.ndarray:
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    if (wrong := np.isnan(numbers)).any():
        row = int(np.argmax(wrong))
        raise ManifestError(f"{where(row)}: {name} is not a number: {str(cells.iloc[row])[:40]!r}.")
    return numbers
