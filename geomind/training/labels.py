"""What the Director is told of a training photo: its region, or how probable each region may seem. No networks here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geomind.config import DirectorConfig
from geomind.geography.sphere import Points, chord_to_km, km_to_chord, unit_vectors

_NEGLIGIBLE = 16.0
"""Distances beyond this many times tau get no share: exp(-16) is what float32 loses beside 1."""


def label_distribution(
    config: DirectorConfig, points: Points, region_ids: NDArray[np.int64], regions: int
) -> NDArray[np.float32]:
    """Give each training photo's share of every region, smoothed as the settings ask: (n, regions), rows sum to 1.

    Args:
        config: The settings; without smoothing, all of a photo is its own region's.
        points: (n, 2) degrees, where the training photos were taken.
        region_ids: (n,) their regions.
        regions: How many regions there are.
    """
    if config.label_smoothing_km:
        return soft_labels(points, region_ids, regions, tau_km=config.label_smoothing_km)
    labels = np.full((len(region_ids), regions), config.label_smoothing / regions, dtype=np.float32)
    labels[np.arange(len(region_ids)), region_ids] += 1 - config.label_smoothing
    return labels


def soft_labels(points: Points, region_ids: NDArray[np.int64], regions: int, *, tau_km: float) -> NDArray[np.float32]:
    """Spread each photo's label over the regions near it: (n, 2) degrees, (n,) ids -> (n, regions), rows sum to 1.

    A region's share is in proportion to exp(-(d - d_min) / tau) (Haas et al. 2023, "PIGEON: Predicting Image
    Geolocations"). There d is the distance to a cell's centroid; our regions are as wide as continents, so that one
    next door may have its middle farther off than one across the sea. Here d is the distance to the region's nearest
    training photo: 0 for the own region, which is d_min. A region without photos gets no share.

    Args:
        points: Where the training photos were taken.
        region_ids: Their regions.
        regions: How many regions there are.
        tau_km: Distance at which a region's share is 1/e of the own one's, km, above 0.
    """
    vectors = unit_vectors(points)
    # Photos of one region within about a hundredth of tau are one place: a million of them take seconds, not minutes.
    cube = np.floor(vectors / km_to_chord(max(tau_km / 100, 0.001))).astype(np.int64)
    _, first, place_of = np.unique(np.column_stack([region_ids, cube]), axis=0, return_index=True, return_inverse=True)
    shares = _shares(vectors[first], region_ids[first], regions, tau_km)
    return shares[place_of.reshape(-1)]  # NumPy 2.0 alone gives it a second axis


def _shares(
    vectors: NDArray[np.float64], region_ids: NDArray[np.int64], regions: int, tau_km: float
) -> NDArray[np.float32]:
    shares = np.zeros((len(vectors), regions))
    for region in np.unique(region_ids):
        inside = region_ids == region
        shares[inside, region] = 1
        others = np.flatnonzero(~inside)
        limit = km_to_chord(_NEGLIGIBLE * tau_km)
        chord, _ = cKDTree(vectors[inside]).query(vectors[others], distance_upper_bound=limit, workers=-1)
        near = np.isfinite(chord)
        shares[others[near], region] = np.exp(-chord_to_km(chord[near]) / tau_km)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)
