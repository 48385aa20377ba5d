"""Points on the sphere: all trigonometry of GeoMind. It knows no countries, boxes or photos.

A point is (latitude, longitude) in degrees, an array of points is (..., 2). Latitude is in [-90, 90], longitude in
[-180, 180]; both ends of the date line are valid and mean the same meridian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the WGS 84 ellipsoid, km (Moritz 2000, Geodetic Reference System 1980)."""

KM_PER_DEGREE = EARTH_RADIUS_KM * np.pi / 180
"""Length of one degree along any great circle, km (111.195)."""

Points = NDArray[np.float64]
"""Float array of shape (..., 2): latitude, longitude in degrees."""


def wrap_longitude(longitude: ArrayLike) -> NDArray[np.float64]:
    """Bring longitudes into [-180, 180]; values already there, both ends included, are unchanged."""
    longitude = np.asarray(longitude, dtype=np.float64)
    inside = np.abs(longitude) <= 180
    wrapped: NDArray[np.float64] = np.where(inside, longitude, (longitude + 180) % 360 - 180)
    return wrapped


def unit_vectors(points: ArrayLike) -> NDArray[np.float64]:
    """Place points on the unit sphere: (..., 2) degrees -> (..., 3), x to (0°, 0°), z to the north pole.

    Both ends of the date line give the same vector to the last bit, so that no tie is broken by the way it is written.
    """
    degrees = np.asarray(points, dtype=np.float64)
    latitude, longitude = np.moveaxis(np.radians(np.where(degrees == -180, 180, degrees)), -1, 0)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )


def from_unit_vectors(vectors: ArrayLike) -> Points:
    """Read vectors of any positive length back as points: (..., 3) -> (..., 2) degrees."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    return np.stack([np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))], axis=-1)


def haversine_km(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Measure great-circle distances: (..., 2), (..., 2) degrees -> (...) km, broadcasting.

    Haversine formula (Sinnott 1984, "Virtues of the Haversine"): well conditioned at small distances, and at antipodes
    once its argument is clipped to 1.
    """
    a, b = np.radians(np.asarray(a, dtype=np.float64)), np.radians(np.asarray(b, dtype=np.float64))
    half: NDArray[np.float64] = np.sin((b - a) / 2) ** 2
    h = half[..., 0] + np.cos(a[..., 0]) * np.cos(b[..., 0]) * half[..., 1]
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def km_per_degree_east(latitude: ArrayLike) -> NDArray[np.float64]:
    """Measure one degree of longitude along its parallel: (...) degrees -> (...) km."""
    return KM_PER_DEGREE * np.cos(np.radians(np.asarray(latitude, dtype=np.float64)))


def chord_to_km(chord: ArrayLike) -> NDArray[np.float64]:
    """Turn straight-line distances between unit vectors into great-circle km (what a KD-tree returns)."""
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.clip(np.asarray(chord, dtype=np.float64) / 2, 0, 1))


def km_to_chord(distance_km: ArrayLike) -> NDArray[np.float64]:
    """Turn great-circle km into straight-line distances between unit vectors (what a KD-tree is asked)."""
    angle = np.clip(np.asarray(distance_km, dtype=np.float64) / EARTH_RADIUS_KM, 0, np.pi)
    return 2 * np.sin(angle / 2)


def destination(points: ArrayLike, bearing: ArrayLike, distance_km: ArrayLike) -> Points:
    """Walk from points along a great circle: bearing in degrees clockwise from north -> (..., 2) degrees."""
    latitude, longitude = np.moveaxis(np.radians(np.asarray(points, dtype=np.float64)), -1, 0)
    theta = np.radians(np.asarray(bearing, dtype=np.float64))
    angle = np.asarray(distance_km, dtype=np.float64) / EARTH_RADIUS_KM
    north = np.sin(angle) * np.cos(theta)
    x = np.cos(latitude) * np.cos(angle) - np.sin(latitude) * north  # turned so that the start is on meridian 0
    y = np.sin(angle) * np.sin(theta)
    z = np.sin(latitude) * np.cos(angle) + np.cos(latitude) * north
    end = from_unit_vectors(np.stack(np.broadcast_arrays(x, y, z), axis=-1))
    return np.stack([end[..., 0], wrap_longitude(np.degrees(longitude) + end[..., 1])], axis=-1)


