"""Evaluation: predictions and the truth → scores. It joins and measures; it does not draw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.manifest import photo_path, read_manifest
from geomind.errors import ManifestError
from geomind.evaluation.certainty import Certainty, Said, certainty_notes, score_certainty
from geomind.evaluation.density import LogLoss, log_loss
from geomind.evaluation.intervals import Interval, Resamples, drawn_from
from geomind.evaluation.judging import (
    Flags,
    Judged,
    RegionIds,
    Truth,
    check_regions,
    judge_places,
    places_of,
    points_of,
)
from geomind.evaluation.matching import match_photos
from geomind.evaluation.oracle import SupportsOracle, ask_true_regions
from geomind.evaluation.peers import read_answers
from geomind.files import atomic_path, refuse_existing
from geomind.geography.regions import NO_REGION, RegionTable, default_regions
from geomind.geography.sphere import Points, geodesic_median
from geomind.metrics import (
    THRESHOLDS_KM,
    Classification,
    ClassScores,
    Distances,
    Flat,
    Metrics,
    classify,
    distances_km,
    finite,
    geoscore,
    score_photos,
)
from geomind.predictions import Prediction
from geomind.progress import SILENT, Progress

NO_ROW = "no row in the predictions"
"""The error of a photo that the truth lists and nobody answered."""


@dataclass(frozen=True, eq=False)
class RegionMetrics:
    """The scores of the photos whose true region is one region."""

    region_id: int
    region_name: str
    metrics: Metrics
    certainty: Certainty
    recognised: ClassScores | None
    """Precision, recall and F1 of the region; None where no answer names a region."""

    def flat(self) -> dict[str, Any]:
        """Give the scores as flat keys for JSON."""
        recognised = self.recognised
        return {
            "region_id": self.region_id,
            "region_name": self.region_name,
            "precision": None if recognised is None else recognised.precision,
            "recall": None if recognised is None else recognised.recall,
            "f1": None if recognised is None else recognised.f1,
            "support": self.metrics.count,
            **self.metrics.flat(),
            **self.certainty.flat(),
        }


@dataclass(frozen=True, eq=False)
class GroupMetrics:
    """The scores of the photos that have one value in a column of the manifest."""

    value: str
    metrics: Metrics
    certainty: Certainty

    def flat(self) -> dict[str, Any]:
        """Give the scores as flat keys for JSON."""
        return {"value": self.value, **self.metrics.flat(), **self.certainty.flat()}


@dataclass(frozen=True, eq=False)
class PhotoScores:
    """What was measured of each photo: all arrays are in one order."""

    judged: Judged
    region_right: Flags | None
    """Whether the region answered is the true one; None where no answer names a region."""
    oracle_km: Distances | None
    floor_km: Distances
    said: Said
    log_loss: LogLoss | None

    def metrics(self, chosen: NDArray[np.int64]) -> Metrics:
        """Score some photos, given by their numbers."""
        judged = self.judged
        return score_photos(
            judged.distance_km[chosen],
            region_right=None if self.region_right is None else self.region_right[chosen],
            oracle_km=None if self.oracle_km is None else self.oracle_km[chosen],
            floor_km=self.floor_km[chosen],
            in_country=judged.country_right[chosen],
            in_region=judged.region_right[chosen],
            at_city=judged.city_right[chosen],
        )

    def certainty(self, chosen: NDArray[np.int64]) -> Certainty:
        """Score what the answers of some photos say of themselves."""
        loss = self.log_loss
        return score_certainty(
            self.judged.distance_km[chosen],
            self.said.of(chosen),
            region_right=None if self.region_right is None else self.region_right[chosen],
            loss=None if loss is None else LogLoss(loss.nats[chosen], loss.width_km),
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores, and what they were computed from: one entry a photo of the truth, in the truth's order."""

    metrics: Metrics
    certainty: Certainty
    classification: Classification | None
    """The report of the regions answered; None where no answer names one."""
    regions: tuple[RegionMetrics, ...]
    """One for each region that the truth has photos of, in the order of ids."""
    groups: Mapping[str, tuple[GroupMetrics, ...]]
    """The columns of the manifest that were asked for; one entry a value, the most frequent first."""
    predictions: tuple[Prediction, ...]
    """The answers with the truth filled in; a photo that has no row has the error ``NO_ROW``."""
    rows: pd.DataFrame
    """The photos' rows of the manifest, with the country and the region_id that they were judged by."""
    photos: PhotoScores
    true_regions: RegionIds
    clusters: NDArray[np.int64]
    """(n,) numbers 0, 1, 2 … of what is resampled as one: the groups of the manifest, or each photo."""
    table: RegionTable
    notes: tuple[str, ...]
    """What a reader of the scores must know, one sentence each."""
    files: tuple[Path, ...]
    """Where the photos are, by the manifest."""

    @property
    def distance_km(self) -> Distances:
        """How far off the answers are."""
        return self.photos.judged.distance_km

    @property
    def oracle_km(self) -> Distances | None:
        """Distances with the true region given; ``None`` without a cascade."""
        return self.photos.oracle_km

    @property
    def floor_km(self) -> Distances:
        """Distances of the true regions' median places."""
        return self.photos.floor_km

    @property
    def truth(self) -> Points:
        """Where the photos were taken: (n, 2) degrees."""
        return np.array([each.truth for each in self.predictions], dtype=np.float64)

    @property
    def guesses(self) -> Points:
        """Where the photos were placed: (n, 2) degrees, NaN for a photo without an answer."""
        return places_of(self.predictions)

    @property
    def predicted_regions(self) -> RegionIds:
        """The regions that were answered."""
        return _regions_of(self.predictions)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """What the headline scores would be on other photos like these: key -> 95% interval.

        Percentile bootstrap over photos, the photos of a group together, with fixed draws (``Resamples``).
        """
        judged, said, resamples = self.photos.judged, self.photos.said, Resamples(self.clusters)
        distance, ones = judged.distance_km, np.ones(len(judged.distance_km))
        answered = np.isfinite(distance)
        ratios: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
            "mean_km": (np.where(answered, distance, 0.0), answered),
            "geoscore": (geoscore(distance), ones),
            **{f"within_{threshold}_km": (distance <= threshold, ones) for threshold in THRESHOLDS_KM},
        }
        if self.photos.region_right is not None:
            ratios["router_accuracy"] = self.photos.region_right, ones
        ratios["country_accuracy"] = judged.country_right, ones
        ratios["region_accuracy"] = judged.region_right, ones
        ratios["city_accuracy"] = judged.city_right, ones
        for level, radius in (("50", said.radius_km_50), ("90", said.radius_km_90)):
            if (given := ~np.isnan(radius)).any():
                ratios[f"coverage_{level}"] = given & (distance <= radius), given
        if (given := ~np.isnan(said.radius_km_90)).any():
            ratios["mean_radius_km_90"] = np.where(given, said.radius_km_90, 0.0), given
        above, below = (np.stack([pair[side] for pair in ratios.values()]).astype(np.float64) for side in (0, 1))
        return {
            "median_km": resamples.median(distance[None]),
            **dict(zip(ratios, resamples.ratios(above, below), strict=True)),
        }

    def flat(self) -> Flat:
        """Give the scores as flat keys for JSON: first those of all photos, then the ends of the intervals."""
        report = self.classification
        ends = {
            f"{name}_{end}": float(getattr(interval, end))
            for name, interval in self.intervals.items()
            for end in ("low", "high")
        }
        return {
            **self.metrics.flat(),
            "router_weighted_f1": None if report is None else report.weighted_f1,
            "router_macro_f1": None if report is None else report.macro_f1,
            **self.certainty.flat(),
            **finite(ends),
        }


