"""Names of places: the country of a point, the nearest town, land and outlines. It knows no photos and no regions.

Everything is answered offline from the tables in ``tables/``, made by ``tables/build.py`` out of GeoNames (CC BY 4.0)
and Natural Earth (public domain); that file says whose land is whose. A table is read when it is first asked for, and
kept. Points are (latitude, longitude) in degrees; a longitude past 180 is wrapped.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import ArrayLike, NDArray

from geomind.geography.nearest import Nearest
from geomind.geography.sphere import Points, chord_to_km, km_to_chord, unit_vectors, wrap_longitude

SEA_LIMIT_KM = 370.4
"""How far off its coast the sea counts as a country's: 200 nautical miles, the exclusive economic zone (United Nations
Convention on the Law of the Sea, article 57). Beyond are the high seas."""

CITY_LIMIT_KM = 100.0
"""The nearest town names a place up to this far; beyond, its name says less than the coordinates do."""

HIGH_SEAS = ""
"""The country of a point that is in none."""

_TABLES = Path(__file__).parent / "tables"
_POINTS_AT_ONCE = 100_000  # bounds the memory that a million points need


@dataclass(frozen=True)
class Country:
    """A country or territory with an ISO 3166-1 code, or Kosovo (``XK``)."""

    code: str
    """ISO 3166-1 alpha-2."""
    name: str
    continent: str
    area_km2: float
    population: int


@dataclass(frozen=True, eq=False)
class Cities:
    """The world's towns of 5,000 people and more, seats of government, and a place for every territory.

    All arrays have one entry a town; they are ordered by country, the largest town first.
    """

    name: NDArray[np.object_]
    country: NDArray[np.str_]
    points: Points
    """(n, 2)"""
    population: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NearestPlaces:
    """The town nearest to each of some points, arrays of the points' shape."""

    name: NDArray[np.object_]
    country: NDArray[np.str_]
    population: NDArray[np.int64]
    distance_km: NDArray[np.float64]


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def country_at(points: ArrayLike) -> NDArray[np.str_]:
    """Name the country of each point: (..., 2) degrees -> (...) ISO 3166-1 alpha-2, ``""`` on the high seas.

    On land the polygons decide. Off them (a boat, a pier, an island too small to be drawn) it is the country of the
    nearest coast or town within ``SEA_LIMIT_KM``.

    Raises:
        ValueError: a point is not finite, or a latitude is outside [-90, 90].
    """
    points = _checked(points)
    flat = points.reshape(-1, 2)
    country = np.full(len(flat), HIGH_SEAS, dtype="<U2")
    for part in _parts(len(flat)):
        piece = _piece_of(flat[part])
        on_land = piece >= 0
        country[part][on_land] = _land().country[piece[on_land]]
        country[part][~on_land] = _nearest_coast(flat[part][~on_land])
    return country.reshape(points.shape[:-1])


