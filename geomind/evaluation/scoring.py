"""Evaluation: predictions and the truth → scores. It joins, measures and asks Experts again; it does not draw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from geomind.data.manifest import photo_path, read_manifest
from geomind.errors import ManifestError, PhotoError
from geomind.evaluation.matching import match_photos
from geomind.files import atomic_path, refuse_existing
from geomind.geography import places
from geomind.geography.regions import NO_REGION, RegionTable, default_regions
from geomind.geography.sphere import Points, geodesic_median
from geomind.inference.engine import locate_photos
from geomind.metrics import Distances, Metrics, distances_km, score_photos
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, read_predictions
from geomind.progress import SILENT, Progress

if TYPE_CHECKING:
    import pandas as pd

NO_ROW = "no row in the predictions"
"""The error of a photo that the truth lists and nobody answered."""

RegionIds = NDArray[np.int64]
"""(n,) region ids, ``NO_REGION`` where there is none."""


class SupportsOracle(Protocol):
    """A cascade whose Experts can be asked with the true region given."""

    @property
    def regions(self) -> RegionTable:
        """The table of regions it was trained for."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos become the pixels it reads."""
        ...

    @property
    def region_medians(self) -> Mapping[int, tuple[float, float]]:
        """Region id -> the median place of its training photos, degrees."""
        ...

    def locate_in_region(self, pixels: NDArray[np.float32], region_id: int) -> Points:
        """Place photos in a region that is taken for granted: (n, 3, S, S) -> (n, 2) degrees."""
        ...


@dataclass(frozen=True)
class RegionMetrics:
    """The scores of the photos whose true region is one region."""

    region_id: int
    region_name: str
    metrics: Metrics


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores, and what they were computed from: one entry a photo of the truth, in the truth's order."""

    metrics: Metrics
    regions: tuple[RegionMetrics, ...]
    """One for each region that the truth has photos of, in the order of ids."""
    predictions: tuple[Prediction, ...]
    """The answers with the truth filled in; a photo that has no row has the error ``NO_ROW``."""
    distance_km: Distances
    oracle_km: Distances | None
    """Distances with the true region given; ``None`` without a cascade."""
    floor_km: Distances
    """Distances of the true regions' median places."""
    true_regions: RegionIds
    table: RegionTable
    notes: tuple[str, ...]
    """What a reader of the scores must know, one sentence each."""
    files: tuple[Path, ...]
    """Where the photos are, by the manifest."""

    @property
    def truth(self) -> Points:
        """Where the photos were taken: (n, 2) degrees."""
        return np.array([each.truth for each in self.predictions], dtype=np.float64)

    @property
    def guesses(self) -> Points:
        """Where the photos were placed: (n, 2) degrees, NaN for a photo without an answer."""
        return _guesses(self.predictions)

    @property
    def predicted_regions(self) -> RegionIds:
        """The regions that were answered."""
        return _predicted_regions(self.predictions)


