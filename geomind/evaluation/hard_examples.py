"""Photos that the Director got wrong, by the pair of regions it confused, as a manifest for retraining. No model here.

It stands beside the evaluation and not in ``data``, because it joins predictions to photos as the evaluation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.manifest import read_manifest, rebased_paths, write_manifest
from geomind.errors import ManifestError
from geomind.evaluation.matching import match_photos
from geomind.geography import places
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.geography.sphere import haversine_km
from geomind.predictions import Prediction, read_predictions

HARD_COLUMN = "hard"
"""The manifest's column that tells what a photo was taken for: "Southern Europe → Latin America"."""


@dataclass(frozen=True)
class ConfusedPair:
    """One region taken for another."""

    true_region: str
    answered_region: str
    photos: int
    share: float
    """Of the true region's photos that were answered."""
    median_km: float
    """Median distance of the answers to the truth, km."""

    @property
    def tag(self) -> str:
        """The pair as one text, the true region first."""
        return f"{self.true_region} → {self.answered_region}"


@dataclass(frozen=True, eq=False)
class HardExamples:
    """The photos of a manifest whose region was answered wrong."""

    manifest: Path
    rows: pd.DataFrame
    """Their rows of the manifest, in its order, with the column ``hard``."""
    numbers: NDArray[np.int64]
    """Which rows of the manifest they are."""
    pairs: tuple[ConfusedPair, ...]
    """The most frequent first."""
    answered: int
    """Photos of the manifest with an answer."""

    @property
    def held_out(self) -> int:
        """How many are in a split that is not trained on: to learn from them would spoil the test."""
        return int((~self.rows["split"].isin(["", "train"])).sum())


def find_hard_examples(
    manifest: Path | str,
    predictions: Path | str,
    *,
    regions: RegionTable,
    images_dir: Path | str | None = None,
) -> HardExamples:
    """Find the photos whose region was answered wrong.

    The answered region is the one of the prediction's ``region_id``: what the Director decided, wherever the Expert put
    the photo then. Photos without an answer are no examples.

    Args:
        manifest: The manifest that knows the truth; a row without a region counts in that of its position.
        predictions: A predictions.csv.
        regions: The table of the region ids of both.
        images_dir: The folder that predictions are relative to, where it cannot be told from the paths.

    Raises:
        ManifestError: a table cannot be read, they have no photo in common, or a region id is not in the table.
    """
    manifest = Path(manifest)
    rows, answers = read_manifest(manifest), read_predictions(predictions)
    matched = match_photos(
        [each.image_path for each in answers],
        rows["image_path"].tolist(),
        truth_folder=manifest.parent,
        images_dir=None if images_dir is None else Path(images_dir),
    )
    points = rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    true = rows["region_id"].to_numpy(dtype=np.int64, na_value=NO_REGION)
    if (unknown := true == NO_REGION).any():
        true[unknown] = regions.region_ids(places.country_at(points[unknown]), points[unknown])
    answered = np.array([_region(answers, i) for i in matched.tolist()], dtype=np.int64)
    for ids, table in ((true, manifest), (answered, predictions)):
        if (outside := (ids < NO_REGION) | (ids >= len(regions))).any():
            raise ManifestError(
                f"{table} has a photo of region {ids[outside][0]}; the table '{regions.name}' has 0 to "
                f"{len(regions) - 1}. Name the table of regions that it was made with by --regions."
            )
    decided = (true != NO_REGION) & (answered != NO_REGION)
    numbers = np.flatnonzero(decided & (true != answered))
    guesses = np.array([answers[i].place for i in matched[numbers].tolist()], dtype=np.float64).reshape(-1, 2)
    distance_km = haversine_km(points[numbers], guesses)
    of_region = np.bincount(true[decided], minlength=len(regions))
    confused, kind, counts = np.unique(
        np.stack([true[numbers], answered[numbers]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    pairs, tags = [], np.full(len(numbers), "", dtype=object)
    in_kind = np.split(np.argsort(kind.ravel(), kind="stable"), np.cumsum(counts)[:-1])
    for (one, other), members in zip(confused.tolist(), in_kind, strict=False):
        share = len(members) / int(of_region[one])
        median_km = float(np.median(distance_km[members]))
        pair = ConfusedPair(regions[one].name, regions[other].name, len(members), share, median_km)
        pairs.append(pair)
        tags[members] = pair.tag
    hard = rows.iloc[numbers].assign(**{HARD_COLUMN: pd.Series(tags, index=rows.index[numbers], dtype="str")})
    return HardExamples(
        manifest=manifest,
        rows=hard,
        numbers=numbers,
        pairs=tuple(sorted(pairs, key=lambda pair: -pair.photos)),
        answered=int(decided.sum()),
    )


def write_hard_examples(hard: HardExamples, path: Path | str, *, overwrite: bool = False) -> None:
    """Write hard examples as a manifest; its paths lead from its own folder to the photos.

    Raises:
        ManifestError: there are none.
        OutputError: the file exists and ``overwrite`` is false, or cannot be written.
    """
    if hard.rows.empty:
        raise ManifestError(f"The Director got all {hard.answered:,} photos right; {path} was not written.")
    paths = rebased_paths(hard.rows["image_path"].tolist(), hard.manifest, path)
    write_manifest(hard.rows.assign(image_path=paths), path, overwrite=overwrite)


def _region(answers: Sequence[Prediction], index: int) -> int:
    """Give the region that was answered, ``NO_REGION`` where there is no answer."""
    answer = answers[index] if index >= 0 else None
    if answer is None or not answer.answered or answer.region_id is None:
        return NO_REGION
    return answer.region_id
