"""Is a manifest fit to train on, and what is wrong with it? It reads and measures; it changes and prints nothing.

Each subject has its file: ``file_checks``, ``duplicates``, ``coordinates``, ``region_ids``, ``balance``, ``leakage``.
What is looked for, and when it is a problem, is the one table in ``findings``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.csv_table import append_rows
from geomind.data.inspection.balance import (
    Balance,
    Spread,
    check_balance,
    measure_balance,
    measure_spread,
)
from geomind.data.inspection.coordinates import Places, check_coordinates
from geomind.data.inspection.duplicates import check_duplicates, pictures_at_one_place, same_files, similar_pictures
from geomind.data.inspection.file_checks import FileChecks, check_files
from geomind.data.inspection.findings import CHECKS, EXAMPLES, Finding, judge
from geomind.data.inspection.leakage import NEAR_KM, TEST_SET, HeldOut, check_split, measure_held_out
from geomind.data.inspection.region_ids import check_regions
from geomind.data.manifest import read_manifest
from geomind.files import atomic_path, refuse_existing
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.geography.sphere import Points
from geomind.progress import SILENT, Progress

MIN_PHOTOS = 100
"""A region with fewer photos is named; an Expert learns little from them."""

VERDICT_COLUMNS = ("image_path", "verdict")


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a manifest holds and what is wrong with it."""

    manifest: Path
    rows: pd.DataFrame
    """The manifest."""
    table: RegionTable
    regions_file: Path | None
    """Where the table was read; None for GeoMind's."""
    region_ids: NDArray[np.int64]
    """(n,) the region each photo is counted in, ``NO_REGION`` where the table has none for it."""
    balance: Balance
    spread: Spread
    held_out: tuple[HeldOut, ...]
    """The splits beside ``train``, where there is one."""
    files: FileChecks | None
    """None where no file was opened."""
    findings: tuple[Finding, ...]
    """One for each of ``CHECKS``, in its order."""

    @property
    def fit(self) -> bool:
        """Whether nothing stands against using it for its ``purpose``."""
        return not self.problems

    @property
    def purpose(self) -> str:
        """What it is for: to "train on", or to "test on" where every photo has the split test."""
        return "test on" if set(self.rows["split"]) == TEST_SET else "train on"

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What must be mended before."""
        return tuple(each for each in self.findings if each.verdict == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a person should know and may leave."""
        return tuple(each for each in self.findings if each.verdict == "warning")

    @property
    def points(self) -> Points:
        """Where the photos were taken: (n, 2) degrees."""
        return self.rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)

    def counts(self, column: str) -> Mapping[str, int]:
        """Count the photos of each value of a column of text, the most frequent first; "" is one of them."""
        counted = self.rows[column].value_counts()
        return dict(zip(counted.index.astype(str), counted.tolist(), strict=True))

    def flat(self) -> dict[str, int | float | bool | str | None]:
        """Give the results under flat keys; shares are between 0 and 1, what was not measured is None."""
        held_out = np.concatenate([np.zeros(0), *(part.nearest_km for part in self.held_out)])
        near = {
            f"held_out_within_{limit:g}_km": float(np.mean(held_out <= limit)) for limit in NEAR_KM if len(held_out)
        }
        nearest_km = self.spread.median_nearest_km
        return {
            "count": len(self.rows),
            "fit": self.fit,
            "problems": len(self.problems),
            "warnings": len(self.warnings),
            "regions": self.balance.occupied,
            "effective_regions": self.balance.effective_regions,
            "imbalance_ratio": self.balance.ratio,
            "countries": len(set(self.rows["country"]) - {""}),
            "sources": int(self.rows["source"].nunique()),
            "blocks": self.spread.occupied,
            "effective_blocks": self.spread.effective_blocks,
            "top_blocks_share": self.spread.top_share,
            "median_nearest_km": nearest_km if np.isfinite(nearest_km) else None,
            "held_out": len(held_out),
            "held_out_median_nearest_km": float(np.median(held_out)) if len(held_out) else None,
            **{f"held_out_within_{limit:g}_km": near.get(f"held_out_within_{limit:g}_km") for limit in NEAR_KM},
            **{each.check: None if each.verdict == "skipped" else each.count for each in self.findings},
            **{f"photos_region_{region.id}": region.photos for region in self.balance.regions},
        }