def evaluate(
    predictions_path: Path | str,
    truth_path: Path | str,
    *,
    split: str | None = None,
    cascade: SupportsOracle | None = None,
    regions: RegionTable | None = None,
    images_dir: Path | str | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    by: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Evaluation:
    """Compare predictions with the truth.

    Every photo of the truth counts, and one without a prediction is a miss. Without ``split``, the truth is cut to the
    splits that the predictions touch, so that answering the test photos does not make misses of the training photos.

    Args:
        predictions_path: a predictions.csv, or anybody's table with a path, a latitude and a longitude a row.
        truth_path: a manifest.
        split: the split of the manifest that counts.
        cascade: who answered. Its Experts are asked again where the region was wrong, which reads those photos, and its
            region medians are the floor.
        regions: the table of the region ids; by default the cascade's, or else the 13 regions.
        images_dir: the folder that predictions are relative to, where it cannot be told from the paths.
        columns: image_path, latitude or longitude -> what the predictions call it, where it has no usual name.
        by: columns of the manifest; the photos of each value are scored too. An empty cell is a value, except that a
            country that is not given is that of the place.
        progress: shows the photos that are asked again.

    Raises:
        ManifestError: a table cannot be read, they have no photo in common, or the manifest has no such split or
            column.
        PhotoError: a photo that was answered cannot be read again.
    """
    answers, reading = read_answers(predictions_path, columns)
    manifest = read_manifest(truth_path)
    if absent := [column for column in by if column not in manifest]:
        raise ManifestError(
            f"{truth_path} has no column '{absent[0]}'. Its columns: {', '.join(map(str, manifest.columns))}."
        )
    table = regions or (cascade.regions if cascade else default_regions())
    rows_of = match_photos(
        [each.image_path for each in answers],
        manifest["image_path"].tolist(),
        truth_folder=Path(truth_path).parent,
        images_dir=None if images_dir is None else Path(images_dir),
    )
    counts, notes = _photos_that_count(manifest["split"].to_numpy(dtype=str), rows_of, split, truth_path)
    notes = [*reading, *notes, *_unlisted(len(answers), rows_of)]

    everything = Truth.of(manifest, table)
    _check_in_a_region(everything)
    medians, origin = _region_medians(manifest, everything.region_ids, counts, cascade)
    notes.append(origin)
    rows = manifest.assign(country=everything.countries, region_id=everything.region_ids)[counts]
    truth = Truth.of(rows, table)
    predictions = [
        _with_truth(answers[row] if row >= 0 else Prediction(image_path=path, error=NO_ROW), place)
        for row, path, place in zip(rows_of[counts].tolist(), truth.image_paths, truth.points.tolist(), strict=True)
    ]
    judged, routed = judge_places(places_of(predictions), truth), _regions_of(predictions)
    check_regions(routed, [each.image_path for each in predictions], table)
    nowhere = (np.nan, np.nan)
    floor = np.array([medians.get(region_id, nowhere) for region_id in truth.region_ids.tolist()])
    files = tuple(photo_path(truth_path, path) for path in truth.image_paths)
    oracle = None
    if cascade is not None:
        oracle = ask_true_regions(
            cascade,
            files,
            true_regions=truth.region_ids,
            routed=routed,
            distance_km=judged.distance_km,
            truth=truth.points,
            progress=progress,
        )
    names_regions = bool((routed != NO_REGION).any())
    if not names_regions:
        notes.append("No answer names a region: there is no router to judge. The region of the place is judged still.")
    photos = PhotoScores(
        judged=judged,
        region_right=routed == truth.region_ids if names_regions else None,
        oracle_km=oracle,
        floor_km=distances_km(truth.points, floor),
        said=Said.by(predictions),
        log_loss=log_loss(predictions, truth.points),
    )
    notes += certainty_notes(predictions, photos.said, photos.log_loss)
    notes.append(f"{drawn_from(truth.clusters, grouped=truth.grouped)}.")
    report = classify(truth.region_ids, routed) if names_regions else None
    return Evaluation(
        metrics=photos.metrics(np.arange(len(truth))),
        certainty=photos.certainty(np.arange(len(truth))),
        classification=report,
        regions=tuple(_by_region(truth, photos, report)),
        groups={column: _by_value(rows[column], photos) for column in by},
        predictions=tuple(predictions),
        rows=rows,
        photos=photos,
        true_regions=truth.region_ids,
        clusters=truth.clusters,
        table=table,
        notes=tuple(notes),
        files=files,
    )


def write_metrics(evaluation: Evaluation, path: Path | str, *, overwrite: bool = False) -> None:
    """Write scores as JSON: flat keys, then ``regions`` and ``by``, which hold the same of parts of the photos.

    What is not finite or was not measured is null. ``regions`` is a list with one entry a true region, ``by`` has such
    a list for each column asked for, and ``notes`` says what a reader must know.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    scores: dict[str, Any] = {**evaluation.flat(), "regions": [region.flat() for region in evaluation.regions]}
    if evaluation.groups:
        scores["by"] = {column: [group.flat() for group in groups] for column, groups in evaluation.groups.items()}
    scores["notes"] = list(evaluation.notes)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(scores, indent=2, allow_nan=False) + "\n", encoding="utf-8")


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


def _regions_of(predictions: Sequence[Prediction]) -> RegionIds:
    """Give the regions that answers name: (n,) ids, ``NO_REGION`` where there is none."""
    return np.array([NO_REGION if each.region_id is None else each.region_id for each in predictions], dtype=np.int64)


def _check_in_a_region(truth: Truth) -> None:
    """Make sure that every photo has a region to be judged by.

    Raises:
        ManifestError: one is in none.
    """
    if (nowhere := truth.region_ids == NO_REGION).any():
        row = int(np.argmax(nowhere))
        raise ManifestError(
            f"{truth.image_paths[row]} is in no region of the table '{truth.regions.name}', which lists no "
            f"'{truth.countries[row]}'. List it, or let one region have '*'."
        )


def _by_region(truth: Truth, photos: PhotoScores, report: Classification | None) -> Iterator[RegionMetrics]:
    recognised = {} if report is None else {each.class_id: each for each in report.classes}
    for region_id in np.unique(truth.region_ids).tolist():
        chosen = np.flatnonzero(truth.region_ids == region_id)
        yield RegionMetrics(
            region_id=region_id,
            region_name=truth.regions[region_id].name,
            metrics=photos.metrics(chosen),
            certainty=photos.certainty(chosen),
            recognised=recognised.get(region_id),
        )


def _by_value(column: pd.Series[Any], photos: PhotoScores) -> tuple[GroupMetrics, ...]:
    values, which = np.unique(column.astype("str").to_numpy(dtype=str), return_inverse=True)
    groups = [
        GroupMetrics(value, photos.metrics(chosen), photos.certainty(chosen))
        for value, chosen in zip(
            values.tolist(), np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1]), strict=True
        )
    ]
    return tuple(sorted(groups, key=lambda group: -group.metrics.count))


def _region_medians(
    manifest: pd.DataFrame, true_regions: RegionIds, counts: NDArray[np.bool_], cascade: SupportsOracle | None
) -> tuple[Mapping[int, tuple[float, float]], str]:
    """Give the regions' median places and say what they were computed from."""
    if cascade is not None:
        return cascade.region_medians, "Region medians: of the photos the models were trained on."
    chosen, origin = manifest["split"].to_numpy(dtype=str) == "train", "the manifest's training photos"
    if not chosen.any():
        chosen, origin = counts, "the scored photos, which flatters the floor"
    points = points_of(manifest)
    medians = {}
    for region_id in np.unique(true_regions[chosen]).tolist():
        latitude, longitude = geodesic_median(points[chosen & (true_regions == region_id)])
        medians[region_id] = (float(latitude), float(longitude))
    return medians, f"Region medians: of {origin}."
