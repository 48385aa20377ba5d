"""Does a split keep apart what belongs together: groups, places, files, pictures? It makes no split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h3
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geomind.data.inspection.findings import EXAMPLES, Finding, counted, judge, judge_whole, percent
from geomind.data.splits import BLOCK_RESOLUTION, block_ids
from geomind.geography.sphere import Points, chord_to_km, unit_vectors

RESOLUTIONS = (BLOCK_RESOLUTION, 4, 5, 2, 1, 0)
"""h3 resolutions of a split by place, the usual one first: a split counts as one by place if no block of one of these
is in two splits. Finer than 5, 10 km a side, is no place but a street."""

NEAR_KM = (1.0, 25.0)
"""A held-out photo this near to a training photo is of the same street, of the same city."""

TEST_SET = frozenset({"test"})
"""The splits of a manifest that is for testing alone."""

LEAKS = ("leaking_groups", "leaking_places", "leaking_files", "leaking_near_duplicates")
"""The checks of what a split does not keep apart; skipped where there are no two splits."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One split that is not trained on, and how far its photos are from those that are."""

    name: str
    nearest_km: NDArray[np.float64]
    """(k,) distance from each of its photos to the nearest training photo."""

    @property
    def least_km(self) -> float:
        """The smallest of the distances, km."""
        return float(self.nearest_km.min())

    @property
    def median_km(self) -> float:
        """Their median, km."""
        return float(np.median(self.nearest_km))

    def share_within(self, distance_km: float) -> float:
        """Say which share of its photos is that near to a training photo."""
        return float(np.mean(self.nearest_km <= distance_km))


def measure_held_out(splits: NDArray[np.object_], points: Points) -> tuple[HeldOut, ...]:
    """Measure how far each held-out photo is from the nearest training photo; none where nothing is for training."""
    names = sorted(set(splits.tolist()) - {"", "train"})
    train = splits == "train"
    if not train.any():
        return ()
    tree = cKDTree(unit_vectors(np.unique(points[train], axis=0)))
    return tuple(HeldOut(name, chord_to_km(tree.query(unit_vectors(points[splits == name]))[0])) for name in names)


def check_split(
    splits: NDArray[np.object_],
    groups: NDArray[np.object_],
    points: Points,
    paths: Sequence[str],
    files: NDArray[np.int64],
    pictures: NDArray[np.int64] | None,
    held_out: Sequence[HeldOut],
) -> list[Finding]:
    """Report photos without a split, and what a split does not keep apart.

    Args:
        splits: (n,) names, "" for none.
        groups: (n,) names, "" for none.
        points: (n, 2) degrees.
        paths: (n,) as the manifest writes them.
        files: (n,) numbers of ``same_files``.
        pictures: (n,) numbers of ``pictures_at_one_place``; None if no picture was opened.
        held_out: Distances to the training photos.
    """
    present = set(splits.tolist()) - {""}
    test_set = set(splits.tolist()) == TEST_SET
    nowhere = "No photo has a split; training would hold out a tenth of the places itself."
    missing = [name for name in ("train", "validation") if present and name not in present]
    whole = [
        judge("unsplit_photos", np.flatnonzero(splits == ""), of=len(splits))
        if present
        else judge_whole("unsplit_photos", len(splits), nowhere, advice="Split by place: geomind split {manifest}"),
        judge_whole(
            "missing_split",
            len(missing),
            "Every photo has the split test: it is a test set."
            if test_set
            else f"No photo has the split {' or '.join(missing)}.",
            advice="Leave it so to test on it; training needs another manifest." if test_set else "",
            harmless=test_set,
        ),
    ]
    if len(present) < 2:
        return [*whole, *(judge(check, [], of=len(splits), skipped=True) for check in LEAKS)]
    return [
        *whole,
        _check_groups(splits, groups),
        _check_places(splits, points, held_out),
        _check_files(splits, files, paths),
        _check_pictures(splits, pictures, files, paths),
    ]