def inspect_manifest(
    manifest: Path | str,
    *,
    regions: RegionTable,
    regions_file: Path | None = None,
    open_files: bool = True,
    min_photos: int = MIN_PHOTOS,
    progress: Progress = SILENT,
) -> Inspection:
    """Look at everything in a manifest that decides whether it is worth training on.

    Args:
        manifest: The manifest, CSV or Parquet.
        regions: The table of its region ids.
        regions_file: Where that was read, for the advice; None for GeoMind's.
        open_files: Open every photo; without, what needs its bytes or pixels is skipped.
        min_photos: Regions with fewer photos are named.
        progress: Shows the photos opened.

    Raises:
        ManifestError: the manifest cannot be read.
    """
    manifest = Path(manifest)
    rows = read_manifest(manifest)
    paths = rows["image_path"].tolist()
    folder = os.path.abspath(manifest.parent)  # noqa: PTH100  strings: a million Paths take too long
    located = [os.path.normpath(os.path.join(folder, path)) for path in paths]  # noqa: PTH118
    files = check_files(located, progress=progress) if open_files else None

    there = Places.look_up(rows)
    given_ids = rows["region_id"].to_numpy(dtype=np.int64, na_value=NO_REGION)
    in_table = (given_ids >= 0) & (given_ids < len(regions))
    region_ids = np.where(in_table, given_ids, regions.region_ids(there.country, there.points))
    spread = measure_spread(there.points)
    balance = measure_balance(region_ids, there.country, spread.blocks, regions)
    splits, groups = (rows[name].to_numpy(dtype=object) for name in ("split", "group"))
    held_out = measure_held_out(splits, there.points)
    same = same_files(located, files)
    alike = None if files is None else similar_pictures(files)
    alike_here = None if alike is None else pictures_at_one_place(alike, there.points)
    found = [
        *_check_files(files, len(rows)),
        *check_duplicates(paths, same, alike, alike_here, there.points),
        *check_coordinates(rows, there),
        *check_regions(there, given_ids, regions),
        *check_balance(balance, spread, min_photos=min_photos),
        *check_split(splits, groups, there.points, paths, same, alike_here, held_out),
    ]
    by_check = {each.check: each for each in found}
    return Inspection(
        manifest=manifest,
        rows=rows,
        table=regions,
        regions_file=regions_file,
        region_ids=region_ids,
        balance=balance,
        spread=spread,
        held_out=held_out,
        files=files,
        findings=tuple(by_check[check] for check in CHECKS),
    )


def write_figures(inspection: Inspection, path: Path | str, *, overwrite: bool = False) -> None:
    """Write the results as JSON with flat keys.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(inspection.flat(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_verdicts(inspection: Inspection, path: Path | str, *, overwrite: bool = False) -> None:
    """Write a CSV with a row a photo, in the manifest's order: ``ok``, or what was found about it, problems first.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    said: list[list[str]] = [[] for _ in range(len(inspection.rows))]
    for finding in (*inspection.problems, *inspection.warnings):
        for row in finding.rows.tolist():
            reason = inspection.files.faults[row] if finding.check == "unreadable_files" and inspection.files else ""
            said[row].append(f"{finding.check}: {reason}" if reason else finding.check)
    verdicts = pd.Series(["; ".join(each) or "ok" for each in said], dtype="str")
    with atomic_path(path) as temporary, append_rows(temporary, VERDICT_COLUMNS) as append:
        append(pd.DataFrame({"image_path": inspection.rows["image_path"], "verdict": verdicts}))


def _check_files(files: FileChecks | None, count: int) -> list[Finding]:
    if files is None:
        return [judge(check, [], of=count, skipped=True) for check in ("unreadable_files", "tiny_files", "blank_files")]
    unreadable = np.flatnonzero(~files.readable)
    detail = (
        f"{files.missing.sum():,} missing, {len(unreadable) - files.missing.sum():,} unreadable, of {count:,} photos."
    )
    return [
        judge(
            "unreadable_files", unreadable, of=count, detail=detail, notes=files.faults[unreadable[:EXAMPLES]].tolist()
        ),
        judge("tiny_files", np.flatnonzero(files.tiny), of=count),
        judge("blank_files", np.flatnonzero(files.blank), of=count),
    ]
