"""From sources to a manifest: every row is used or rejected with a reason, and the counts add up. It knows no model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import geomind
from geomind.data.csv_table import read_chunks, read_header
from geomind.data.journal import Done, Journal, open_journal
from geomind.data.manifest import (
    CITY,
    COLUMNS,
    check_ending,
    convert_manifest,
    manifest_writer,
    photo_path,
    stored_path,
)
from geomind.data.shards import SHARD_MB, ShardWriter, refuse_shards
from geomind.data.sources import Format, ReadOptions, Records, Source, open_source, recognise, refuse_idle_options
from geomind.errors import ManifestError, PhotoError
from geomind.files import refuse_existing
from geomind.geography.places import city_at, country_at
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.photos import open_photo, position_fault
from geomind.progress import SILENT, Advance, Progress

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

    left_out: Mapping[str, int]
    """Why -> rows that were not wanted, the most frequent first; they are not among those found."""

    splits: Mapping[str, int]
    """Split -> rows used that a source gave it; those without one are not counted."""

    kinds: tuple[Format, ...]
    """What each source was read as."""

    rejected_path: Path
    """The CSV of the rejected rows, there even without any."""

    shards: int = 0
    """How many shards were written."""


def prepare(
    sources: Sequence[Path],
    output: Path,
    *,
    regions: RegionTable,
    kind: Format = Format.AUTO,
    options: ReadOptions | None = None,
    check_files: bool = True,
    shards: Path | None = None,
    shard_mb: int = SHARD_MB,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PrepareSummary:
    """Make a manifest of photos: where each was taken, its country, its region and the nearest town.

    Rows that cannot be used go to ``<output>.rejected.csv``: no usable position, the file of an earlier row again, or a
    photo that cannot be read. Photos are decoded for that (a JPEG at an eighth of its size), as only this finds a
    truncated one before a training does; it takes about as long as one epoch's reading.

    Memory does not grow with the sources, but for 8 bytes a row, by which a file is known when it comes again. Until
    all is read, the rows are kept in ``<output>.unfinished/``; a run that was stopped leaves it there to go on with.

    Args:
        sources: Folders of photos that say where they were taken, and tables of paths, latitudes and longitudes.
        output: The manifest, .csv or .parquet.
        regions: Gives each country its region.
        kind: What all sources are; they are told apart by themselves if left out.
        options: How sources are to be read.
        check_files: Without, a table is taken at its word, and photos may be elsewhere.
        shards: A folder for copies of the photos in shards; the manifest then names those.
        shard_mb: Size of a shard in megabytes.
        resume: Go on where a stopped run of the same arguments was; begin if there was none. Shards are begun anew.
        overwrite: Replace an existing manifest, its rejected rows and the shards.
        progress: Shows the rows done.

    Raises:
        ManifestError: a source cannot be read, no source takes one of the options, or no row can be used; then only the
            rejected rows are written.
        PhotoError: a folder holds no photo.
        OutputError: the manifest or a shard exists already or cannot be written, a photo that goes into a shard cannot
            be read any more, or the unfinished work is of another run.
    """
    output = Path(output)
    options = options or ReadOptions()
    check_ending(output)
    rejected_path = output.with_name(f"{output.stem}.rejected.csv")
    if not resume:  # known before a source is opened, which may take long
        for path in (output, rejected_path):
            refuse_existing(path, overwrite=overwrite)
    paths = [Path(source) for source in sources]
    if shards is not None:
        refuse_shards(shards, paths, overwrite=overwrite or resume)
    kinds = tuple(recognise(path) if kind is Format.AUTO else kind for path in paths)
    refuse_idle_options(paths, kinds, options)
    opened = [open_source(path, each, options) for path, each in zip(paths, kinds, strict=True)]
    columns = tuple(dict.fromkeys(chain((*COLUMNS, CITY), *(source.extra_columns for source in opened))))
    arguments = {
        "version of GeoMind": geomind.__version__,
        "region table": regions.fingerprint,
        "choice of --check-files": str(check_files),
        "--columns, --images-dir, --min-accuracy or --licenses": options.fingerprint,
        "list of sources": str(len(opened)),
        "--shards or --shard-size": "" if shards is None else f"{shard_mb} MB in {os.path.abspath(shards)}",  # noqa: PTH100
    }
    for path, each, source in zip(paths, kinds, opened, strict=True):
        absolute = os.path.abspath(path)  # noqa: PTH100
        arguments[f"source, or one that has changed since ({path})"] = f"{absolute} as {each}: {source.fingerprint}"
    with open_journal(
        output,
        columns=columns,
        rejected_columns=REJECTED_COLUMNS,
        arguments=arguments,
        sources=len(opened),
        resume=resume,
        overwrite=overwrite,
    ) as journal:
        for path, unfinished in ((output, journal.rows_path), (rejected_path, journal.rejected_path)):
            if unfinished.exists():
                refuse_existing(path, overwrite=overwrite)
        if not journal.done.finished:
            if shards is not None:  # those of a finished run; ours are written once all is read
                refuse_shards(shards, paths, overwrite=overwrite)
            _read(opened, journal, columns, output, _Checks(regions, check_files=check_files), progress)
        done = journal.done
        if journal.rejected_path.exists():
            journal.rejected_path.replace(rejected_path)
        written = 0
        if done.used and journal.rows_path.exists():
            if shards is None:
                convert_manifest(journal.rows_path, output)
            else:
                output.unlink(missing_ok=True)  # its names may soon be those of other photos
                with progress.track("Writing shards", done.used) as advance:
                    written = _write_shards(journal.rows_path, output, shards, shard_mb, advance)
                journal.rows_path.unlink()
    found, reasons = sum(done.read), Counter(done.reasons).most_common()
    left_out = sum((Counter(source.left_out) for source in opened), Counter[str]())
    if not found:
        names = ", ".join(str(path) for path in paths)
        why = ", ".join(f"{reason} ({count:,})" for reason, count in left_out.most_common(3))
        no_row = f"No row of {names} is wanted: {why}" if why else f"There is no row in {names}"
        raise ManifestError(f"{no_row}. No manifest was written.")
    if not done.used:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons[:3])
        raise ManifestError(
            f"None of the {found:,} photos can be used: {why}. {rejected_path} gives the reason of each; "
            "no manifest was written."
        )
    return PrepareSummary(
        found=found,
        used=done.used,
        rejected=found - done.used,
        reasons=dict(reasons),
        left_out=dict(left_out.most_common()),
        splits=done.splits,
        kinds=kinds,
        rejected_path=rejected_path,
        shards=written,
    )


def _read(
    sources: Sequence[Source],
    journal: Journal,
    columns: Sequence[str],
    output: Path,
    checks: _Checks,
    progress: Progress,
) -> None:
    """Read all sources from where the journal is to their ends."""
    folder = os.path.abspath(output.parent)  # noqa: PTH100  as the sources' paths, ".." resolved, links as written
    checks.seen.before(journal.keys())
    read, used = list(journal.done.read), journal.done.used
    reasons, splits = Counter(journal.done.reasons), Counter(journal.done.splits)
    what, total = "Reading photos" if checks.check_files else "Reading rows", sum(source.total for source in sources)
    rows_at_once = _CHECKED_CHUNK_ROWS if checks.check_files else _CHUNK_ROWS
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress.track(what, total) as advance:
        advance(sum(read))
        for number, source in enumerate(sources):
            for records in source.chunks(rows_at_once, read[number]):
                rows, faults, keys = checks.run(records, pool)
                rows["image_path"] = [stored_path(path, folder) for path in rows["image_path"]]
                good = faults == ""
                lines = pd.Series(records.lines, dtype="Int64").where(records.lines > 0)
                rejected = rows.assign(line=lines, reason=faults)[~good]
                missing = {name: "" for name in columns if name not in rows}
                read[number] += len(rows)
                used += int(good.sum())
                reasons.update(str(fault).partition(": ")[0] for fault in faults[~good])
                splits.update(rows["split"][good & (rows["split"] != "")])
                done = Done(tuple(read), used, dict(reasons), dict(splits))
                journal.add(rows[good].assign(**missing), rejected, keys, done)
                advance(len(rows))
    journal.finish()


def _write_shards(rows: Path, output: Path, folder: Path, shard_mb: int, advance: Advance) -> int:
    """Put the photos of a CSV of rows into shards, then write the manifest that names them; say how many shards.

    Raises:
        OutputError: a photo cannot be read, or the disk is full.
    """
    home = os.path.abspath(output.parent)  # noqa: PTH100
    extra = [name for name in read_header(rows) if name not in COLUMNS]
    with manifest_writer(output, extra_columns=extra) as append, ShardWriter(folder, shard_mb=shard_mb) as writer:
        for chunk in read_chunks(rows, _CHUNK_ROWS):
            cells = chunk.cells.astype({"latitude": np.float64, "longitude": np.float64, "region_id": np.int64})
            paths = []
            for row in cells.to_dict("records"):
                photo = writer.add(photo_path(output, row["image_path"]), {str(name): row[name] for name in row})
                paths.append(stored_path(os.path.abspath(photo), home))  # noqa: PTH100
                advance()
            append(cells.assign(image_path=paths))
    return writer.shards


class _Checks:
    """What every photo has to pass, wherever it comes from; it remembers the files it saw."""

    def __init__(self, regions: RegionTable, *, check_files: bool) -> None:
        self.check_files = check_files
        self.seen = Seen()
        self._regions = regions

    def run(self, records: Records, pool: Executor) -> tuple[pd.DataFrame, NDArray[np.object_], NDArray[np.uint64]]:
        """Fill in country, region and town, and say of each row why it cannot be used, "" where it can.

        Returns:
            The rows, their faults, and the keys of the files that were not seen before.
        """
        faults = records.faults.copy()
        points = records.rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
        paths = records.rows["image_path"].to_numpy(dtype=object)
        outside = ~((np.abs(points) <= (90, 180)).all(axis=1) & points.any(axis=1))
        for row in np.flatnonzero((faults == "") & outside):
            faults[row] = position_fault(*points[row])

        rows = np.flatnonzero(faults == "")
        files = [_real_path(path) for path in paths[rows]] if self.check_files else paths[rows]
        keys = pd.util.hash_array(np.asarray(files, dtype=object), categorize=False)
        again = self.seen.before(keys)
        faults[rows[again]] = "the same file as an earlier row"
        if self.check_files:
            rows = rows[~again]
            faults[rows] = list(pool.map(_unreadable, paths[rows]))

        good = faults == ""
        countries = np.full(len(faults), "", dtype=object)
        countries[good] = country_at(points[good])
        region_ids = np.full(len(faults), NO_REGION)
        region_ids[good] = self._regions.region_ids(countries[good], points[good])
        for row in np.flatnonzero(good & (region_ids == NO_REGION)):
            faults[row] = f"no region has its country: {countries[row] or 'the high seas'}"
        cities = np.full(len(faults), "", dtype=object)
        cities[good] = city_at(points[good], countries[good])
        names = {"country": pd.Series(countries, dtype="str"), CITY: pd.Series(cities, dtype="str")}
        return records.rows.assign(region_id=region_ids, **names), faults, keys[~again]


class Seen:
    """Remembers 64-bit keys in 8 bytes each, 16 while it merges, as sorted runs of growing length (a set takes 60).

    Two files among a million have the same key once in 37 million times.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def before(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say which keys came before, here or in an earlier call, and remember them: (n,) -> (n,)."""
        fresh = np.zeros(len(keys), dtype=bool)
        fresh[np.unique(keys, return_index=True)[1]] = True
        for run in self._runs:
            fresh &= run[np.minimum(np.searchsorted(run, keys), len(run) - 1)] != keys
        new = keys[fresh]
        new.sort()
        while self._runs and len(self._runs[-1]) <= 2 * len(new):  # so that there are few runs and few merges
            new = np.concatenate([self._runs.pop(), new])
            new.sort()
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