def on_land(points: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points are on land or a lake, not the sea: (..., 2) degrees -> (...).

    Coasts are good to about 1 km; islands of a few hectares are missing.

    Raises:
        ValueError: a point is not finite, or a latitude is outside [-90, 90].
    """
    points = _checked(points)
    flat = points.reshape(-1, 2)
    found = [_piece_of(flat[part]) >= 0 for part in _parts(len(flat))]
    return np.concatenate([*found, np.zeros(0, dtype=bool)]).reshape(points.shape[:-1])


def nearest_place(points: ArrayLike) -> NearestPlaces:
    """Find the nearest town by great-circle distance, wherever and however far it is: (..., 2) degrees.

    Raises:
        ValueError: a point is not finite, or a latitude is outside [-90, 90].
    """
    points = _checked(points)
    flat = points.reshape(-1, 2)
    nearest, chord = np.empty(len(flat), dtype=np.int64), np.empty(len(flat))
    for part in _parts(len(flat)):
        chord[part], nearest[part] = _towns().query(unit_vectors(flat[part]))
    table, shape = cities(), points.shape[:-1]
    return NearestPlaces(
        name=table.name[nearest].reshape(shape),
        country=table.country[nearest].reshape(shape),
        population=table.population[nearest].reshape(shape),
        distance_km=chord_to_km(chord).reshape(shape),
    )


def city_at(points: ArrayLike, countries: ArrayLike) -> NDArray[np.object_]:
    """Name the nearest town of each point, ``""`` where it is abroad or farther than ``CITY_LIMIT_KM``.

    Args:
        points: (..., 2) degrees.
        countries: (...) the countries of the points, as ``country_at`` names them.

    Returns:
        (...) names.

    Raises:
        ValueError: a point is not finite, or a latitude is outside [-90, 90].
    """
    towns = nearest_place(points)
    near = (towns.country == np.asarray(countries)) & (towns.distance_km <= CITY_LIMIT_KM)
    names: NDArray[np.object_] = np.where(near, towns.name, "")
    return names


def country_name(code: str) -> str:
    """Name a country in English; the high seas have no name.

    Raises:
        ValueError: the code is not in ISO 3166-1.
    """
    if code == HIGH_SEAS:
        return ""
    try:
        return countries()[code].name
    except KeyError:
        raise ValueError(
            f"'{code}' is no country: use ISO 3166-1 alpha-2 in capitals, such as NA for Namibia."
        ) from None


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def countries() -> Mapping[str, Country]:
    """Give all 250 countries and territories by code."""
    # csv and not pandas, which reads Namibia's NA as a missing value.
    with (_TABLES / "countries.csv").open(encoding="utf-8", newline="") as file:
        return MappingProxyType(
            {
                row["code"]: Country(
                    code=row["code"],
                    name=row["name"],
                    continent=row["continent"],
                    area_km2=float(row["area_km2"]),
                    population=int(row["population"]),
                )
                for row in csv.DictReader(file)
            }
        )


@functools.cache
def cities() -> Cities:
    """Give the table of towns; its arrays are shared and cannot be written."""
    table = _read("cities.parquet")
    name, country, latitude, longitude, population = (
        table[column] for column in ("name", "country", "latitude", "longitude", "population")
    )
    return Cities(
        name=_shared(name),
        country=_shared(country.astype("<U2")),
        points=_shared(np.stack([latitude, longitude], axis=-1).astype(np.float64)),
        population=_shared(population.astype(np.int64)),
    )


def land_rings() -> list[Points]:
    """Give the land of a world map as closed rings of (k, 2) degrees, cut at the antimeridian.

    Fill them as one path: inland seas are rings of their own that run clockwise, shells run anticlockwise. Their edges
    along 180° and the south pole are no coast; for lines draw ``coastlines`` and ``borders``.
    """
    polygons = shapely.normalize(_outlines("land"))  # shells run clockwise, holes anticlockwise
    return [_to_points(ring)[::-1] for ring in shapely.get_rings(polygons)]


def coastlines() -> list[Points]:
    """Give the coasts of a world map as lines of (k, 2) degrees, none of which runs along the antimeridian."""
    return [_to_points(line) for line in _outlines("coastline")]


def borders() -> list[Points]:
    """Give the borders between countries, on land, of a world map as lines of (k, 2) degrees."""
    return [_to_points(line) for line in _outlines("border")]


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class _Land:
    """The countries' land in small polygons, x the longitude and y the latitude."""

    country: NDArray[np.str_]
    polygons: NDArray[Any]
    tree: shapely.STRtree


@functools.cache
def _land() -> _Land:
    table = _read("land.parquet")
    polygons = shapely.from_wkb(table["polygon"])
    return _Land(table["country"].astype("<U2"), polygons, shapely.STRtree(polygons))


def _piece_of(points: Points) -> NDArray[np.int64]:
    """Find the polygon that each point is in: (n, 2) degrees -> (n,) its number, -1 at sea."""
    piece = np.full(len(points), -1, dtype=np.int64)
    at, found = _land().tree.query(shapely.points(points[:, ::-1]), predicate="intersects")
    # A point on a border is in two polygons: it goes to the first, whatever order the tree finds them in.
    order = np.lexsort((found, at))[::-1]
    piece[at[order]] = found[order]
    return piece


@functools.cache
def _coasts() -> tuple[Nearest, NDArray[np.str_]]:
    """Index every corner of the land, and every town: an island that is not drawn has its town."""
    corners, piece = shapely.get_coordinates(_land().polygons, return_index=True)
    vectors = unit_vectors(np.concatenate([corners[:, ::-1], cities().points]))
    return Nearest(vectors), np.concatenate([_land().country[piece], cities().country])


def _nearest_coast(points: Points) -> NDArray[np.str_]:
    """Name the country of the nearest coast or town within the limit: (n, 2) degrees -> (n,) codes."""
    if len(points) == 0:
        return np.empty(0, dtype="<U2")
    coasts, country = _coasts()
    chord, nearest = coasts.query(unit_vectors(points))
    return np.where(chord < km_to_chord(SEA_LIMIT_KM), country[nearest], HIGH_SEAS)


@functools.cache
def _towns() -> Nearest:
    return Nearest(unit_vectors(cities().points))


def _read(name: str) -> dict[str, NDArray[Any]]:
    """Read a table by column, without what pyarrow does through pandas: importing that takes longer than the rest."""
    with pq.ParquetFile(_TABLES / name) as file:
        table = file.read().combine_chunks()
        columns = {column: table[column].chunk(0) for column in table.column_names}
    return {
        column: np.from_dlpack(values)
        if pa.types.is_primitive(values.type)
        else np.array(values.to_pylist(), dtype=object)
        for column, values in columns.items()
    }


def _outlines(kind: str) -> NDArray[Any]:
    table = _read("outlines.parquet")
    shapes: NDArray[Any] = shapely.from_wkb(table["shape"][table["kind"] == kind])
    return shapes


def _to_points(line: Any) -> Points:
    points: Points = shapely.get_coordinates(line)[:, ::-1].copy()
    return points


def _shared(array: NDArray[Any]) -> NDArray[Any]:
    """Make an array that callers share unwritable."""
    array.flags.writeable = False
    return array


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _POINTS_AT_ONCE) for start in range(0, count, _POINTS_AT_ONCE))


def _checked(points: ArrayLike) -> Points:
    """Take points in at the door: float64, finite, on the sphere, longitudes wrapped."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise ValueError(f"Points are arrays of (latitude, longitude), shape (..., 2), not {points.shape}.")
    wrong = ~(np.isfinite(points).all(axis=-1) & (np.abs(points[..., 0]) <= 90))
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {wrong.size} points are not on the Earth, the first is {points[wrong][0].tolist()}: "
            "latitude is in [-90, 90] degrees and nothing is missing or infinite."
        )
    return np.stack([points[..., 0], wrap_longitude(points[..., 1])], axis=-1)