def displacement_km(origins: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Say how far east and north points lie from origins: (..., 2), (..., 2) degrees -> (..., 2) km, broadcasting.

    The length is the great-circle distance and the direction the bearing at the origin, which is the azimuthal
    equidistant projection (Snyder 1987, "Map Projections: A Working Manual", chapter 25).
    """
    origins, points = np.asarray(origins, dtype=np.float64), np.asarray(points, dtype=np.float64)
    latitude, other = np.radians(origins[..., 0]), np.radians(points[..., 0])
    turn = np.radians(points[..., 1] - origins[..., 1])
    east = np.cos(other) * np.sin(turn)
    north = np.cos(latitude) * np.sin(other) - np.sin(latitude) * np.cos(other) * np.cos(turn)
    length = np.hypot(east, north)
    stretch = haversine_km(origins, points) / np.where(length > 0, length, 1)
    return np.stack([east * stretch, north * stretch], axis=-1)


def displaced(origins: ArrayLike, displacement_km: ArrayLike) -> Points:
    """Walk from origins so far east and north: (..., 2) degrees, (..., 2) km -> (..., 2) degrees, broadcasting.

    The inverse of ``displacement_km``, up to half way round the Earth.
    """
    east, north = np.moveaxis(np.asarray(displacement_km, dtype=np.float64), -1, 0)
    return destination(origins, np.degrees(np.arctan2(east, north)), np.hypot(east, north))


def geodesic_median(points: ArrayLike, weights: ArrayLike | None = None, *, steps: int = 200) -> Points:
    """Find the point with the smallest summed great-circle distance to all: (n, 2) degrees -> (2,) degrees.

    Weiszfeld's algorithm in the tangent plane (Fletcher, Venkatasubramanian & Joshi 2009, "The geometric median on
    Riemannian manifolds"), started at the best of the mean direction and a sample of the points themselves, so that
    clouds around the date line, the poles or two antipodes have an answer.

    Raises:
        ValueError: there are no points, or no weight is positive.
    """
    vectors = unit_vectors(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    weight = np.ones(len(vectors)) if weights is None else np.asarray(weights, dtype=np.float64)
    vectors, weight = vectors[weight > 0], weight[weight > 0]
    if len(vectors) == 0:
        raise ValueError("the median of no points is not defined")

    def cost(centre: NDArray[np.float64]) -> float:
        return float(weight @ np.arctan2(np.linalg.norm(np.cross(vectors, centre), axis=1), vectors @ centre))

    mean = weight @ vectors
    starts = [vectors[i] for i in np.unique(np.linspace(0, len(vectors) - 1, 64).astype(int))]
    if np.linalg.norm(mean) > 1e-12:
        starts.append(mean / np.linalg.norm(mean))
    centre = min(starts, key=cost)
    best, best_cost = centre, cost(centre)
    for _ in range(steps):
        cosine = np.clip(vectors @ centre, -1, 1)
        tangent = vectors - cosine[:, None] * centre
        length = np.linalg.norm(tangent, axis=1)
        angle = np.arctan2(length, cosine)
        away = length > 1e-12  # a point at the centre, or opposite it, gives no direction
        if not away.any():
            break
        pull = weight[away] / angle[away]
        direction = (pull * angle[away] / length[away]) @ tangent[away] / pull.sum()
        size = np.linalg.norm(direction)
        if size < 1e-12:
            break
        centre = np.cos(size) * centre + np.sin(size) * direction / size
        centre /= np.linalg.norm(centre)
        if (now := cost(centre)) < best_cost:
            improvement, best, best_cost = best_cost - now, centre, now
            if improvement < 1e-12 * max(best_cost, 1e-12):
                break
    return from_unit_vectors(best)
