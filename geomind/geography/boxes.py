"""Boxes of latitude and longitude that may cross the date line, and the unit square inside. No trigonometry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.geography.sphere import KM_PER_DEGREE, Points, km_per_degree_east, wrap_longitude

if TYPE_CHECKING:
    from torch import Tensor

Coordinates = TypeVar("Coordinates", NDArray[np.float64], "Tensor")

SMALLEST_SIDE = 0.5
"""No fitted box is narrower than this, degrees: one town must still leave its Expert a scale to answer on."""


@dataclass(frozen=True)
class Box:
    """A box in degrees; ``lon_max`` may lie past 180, so that Russia and Oceania are one piece.

    Raises:
        ValueError: a side is empty, wider than the globe, or off it.
    """

    lat_min: float
    lat_max: float
    lon_min: float
    lon_max: float

    def __post_init__(self) -> None:
        if not -90 <= self.lat_min < self.lat_max <= 90:
            raise ValueError(f"a box needs -90 <= lat_min < lat_max <= 90, not {self.lat_min} and {self.lat_max}")
        if not -180 <= self.lon_min <= 180:
            raise ValueError(f"a box needs lon_min in -180..180, not {self.lon_min}")
        if not self.lon_min < self.lon_max <= self.lon_min + 360:
            raise ValueError(f"a box needs lon_min < lon_max <= lon_min + 360, not {self.lon_min} and {self.lon_max}")

    @classmethod
    def fit(
        cls, points: ArrayLike, *, quantile: float = 0.005, padding: float = 0.02, over_date_line: bool = True
    ) -> Box:
        """Fit the narrowest box around all but the outermost points: (n, 2) degrees -> Box.

        Longitudes are cut at their widest gap, so that a region across the date line is one piece. Then ``quantile`` of
        the points is left out at each side, so that one island does not stretch a continent's box, and each side grows
        by ``padding`` of its length. ``over_date_line=False`` cuts at 180° instead, the naive way that `geomind regions
        show` compares with.

        Raises:
            ValueError: there are no points.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        if len(points) == 0:
            raise ValueError("a box needs at least one point")
        latitude = points[:, 0]
        start = _after_widest_gap(points[:, 1]) if over_date_line else -180.0
        longitude = start + (points[:, 1] - start) % 360
        south, north = _span(latitude, quantile, padding)
        west, east = _span(longitude, quantile, padding)
        if east - west >= 360:
            west, east = -180.0, 180.0
        shift = float(wrap_longitude(west)) - west
        return cls(max(south, -90.0), min(north, 90.0), west + shift, min(east + shift, west + shift + 360))

    def normalize(self, points: ArrayLike) -> NDArray[np.float64]:
        """Place points in the unit square: (..., 2) degrees -> (..., 2), (y_lat, y_lon).

        A point outside the box falls outside the square, on the side that is nearer around the globe; ``denormalize``
        is the exact inverse everywhere.
        """
        points = np.asarray(points, dtype=np.float64)
        longitude = points[..., 1]
        centre = (self.lon_min + self.lon_max) / 2
        # Only a longitude more than half a turn from the centre has a nearer name; -180 and 180 both stay what they are
        # where they are equally near.
        turns = np.ceil((np.abs(longitude - centre) - 180) / 360).clip(min=0)
        longitude = longitude - 360 * turns * np.sign(longitude - centre)
        y_lat = (points[..., 0] - self.lat_min) / (self.lat_max - self.lat_min)
        y_lon = (longitude - self.lon_min) / (self.lon_max - self.lon_min)
        return np.stack([y_lat, y_lon], axis=-1)

    def denormalize(self, square: ArrayLike) -> Points:
        """Read points of the unit square back: (..., 2) -> (..., 2) degrees, longitude in [-180, 180]."""
        latitude, longitude = self.degrees(np.asarray(square, dtype=np.float64))
        return np.stack([np.clip(latitude, -90, 90), wrap_longitude(longitude)], axis=-1)

    def degrees(self, square: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Stretch the unit square over the box: (..., 2) -> latitude (...), longitude (...), past 180 where the box is.

        Arrays and torch tensors both, so that a loss in km and ``denormalize`` are of one box.
        """
        latitude = self.lat_min + square[..., 0] * (self.lat_max - self.lat_min)
        longitude = self.lon_min + square[..., 1] * (self.lon_max - self.lon_min)
        return latitude, longitude

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Say which points lie in the box, its edges included: (..., 2) degrees -> (...)."""
        square = self.normalize(points)
        within = (square >= 0) & (square <= 1)
        return within[..., 0] & within[..., 1]

    def error_km(self, normalized_error: float = 0.05, *, latitude: float | None = None) -> float:
        """Tell what an error of ``normalized_error`` on both axes costs, km.

        A degree of longitude is measured along the parallel of ``latitude``: for a region that of its photos' median,
        since a box that reaches far beyond them has its middle elsewhere. Left out, it is the middle of the box.
        """
        if latitude is None:
            latitude = (self.lat_min + self.lat_max) / 2
        north_km = normalized_error * (self.lat_max - self.lat_min) * KM_PER_DEGREE
        east_km = normalized_error * (self.lon_max - self.lon_min) * km_per_degree_east(latitude)
        return float(np.hypot(north_km, east_km))


def _after_widest_gap(longitude: NDArray[np.float64]) -> float:
    ordered = np.unique(wrap_longitude(longitude))
    gaps = np.diff(ordered, append=ordered[0] + 360)
    return float(ordered[(int(np.argmax(gaps)) + 1) % len(ordered)])


def _span(degrees: NDArray[np.float64], quantile: float, padding: float) -> tuple[float, float]:
    """Give the two ends of all but the outermost values, padded."""
    low, high = np.quantile(degrees, [quantile, 1 - quantile])
    margin = max((high - low) * padding, (SMALLEST_SIDE - (high - low)) / 2, 0)
    return float(low - margin), float(high + margin)
