"""Scores of answers whose truth is known: distances, thresholds, GeoScore. It knows no files and no models.

Distances are great-circle kilometres on the sphere of ``geomind.geography.sphere`` (radius 6,371.0088 km). A photo
without an answer is a miss: its distance is infinite, so that it raises the median, is within no threshold and has
GeoScore 0. The mean alone is over the answered photos, since one miss would make it infinite.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.geography import sphere

Distances = NDArray[np.float64]
"""(n,) km, infinite for a photo without an answer."""

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

    def flat(self) -> dict[str, int | float | None]:
        """Give the scores as flat keys for JSON, which has no infinity: what is not finite is ``None``."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in dataclasses.asdict(self).items()
        }


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
) -> Metrics:
    """Score a set of photos.

    Args:
        distance_km: (n,) km of the answers, infinite for a photo without one.
        region_right: (n,) whether the region answered is the true one.
        oracle_km: (n,) km of the answers with the true region given.
        floor_km: (n,) km of the true regions' median places.

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
        router_accuracy=None if region_right is None else float(np.mean(region_right)),
        oracle_median_km=None if oracle_km is None else float(np.median(oracle_km)),
        region_median_floor_km=None if floor_km is None else float(np.median(floor_km)),
    )
