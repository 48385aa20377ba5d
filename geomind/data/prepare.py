"""From sources to a manifest: every row is used or rejected with a reason, and the counts add up. It knows no model."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.csv_table import Append, append_rows
from geomind.data.manifest import manifest_writer, stored_path
from geomind.data.sources import Records, Source
from geomind.data.sources.exif import ExifFolder
from geomind.data.sources.table import Table
from geomind.errors import ManifestError, PhotoError
from geomind.files import atomic_path, refuse_existing
from geomind.geography.places import country_at
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.photos import open_photo, position_fault
from geomind.progress import SILENT, Progress

REJECTED_COLUMNS = ("image_path", "source", "line", "reason")

_CHUNK_ROWS = 10_000

_CHECKED_CHUNK_ROWS = 256
"""A chunk whose photos are decoded takes seconds, and the progress bar moves once a chunk."""


@dataclass(frozen=True)
class PrepareSummary:
    """What became of the rows of all sources; ``used + rejected == found``."""

    found: int
    used: int
    rejected: int
    reasons: Mapping[str, int]
    """Kind of reason (what stands before its colon) -> rows rejected for it, the most frequent first."""

    rejected_path: Path
    """The CSV of the rejected rows, there even without any."""


def prepare(
    sources: Sequence[Path],
    output: Path,
    *,
    regions: RegionTable,
    check_files: bool = True,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PrepareSummary:
    """Make a manifest of photos: where each was taken, its country and its region.

    Rows that cannot be used go to ``<output>.rejected.csv``: no usable position, the file of an earlier row again, or a
    photo that cannot be read. Photos are decoded for that (a JPEG at an eighth of its size), as only this finds a
    truncated one before a training does; it takes about as long as one epoch's reading.

    Args:
        sources: Folders of photos with GPS in their EXIF, and CSV files with a path, a latitude and a longitude a row.
        output: The manifest, .csv or .parquet.
        regions: Gives each country its region.
        check_files: Without, a table is taken at its word, and photos may be elsewhere.
        overwrite: Replace an existing manifest and its rejected rows.
        progress: Shows the rows done.

    Raises:
        ManifestError: a source cannot be read, or no row can be used; then only the rejected rows are written.
        PhotoError: a folder holds no photo.
        OutputError: the manifest exists already or cannot be written.
    """
    output = Path(output)
    rejected_path = output.with_name(f"{output.stem}.rejected.csv")
    for path in (output, rejected_path):
        refuse_existing(path, overwrite=overwrite)
    opened = [_open(Path(path)) for path in sources]
    extra_columns = tuple(dict.fromkeys(itertools.chain.from_iterable(source.extra_columns for source in opened)))
    folder = os.path.abspath(output.parent)  # noqa: PTH100  as the sources' paths, ".." resolved, links as written
    found = used = 0
    reasons: Counter[str] = Counter()
    checks = _Checks(regions, check_files=check_files)
    with (
        _rejected_writer(rejected_path) as reject,
        contextlib.suppress(_NothingUsableError),
        manifest_writer(output, extra_columns=extra_columns, overwrite=overwrite) as append,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.track("Reading photos" if check_files else "Reading rows", sum(s.total for s in opened)) as advance,
    ):
        rows_at_once = _CHECKED_CHUNK_ROWS if check_files else _CHUNK_ROWS
        for records in itertools.chain.from_iterable(source.chunks(rows_at_once) for source in opened):
            rows, faults = checks.run(records, pool)
            rows["image_path"] = [stored_path(path, folder) for path in rows["image_path"]]
            good = faults == ""
            lines = pd.Series(records.lines, dtype="Int64").where(records.lines > 0)
            reject(rows.assign(line=lines, reason=faults)[~good])
            append(rows[good].assign(**{name: "" for name in extra_columns if name not in rows}))
            found, used = found + len(rows), used + int(good.sum())
            reasons.update(str(fault).partition(": ")[0] for fault in faults[~good])
            advance(len(rows))
        if not used:
            raise _NothingUsableError
    if not used:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        raise ManifestError(
            f"None of the {found:,} photos can be used: {why}. {rejected_path} gives the reason of each; "
            "no manifest was written."
        )
    return PrepareSummary(found, used, found - used, dict(reasons.most_common()), rejected_path)


def _open(path: Path) -> Source:
    if path.is_dir():
        return ExifFolder.open(path)
    if not path.exists():
        raise ManifestError(f"There is no {path}. Name a folder of photos or a CSV.")
    if path.suffix.lower() != ".csv":
        raise ManifestError(f"{path} is neither a folder of photos nor a .csv.")
    return Table.open(path)


class _NothingUsableError(Exception):
    """Ends the writing of a manifest that would have no row, and not that of the rejected ones."""


@contextlib.contextmanager
def _rejected_writer(path: Path) -> Iterator[Append]:
    with atomic_path(path) as temporary, append_rows(temporary, REJECTED_COLUMNS) as append:
        yield append


class _Checks:
    """What every photo has to pass, wherever it comes from; it remembers the files it saw."""

    def __init__(self, regions: RegionTable, *, check_files: bool) -> None:
        self._regions = regions
        self._check_files = check_files
        self._seen = _Seen()

    def run(self, records: Records, pool: Executor) -> tuple[pd.DataFrame, NDArray[np.object_]]:
        """Fill in country and region, and say of each row why it cannot be used, "" where it can."""
        faults = records.faults.copy()
        points = records.rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
        paths = records.rows["image_path"].to_numpy(dtype=object)
        outside = ~((np.abs(points) <= (90, 180)).all(axis=1) & points.any(axis=1))
        for row in np.flatnonzero((faults == "") & outside):
            faults[row] = position_fault(*points[row])

        rows = np.flatnonzero(faults == "")
        keys = [_real_path(path) for path in paths[rows]] if self._check_files else paths[rows]
        again = self._seen.before(pd.util.hash_array(np.asarray(keys, dtype=object), categorize=False))
        faults[rows[again]] = "the same file as an earlier row"
        if self._check_files:
            rows = rows[~again]
            faults[rows] = list(pool.map(_unreadable, paths[rows]))

        good = faults == ""
        countries = np.full(len(faults), "", dtype=object)
        countries[good] = country_at(points[good])
        region_ids = self._regions.region_ids(countries)
        for row in np.flatnonzero(good & (region_ids == NO_REGION)):
            faults[row] = f"no region has its country: {countries[row] or 'the high seas'}"
        return records.rows.assign(country=pd.Series(countries, dtype="str"), region_id=region_ids), faults


class _Seen:
    """Remembers 64-bit keys in 8 bytes each, as sorted runs of growing length (a set would take 60)."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def before(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say which keys came before, here or in an earlier call, and remember them: (n,) -> (n,)."""
        fresh = np.zeros(len(keys), dtype=bool)
        fresh[np.unique(keys, return_index=True)[1]] = True
        for run in self._runs:
            fresh &= run[np.minimum(np.searchsorted(run, keys), len(run) - 1)] != keys
        new = np.sort(keys[fresh])
        while self._runs and len(self._runs[-1]) <= 2 * len(new):  # so that there are few runs and few merges
            new = np.sort(np.concatenate([self._runs.pop(), new]))
        if len(new):
            self._runs.append(new)
        return ~fresh


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in it; opening it will say so
        return path


def _unreadable(path: str) -> str:
    """Say why a photo cannot be decoded; "" where it can."""
    try:
        open_photo(path, min_side=1)
    except PhotoError as error:
        return str(error)
    return ""