def evaluate(
    predictions_path: Path | str,
    truth_path: Path | str,
    *,
    split: str | None = None,
    cascade: SupportsOracle | None = None,
    regions: RegionTable | None = None,
    images_dir: Path | str | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Compare predictions with the truth.

    Every photo of the truth counts, and one without a prediction is a miss. Without ``split``, the truth is cut to the
    splits that the predictions touch, so that answering the test photos does not make misses of the training photos.

    Args:
        predictions_path: a predictions.csv.
        truth_path: a manifest.
        split: the split of the manifest that counts.
        cascade: who answered. Its Experts are asked again where the region was wrong, which reads those photos, and its
            region medians are the floor.
        regions: the table of the region ids; by default the cascade's, or else the 13 regions.
        images_dir: the folder that predictions are relative to, where it cannot be told from the paths.
        progress: shows the photos that are asked again.

    Raises:
        ManifestError: a table cannot be read, they have no photo in common, or the split is not in the manifest.
        PhotoError: a photo that was answered cannot be read again.
    """
    answers = read_predictions(predictions_path)
    manifest = read_manifest(truth_path)
    table = regions or (cascade.regions if cascade else default_regions())
    rows_of = match_photos(
        [each.image_path for each in answers],
        manifest["image_path"].tolist(),
        truth_folder=Path(truth_path).parent,
        images_dir=None if images_dir is None else Path(images_dir),
    )
    counts, notes = _photos_that_count(manifest["split"].to_numpy(dtype=str), rows_of, split, truth_path)
    notes += _unlisted(len(answers), rows_of)

    all_regions = _true_regions(manifest, table)
    truth, true_regions = _points(manifest)[counts], all_regions[counts]
    predictions = [
        _with_truth(answers[row] if row >= 0 else Prediction(image_path=path, error=NO_ROW), place)
        for row, path, place in zip(
            rows_of[counts].tolist(), manifest["image_path"][counts], truth.tolist(), strict=True
        )
    ]
    distance, routed = distances_km(truth, _guesses(predictions)), _predicted_regions(predictions)
    _check_regions(np.maximum(routed, 0), [each.image_path for each in predictions], table)

    medians, origin = _region_medians(manifest, all_regions, counts, cascade)
    notes.append(origin)
    nowhere = (np.nan, np.nan)
    floor = distances_km(truth, np.array([medians.get(region_id, nowhere) for region_id in true_regions.tolist()]))
    files = tuple(photo_path(truth_path, path) for path in manifest["image_path"][counts])
    oracle = None
    if cascade is not None:
        oracle = _oracle(cascade, files, predictions, true_regions, distance, truth, progress)

    right = routed == true_regions if (routed != NO_REGION).any() else None

    def score(chosen: NDArray[np.bool_]) -> Metrics:
        return score_photos(
            distance[chosen],
            region_right=None if right is None else right[chosen],
            oracle_km=None if oracle is None else oracle[chosen],
            floor_km=floor[chosen],
        )

    return Evaluation(
        metrics=score(np.ones(len(distance), dtype=bool)),
        regions=tuple(
            RegionMetrics(region_id, table[region_id].name, score(true_regions == region_id))
            for region_id in np.unique(true_regions).tolist()
        ),
        predictions=tuple(predictions),
        distance_km=distance,
        oracle_km=oracle,
        floor_km=floor,
        true_regions=true_regions,
        table=table,
        notes=tuple(notes),
        files=files,
    )


def write_metrics(metrics: Metrics, path: Path | str, *, overwrite: bool = False) -> None:
    """Write scores as JSON with flat keys; what is not finite or was not measured is null.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(metrics.flat(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


# ── parts of the comparison ──────────────────────────────────────────────────────────────────────────────────────────


def _photos_that_count(
    splits: NDArray[np.str_], rows_of: NDArray[np.int64], split: str | None, truth_path: Path | str
) -> tuple[NDArray[np.bool_], list[str]]:
    """Choose the photos of the truth that are scored, and say what a reader must know about the choice."""
    if split is not None and not (splits == split).any():
        known = ", ".join(sorted(set(splits.tolist()) - {""})) or "none"
        raise ManifestError(f"{truth_path} has no photo of the split '{split}'. Its splits: {known}.")
    touched = [split] if split is not None else sorted(set(splits[rows_of >= 0].tolist()))
    counts = np.isin(splits, touched)
    notes = []
    if not counts.all():
        names = " and ".join(name or "(none)" for name in touched)
        notes.append(f"Scored: the photos of the split {names}, {counts.sum():,} of {len(counts):,}.")
    if missing := int((counts & (rows_of < 0)).sum()):
        notes.append(f"{missing:,} photos of the truth have no row in the predictions and count as misses.")
    if trained := int((counts & (splits == "train")).sum()):
        notes.append(f"{trained:,} of the photos are of the split train: a model that learned from them is flattered.")
    return counts, notes


def _unlisted(answers: int, rows_of: NDArray[np.int64]) -> list[str]:
    unlisted = answers - len(np.unique(rows_of[rows_of >= 0]))
    return [f"{unlisted:,} predictions are of photos that the truth does not list; they are left out."] * bool(unlisted)


def _with_truth(answer: Prediction, place: Sequence[float]) -> Prediction:
    return dataclasses.replace(answer, true_latitude=place[0], true_longitude=place[1])


def _points(manifest: pd.DataFrame) -> Points:
    return manifest[["latitude", "longitude"]].to_numpy(dtype=np.float64)


def _guesses(predictions: Sequence[Prediction]) -> Points:
    return np.array([each.place or (np.nan, np.nan) for each in predictions], dtype=np.float64)


def _predicted_regions(predictions: Sequence[Prediction]) -> RegionIds:
    return np.array([NO_REGION if each.region_id is None else each.region_id for each in predictions], dtype=np.int64)


def _true_regions(manifest: pd.DataFrame, table: RegionTable) -> RegionIds:
    """Give each photo's region; where the manifest has none, the one of the country it was taken in."""
    ids = manifest["region_id"].to_numpy(dtype=np.int64, na_value=NO_REGION)
    if (unknown := ids == NO_REGION).any():
        points = _points(manifest)[unknown]
        ids[unknown] = table.region_ids(places.country_at(points), points)
    _check_regions(ids, manifest["image_path"].tolist(), table)
    return ids


def _check_regions(ids: RegionIds, photos: Sequence[str], table: RegionTable) -> None:
    if (outside := (ids < 0) | (ids >= len(table))).any():
        raise ManifestError(
            f"{photos[int(np.argmax(outside))]} is of region {ids[outside][0]}; the table '{table.name}' has 0 to "
            f"{len(table) - 1}. Make manifest, models and predictions with one table of regions."
        )


def _region_medians(
    manifest: pd.DataFrame, true_regions: RegionIds, counts: NDArray[np.bool_], cascade: SupportsOracle | None
) -> tuple[Mapping[int, tuple[float, float]], str]:
    """Give the regions' median places and say what they were computed from."""
    if cascade is not None:
        return cascade.region_medians, "Region medians: of the photos the models were trained on."
    chosen, origin = manifest["split"].to_numpy(dtype=str) == "train", "the manifest's training photos"
    if not chosen.any():
        chosen, origin = counts, "the scored photos, which flatters the floor"
    points = _points(manifest)
    medians = {}
    for region_id in np.unique(true_regions[chosen]).tolist():
        latitude, longitude = geodesic_median(points[chosen & (true_regions == region_id)])
        medians[region_id] = (float(latitude), float(longitude))
    return medians, f"Region medians: of {origin}."


class _InTrueRegion:
    """Answers photos whose region is known, as the engine asks a geolocator."""

    extra_columns: tuple[str, ...] = ()

    def __init__(self, cascade: SupportsOracle, region_id: int) -> None:
        self.preprocessing = cascade.preprocessing
        self._cascade = cascade
        self._region_id = region_id

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        points = self._cascade.locate_in_region(pixels, self._region_id)
        return [
            Prediction(image_path=path, region_id=self._region_id, latitude=latitude, longitude=longitude)
            for path, (latitude, longitude) in zip(image_paths, points.tolist(), strict=True)
        ]


def _oracle(
    cascade: SupportsOracle,
    photos: Sequence[Path],
    predictions: Sequence[Prediction],
    true_regions: RegionIds,
    distance_km: Distances,
    truth: Points,
    progress: Progress,
) -> Distances:
    """Measure the answers with the true region given: (n,) km.

    An answer in the right region stands; a photo without an answer stays without one.
    """
    oracle = distance_km.copy()
    wrong = (_predicted_regions(predictions) != true_regions) & np.isfinite(distance_km)
    with progress.track("Asking the true regions' Experts", int(wrong.sum())) as advance:
        for region_id in np.unique(true_regions[wrong]).tolist():
            asked = np.flatnonzero(wrong & (true_regions == region_id))
            files = [photos[i] for i in asked.tolist()]
            answers = locate_photos(files, [str(file) for file in files], _InTrueRegion(cascade, region_id))
            for i, answer in zip(asked.tolist(), answers, strict=True):
                if answer.place is None:
                    raise PhotoError(
                        f"{answer.image_path} has an answer and cannot be read again: {answer.error}. Evaluate where "
                        "the manifest's photos are, or without --models."
                    )
                oracle[i] = distances_km(truth[i], answer.place)
                advance(1)
    return oracle