def block_resolution(splits: NDArray[np.object_], points: Points) -> int | None:
    """Find the h3 resolution at which no block is in two splits; None if blocks of every resolution are."""
    for resolution in RESOLUTIONS:
        if not _straddling(block_ids(points, resolution), splits).any():
            return resolution
    return None


def _check_groups(splits: NDArray[np.object_], groups: NDArray[np.object_]) -> Finding:
    rows = np.flatnonzero((groups != "") & _straddling(groups, splits))
    names = pd.unique(groups[rows])
    detail = f"{counted(len(names), 'group')} with {counted(len(rows), 'photo')}."
    notes = [f"group {groups[row]}, split {splits[row]}" for row in rows[:EXAMPLES]]
    return judge("leaking_groups", rows, of=len(splits), detail=detail, notes=notes)


def _check_places(splits: NDArray[np.object_], points: Points, held_out: Sequence[HeldOut]) -> Finding:
    split = np.flatnonzero(splits != "")
    if block_resolution(splits[split], points[split]) is not None:
        return judge("leaking_places", [], of=len(splits))
    blocks = block_ids(points[split], BLOCK_RESOLUTION)
    rows = split[_straddling(blocks, splits[split])]
    side_km = h3.average_hexagon_edge_length(BLOCK_RESOLUTION, "km")
    detail = (
        f"{len(rows):,} photos ({percent(len(rows) / len(split))}) share a block of {side_km:.0f} km a side over splits"
    )
    nearest = np.concatenate([np.zeros(0), *(part.nearest_km for part in held_out)])
    if len(nearest):
        street, city = (percent(float(np.mean(nearest <= limit))) for limit in NEAR_KM)
        detail += f"; of the held-out ones, {street} have a training photo within 1 km, {city} within 25 km"
    return judge("leaking_places", rows, of=len(splits), detail=f"{detail}.")


def _check_files(splits: NDArray[np.object_], files: NDArray[np.int64], paths: Sequence[str]) -> Finding:
    rows = np.flatnonzero(_straddling(files, splits))
    return judge("leaking_files", rows, of=len(splits), notes=_partners(rows, files, splits, paths))


def _check_pictures(
    splits: NDArray[np.object_], pictures: NDArray[np.int64] | None, files: NDArray[np.int64], paths: Sequence[str]
) -> Finding:
    """Report similar pictures of one place that are in two splits; byte-equal files are reported as such."""
    if pictures is None:
        return judge("leaking_near_duplicates", [], of=len(splits), skipped=True)
    straddling = (pictures >= 0) & _straddling(pictures, splits)
    rows = np.flatnonzero(straddling & ~_straddling(files, splits))
    return judge("leaking_near_duplicates", rows, of=len(splits), notes=_partners(rows, pictures, splits, paths))


def _straddling(ids: NDArray[Any], splits: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell which rows have an id that is in two splits; a row without a split is in none: (n,), (n,) -> (n,)."""
    numbers, _ = pd.factorize(ids)
    split_numbers, names = pd.factorize(splits)
    inside = np.flatnonzero(splits != "")
    pairs = np.unique(numbers[inside].astype(np.int64) * max(len(names), 1) + split_numbers[inside])
    splits_of = np.bincount(pairs // max(len(names), 1), minlength=len(numbers))
    straddling: NDArray[np.bool_] = (splits_of[numbers] > 1) & (splits != "")
    return straddling


def _partners(
    rows: NDArray[np.int64], ids: NDArray[np.int64], splits: NDArray[np.object_], paths: Sequence[str]
) -> list[str]:
    """Name for the first rows a photo with the same id in another split."""
    notes = []
    for row in rows[:EXAMPLES]:
        partner = int(np.argmax((ids == ids[row]) & (splits != splits[row]) & (splits != "")))
        notes.append(f"{splits[row]}; {paths[partner]} is in {splits[partner]}")
    return notes
