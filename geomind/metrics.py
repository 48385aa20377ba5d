"""Scores of answers whose truth is known: distances, thresholds, GeoScore. It knows no files and no models.

Distances are great-circle kilometres on the sphere of ``geomind.geography.sphere`` (radius 6,371.0088 km). A photo
without an answer is a miss: its distance is infinite, so that it raises the median, is within no threshold and has
GeoScore 0. The mean alone is over the answered photos, since one miss would make it infinite.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.geography import sphere

Distances = NDArray[np.float64]
"""(n,) km, infinite for a photo without an answer."""

Flat = dict[str, int | float | None]
"""Scores by key; what was not measured, or is not finite, which JSON cannot hold, is ``None``."""

THRESHOLDS_KM = (1, 25, 200, 750, 2500)
"""Street, city, region, country, continent: Vo, Jacobs & Hays 2017, "Revisiting IM2GPS in the Deep Learning Era"."""

GEOSCORE_SCALE_KM = 1492.7
"""The decay of GeoGuessr's score on the world map, km: Haas et al. 2024, "PIGEON: Predicting Image Geolocations"."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Scores of a set of photos; shares are between 0 and 1, and what was not measured is ``None``."""

    count: int
    """Photos asked about."""
    answered: int
    """Photos with a place, fallbacks included."""
    median_km: float
    """Median over all photos; infinite where half or more have no answer."""
    mean_km: float | None
    """Mean over the answered photos only."""
    geoscore: float
    """Mean of ``geoscore`` over all photos, 0 to 5,000."""
    within_1_km: float
    within_25_km: float
    within_200_km: float
    within_750_km: float
    within_2500_km: float
    router_accuracy: float | None
    """Share of all photos whose region is the true one; ``None`` where no answer names a region."""
    oracle_median_km: float | None
    """Median distance when each photo is asked of its true region's Expert."""
    region_median_floor_km: float | None
    """Median distance when each photo is put at the median place of its true region, without a look at it."""
    country_accuracy: float | None
    """Share of all photos whose place is in the true country."""
    region_accuracy: float | None
    """Share of all photos whose place is in the true region, whichever region the answer names."""
    city_accuracy: float | None
    """Share of all photos whose place has the same nearest town as the truth."""

    def flat(self) -> Flat:
        """Give the scores as flat keys for JSON."""
        return finite(dataclasses.asdict(self))


@dataclass(frozen=True)
class ClassScores:
    """How well one class was recognised; what has no photos to be measured on is 0, as in scikit-learn."""

    class_id: int
    precision: float
    """Of the photos that were said to be of the class, the share that is."""
    recall: float
    """Of the photos of the class, the share that was said to be."""
    f1: float
    """Harmonic mean of the two: 2 · precision · recall / (precision + recall)."""
    support: int
    """Photos of the class."""


@dataclass(frozen=True)
class Classification:
    """The classification report of decisions among classes: one entry for each class that the truth has photos of."""

    classes: tuple[ClassScores, ...]
    """In the order of ids."""
    macro_f1: float
    """Mean of the classes' F1, each the same."""
    weighted_f1: float
    """Mean of the classes' F1, each as heavy as its photos."""


def distances_km(truth: ArrayLike, guesses: ArrayLike) -> Distances:
    """Measure how far guesses are from the truth: (n, 2), (n, 2) degrees -> (n,) km; NaN guesses are infinitely far."""
    distance = sphere.haversine_km(truth, guesses)
    return np.where(np.isnan(distance), np.inf, distance)


def geoscore(distance_km: ArrayLike) -> NDArray[np.float64]:
    """Score distances from 5,000 (exact) down to 0 (no answer): (n,) km -> (n,) points.

    ``5000 · exp(−d / 1492.7 km)``, GeoGuessr's score as used by PIGEON (Haas et al. 2024) and OpenStreetView-5M
    (Astruc et al. 2024).
    """
    return 5000 * np.exp(-np.asarray(distance_km, dtype=np.float64) / GEOSCORE_SCALE_KM)


def share_within(distance_km: ArrayLike, threshold_km: float) -> float:
    """Give the share of distances that are at most (``<=``) a threshold."""
    return float(np.mean(np.asarray(distance_km) <= threshold_km))


def score_photos(
    distance_km: Distances,
    *,
    region_right: NDArray[np.bool_] | None = None,
    oracle_km: Distances | None = None,
    floor_km: Distances | None = None,
    in_country: NDArray[np.bool_] | None = None,
    in_region: NDArray[np.bool_] | None = None,
    at_city: NDArray[np.bool_] | None = None,
) -> Metrics:
    """Score a set of photos.

    Args:
        distance_km: (n,) km of the answers, infinite for a photo without one.
        region_right: (n,) whether the region answered is the true one.
        oracle_km: (n,) km of the answers with the true region given.
        floor_km: (n,) km of the true regions' median places.
        in_country: (n,) whether the place is in the true country.
        in_region: (n,) whether the place is in the true region.
        at_city: (n,) whether the place has the nearest town of the truth.

    Raises:
        ValueError: there are no photos, or a distance is negative or not a number.
    """
    distance = np.asarray(distance_km, dtype=np.float64)
    if distance.size == 0 or not (distance >= 0).all():
        raise ValueError("scores need at least one distance, and every distance must be 0 km or more")
    answered = distance[np.isfinite(distance)]
    within = {f"within_{threshold}_km": share_within(distance, threshold) for threshold in THRESHOLDS_KM}
    return Metrics(
        count=distance.size,
        answered=answered.size,
        median_km=float(np.median(distance)),
        mean_km=float(answered.mean()) if answered.size else None,
        geoscore=float(geoscore(distance).mean()),
        **within,
        router_accuracy=_share(region_right),
        oracle_median_km=None if oracle_km is None else float(np.median(oracle_km)),
        region_median_floor_km=None if floor_km is None else float(np.median(floor_km)),
        country_accuracy=_share(in_country),
        region_accuracy=_share(in_region),
        city_accuracy=_share(at_city),
    )


def classify(true: ArrayLike, answered: ArrayLike) -> Classification:
    """Report how well classes were recognised: (n,) true ids and (n,) answered ids, negative for no answer.

    A photo without an answer counts for the recall of its class and for no precision. A class that the truth has no
    photo of is no class of the report, but what was wrongly said to be of it is missing elsewhere. By scikit-learn's
    ``precision_recall_fscore_support`` (van Rijsbergen 1979, "Information Retrieval", chapter 7, for F).

    Raises:
        ValueError: there are no photos.
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes a second to load

    true, answered = np.asarray(true), np.asarray(answered)
    if not true.size:
        raise ValueError("a classification report needs at least one photo")
    ids = np.unique(true)
    precision, recall, f1, support = precision_recall_fscore_support(true, answered, labels=ids, zero_division=0)
    return Classification(
        classes=tuple(
            ClassScores(*row)
            for row in zip(
                ids.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True
            )
        ),
        macro_f1=float(f1.mean()),
        weighted_f1=float(np.average(f1, weights=support)),
    )


def finite(scores: Mapping[str, int | float | None]) -> Flat:
    """Make scores fit for JSON: what is not finite becomes ``None``."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in scores.items()
    }


def _share(flags: NDArray[np.bool_] | None) -> float | None:
    return None if flags is None else float(np.mean(flags))
