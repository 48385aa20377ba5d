"""The Robinson projection and great circles as it draws them. It knows no colours and no files.

Map coordinates are in units of the globe's radius: x in [-2.67, 2.67], y in [-1.36, 1.36], the middle of the map at
(0°, 0°), its edges at 180° and the poles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from geomind.geography.sphere import Points, from_unit_vectors, unit_vectors

# Robinson 1974, "A New Map Projection: Its Development and Characteristics": for every 5° of latitude from the equator
# to the pole, the length of the parallel and its distance from the equator, each as a share of the largest.
_LENGTH = (
    1.0000, 0.9986, 0.9954, 0.9900, 0.9822, 0.9730, 0.9600, 0.9427, 0.9216, 0.8962,
    0.8679, 0.8350, 0.7986, 0.7597, 0.7186, 0.6732, 0.6213, 0.5722, 0.5322,
)  # fmt: skip
_HEIGHT = (
    0.0000, 0.0620, 0.1240, 0.1860, 0.2480, 0.3100, 0.3720, 0.4340, 0.4958, 0.5571,
    0.6176, 0.6769, 0.7346, 0.7903, 0.8435, 0.8936, 0.9394, 0.9761, 1.0000,
)  # fmt: skip
_X_SCALE, _Y_SCALE = 0.8487, 1.3523

_LATITUDES = np.arange(-90, 91, 5)
_length_at = CubicSpline(_LATITUDES, np.concatenate([_LENGTH[:0:-1], _LENGTH]))
_height_at = CubicSpline(_LATITUDES, np.concatenate([-np.array(_HEIGHT[:0:-1]), _HEIGHT]))


def project(points: ArrayLike) -> NDArray[np.float64]:
    """Place points on the map: (..., 2) degrees -> (..., 2) x to the east, y to the north."""
    latitude, longitude = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    x = _X_SCALE * _length_at(latitude) * np.radians(longitude)
    return np.stack([x, _Y_SCALE * _height_at(latitude)], axis=-1)


def outline(steps: int = 181) -> NDArray[np.float64]:
    """Give the edge of the map as a closed ring: (2 * steps, 2) map coordinates."""
    latitude = np.linspace(-90, 90, steps)
    east, west = np.full(steps, 180.0), np.full(steps, -180.0)
    return project(np.concatenate([np.stack([latitude, east], 1), np.stack([latitude[::-1], west], 1)]))


def great_circle(start: ArrayLike, end: ArrayLike, *, step_degrees: float = 1.0) -> list[Points]:
    """Draw the shortest way between two points: (2,), (2,) degrees -> pieces of (k, 2) degrees, cut at the date line.

    A way that does not cross the date line is one piece. Of the equally short ways between antipodes it takes one.
    """
    a, b = unit_vectors(start), unit_vectors(end)
    angle = np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)
    steps = max(2, int(np.ceil(np.degrees(angle) / step_degrees)) + 1)
    across = b - (a @ b) * a  # the direction of travel at the start
    if np.linalg.norm(across) < 1e-9:  # the same place, or antipodes: leave in any direction
        across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
    across /= np.linalg.norm(across)
    turned = np.linspace(0, angle, steps)[:, None]
    way = from_unit_vectors(np.cos(turned) * a + np.sin(turned) * across)
    way[0], way[-1] = start, end
    return _cut_at_date_line(way)


def _cut_at_date_line(way: Points) -> list[Points]:
    """Cut a way wherever its longitude jumps, and lead both ends to the edge of the map."""
    pieces, begin = [], 0
    head: list[tuple[float, float]] = []
    for i in np.flatnonzero(np.abs(np.diff(way[:, 1])) > 180).tolist():
        latitude, side = _crossing_latitude(way[i], way[i + 1]), np.copysign(180.0, way[i, 1])
        pieces.append(np.array([*head, *way[begin : i + 1], (latitude, side)]))
        head, begin = [(latitude, -side)], i + 1
    pieces.append(np.array([*head, *way[begin:]]))
    return pieces


def _crossing_latitude(start: Points, end: Points) -> float:
    """Find where the great circle through two near points, one on each side, meets the date line: degrees."""
    normal_x, _, normal_z = np.cross(unit_vectors(start), unit_vectors(end))
    if max(abs(normal_x), abs(normal_z)) < 1e-12:  # both are on the date line
        return float(start[0])
    if abs(normal_z) < 1e-12:  # over a pole
        return float(np.copysign(90.0, start[0]))
    return float(np.degrees(np.arctan2(np.copysign(1.0, normal_z) * normal_x, abs(normal_z))))
