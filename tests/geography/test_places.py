from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geomind.geography import places
from geomind.geography.sphere import haversine_km
from geomind.geography.tables import build

LATITUDE, LONGITUDE = st.floats(-90, 90), st.floats(-180, 180)

TRICKY = {
    "Suva": ("FJ", -18.14, 178.44),
    "Taveuni, west of the date line": ("FJ", -16.85, 179.97),
    "Taveuni, east of it": ("FJ", -16.80, -179.95),
    "Taveuni, on it": ("FJ", -16.85, 180),
    "Taveuni, on it from the other side": ("FJ", -16.85, -180),
    "Lau Islands": ("FJ", -18.2, -178.8),
    "Wrangel Island, on the date line": ("RU", 71.2, 180),
    "Wrangel Island, on it from the other side": ("RU", 71.2, -180),
    "Chukotka": ("RU", 66.5, -172),
    "Big Diomede": ("RU", 65.78, -169.06),
    "Little Diomede": ("US", 65.755, -168.92),
    "Attu": ("US", 52.9, 173.0),
    "south pole": ("AQ", -90, 0),
    "south pole, along another meridian": ("AQ", -90, 180),
    "north pole": ("", 90, 0),
    "middle of the Atlantic": ("", 30, -40),
    "where the equator meets Greenwich": ("", 0, 0),
    "Windhoek": ("NA", -22.56, 17.08),
    "Cayenne": ("GF", 4.93, -52.33),
    "Guadeloupe": ("GP", 16.2, -61.6),
    "Martinique": ("MQ", 14.6, -61.0),
    "Réunion": ("RE", -21.1, 55.5),
    "Mayotte": ("YT", -12.8, 45.15),
    "Clipperton": ("FR", 10.3, -109.2),
    "Longyearbyen": ("SJ", 78.22, 15.63),
    "Nordaustlandet": ("SJ", 79.9, 22.0),
    "Jan Mayen": ("SJ", 70.95, -8.6),
    "Bear Island": ("SJ", 74.45, 19.0),
    "Tromsø": ("NO", 69.65, 18.96),
    "Bouvet Island": ("BV", -54.42, 3.36),
    "Bonaire": ("BQ", 12.17, -68.27),
    "Saba": ("BQ", 17.63, -63.24),
    "Curaçao": ("CW", 12.15, -68.9),
    "Tokelau": ("TK", -9.38, -171.25),
    "Christmas Island": ("CX", -10.49, 105.62),
    "Cocos": ("CC", -12.19, 96.83),
    "Mariehamn": ("AX", 60.1, 19.94),
    "Hong Kong": ("HK", 22.28, 114.16),
    "Macao": ("MO", 22.19, 113.54),
    "Taipei": ("TW", 25.03, 121.56),
    "St Peter's Square": ("VA", 41.9022, 12.4573),
    "Castel Sant'Angelo": ("IT", 41.9031, 12.4663),
    "San Marino": ("SM", 43.936, 12.447),
    "Dogana": ("SM", 43.9803, 12.4905),
    "Monte-Carlo": ("MC", 43.739, 7.427),
    "Beausoleil": ("FR", 43.7431, 7.4225),
    "Gibraltar": ("GI", 36.1408, -5.3536),
    "La Línea": ("ES", 36.168, -5.348),
    "Ceuta": ("ES", 35.889, -5.315),
    "Melilla": ("ES", 35.292, -2.94),
    "Pristina": ("XK", 42.66, 21.16),
    "Simferopol": ("UA", 44.95, 34.10),
    "Kerch": ("UA", 45.35, 36.47),
    "Taman": ("RU", 45.21, 36.72),
    "Kaliningrad": ("RU", 54.71, 20.51),
    "Maseru": ("LS", -29.31, 27.48),
    "Laayoune": ("EH", 27.15, -13.2),
    "Dakhla": ("EH", 23.68, -15.95),
    "Hargeisa": ("SO", 9.56, 44.06),
    "Kyrenia": ("CY", 35.34, 33.32),
    "Akrotiri": ("CY", 34.59, 32.98),
    "Ramallah": ("PS", 31.9, 35.2),
    "Gaza": ("PS", 31.5, 34.46),
    "Guantánamo Bay": ("CU", 19.9, -75.15),
    "Baikonur": ("KZ", 45.62, 63.31),
    "Kastellorizo, two kilometres off Turkey": ("GR", 36.149, 29.592),
    "Point Roberts": ("US", 48.985, -123.06),
    "Delta, across the border from it": ("CA", 49.02, -123.06),
    "Northwest Angle": ("US", 49.35, -95.1),
    "Baarle-Nassau": ("NL", 51.4475, 4.9292),
    "Cabinda": ("AO", -5.55, 12.2),
    "Musandam": ("OM", 26.2, 56.25),
    "Naxçıvan": ("AZ", 39.2, 45.41),
    "Wake Island": ("UM", 19.28, 166.65),
    "a boat off Nice": ("FR", 43.6, 7.3),
    "a boat on the Caspian Sea": ("AZ", 40.2, 50.6),
}


@pytest.mark.parametrize(("country", "latitude", "longitude"), TRICKY.values(), ids=TRICKY)
def test_tricky_points_have_their_country(country: str, latitude: float, longitude: float) -> None:
    assert places.country_at([[latitude, longitude]]).tolist() == [country]


@given(st.lists(st.tuples(LATITUDE, LONGITUDE), max_size=20))
def test_every_point_has_a_known_country_or_none(points: list[tuple[float, float]]) -> None:
    points = np.array(points).reshape(-1, 2)
    country, land = places.country_at(points), places.on_land(points)
    assert country.shape == land.shape == (len(points),)
    assert set(country.tolist()) <= {*places.countries(), places.HIGH_SEAS}
    assert (country[land] != places.HIGH_SEAS).all()


@given(LATITUDE, LONGITUDE)
def test_a_longitude_a_turn_further_is_the_same_place(latitude: float, longitude: float) -> None:
    # A thousandth of a degree: a turn costs a longitude its last bits.
    here, longitude = [latitude, round(longitude, 3)], round(longitude, 3)
    there = [latitude, longitude + 360 if longitude < 0 else longitude - 360]
    assert places.nearest_place(here).name == places.nearest_place(there).name


@given(LATITUDE)
def test_both_ends_of_the_date_line_are_one_meridian(latitude: float) -> None:
    here = [[latitude, 180.0], [latitude, -180.0]]
    assert len(set(places.country_at(here).tolist())) == 1
    assert len(set(places.on_land(here).tolist())) == 1


@given(LATITUDE, LONGITUDE)
def test_the_nearest_place_is_the_nearest(latitude: float, longitude: float) -> None:
    """Packages that search raw degrees name a wrong city for one point in nine, most near poles and the date line."""
    found = places.nearest_place([latitude, longitude])
    distance_km = haversine_km(places.cities().points, [latitude, longitude])
    assert found.distance_km == pytest.approx(distance_km.min(), abs=1e-6)
    assert found.name in places.cities().name[distance_km < distance_km.min() + 1e-6]


def test_a_city_is_near_and_of_the_same_country() -> None:
    paris, border, sahara, sea = [48.8534, 2.3488], [43.786, 7.536], [24.0, 20.0], [-40.0, -120.0]
    points = [paris, border, sahara, sea]
    countries = places.country_at(points)
    assert countries.tolist() == ["FR", "IT", "LY", ""]
    names = places.city_at(points, countries).tolist()
    assert names == ["Paris", "", "", ""]  # nearest to the second is Menton, in France
    assert places.city_at([paris], ["DE"]).tolist() == [""]
    assert places.city_at(np.reshape(points, (2, 2, 2)), countries.reshape(2, 2)).tolist() == [names[:2], names[2:]]
    assert places.nearest_place(sahara).distance_km > places.CITY_LIMIT_KM
    assert places.city_at(np.empty((0, 2)), []).shape == (0,)


def test_the_nearest_place_is_told_whole() -> None:
    found = places.nearest_place([[48.8534, 2.3488], [-16.8, -179.99]])
    assert found.country.tolist() == ["FR", "FJ"]
    assert found.name[0] == "Paris"
    assert found.population[0] > 2_000_000
    assert (found.distance_km < [1, 80]).all()


def test_land_is_land_and_the_sea_is_not() -> None:
    land = [(48.85, 2.35), (-80, 100), (-90, 0), (71.2, 180), (71.2, -180), (44.0, -87.0), (46, 2)]
    sea = [(42, 51), (0, 0), (85, 0), (50, -2), (-16.9, -175), (15, 115)]
    assert places.on_land(land).all()
    assert not places.on_land(sea).any()


def test_the_sea_is_its_coasts_up_to_200_nautical_miles() -> None:
    off_recife = [(-8.05, -34.85 + km / 110) for km in (20, 200, 360, 390, 800)]  # the coast runs north and south
    assert places.country_at(off_recife).tolist() == ["BR", "BR", "BR", "", ""]


@pytest.mark.parametrize("ask", [places.country_at, places.on_land, lambda p: places.nearest_place(p).country])
def test_points_keep_their_shape(ask: Callable[[object], np.ndarray]) -> None:
    points = np.array([[[48.9, 2.3], [0, 0]], [[-22.6, 17.1], [40, -100]], [[1, 2], [60, 60]]])
    assert ask(points).shape == (3, 2)
    assert ask(points).tolist() == ask(points.reshape(-1, 2)).reshape(3, 2).tolist()
    assert ask(points[0, 0]).shape == ()
    assert ask(np.empty((0, 2))).shape == (0,)


@pytest.mark.parametrize("ask", [places.country_at, places.on_land, places.nearest_place])
@pytest.mark.parametrize("wrong", [(np.nan, 0), (0, np.inf), (90.1, 0), (-91, 0)])
def test_a_point_off_the_earth_is_refused(ask: Callable[[object], object], wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="1 of 2 points are not on the Earth"):
        ask([(0, 0), wrong])


def test_points_of_three_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2\), not \(1, 3\)"):
        places.country_at([[1, 2, 3]])


def test_more_points_than_are_asked_at_once_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.array([(latitude, longitude) for _, latitude, longitude in TRICKY.values()])
    whole, nearest, land = places.country_at(points), places.nearest_place(points), places.on_land(points)
    monkeypatch.setattr(places, "_POINTS_AT_ONCE", 7)
    assert places.country_at(points).tolist() == whole.tolist()
    assert places.nearest_place(points).name.tolist() == nearest.name.tolist()
    assert places.on_land(points).tolist() == land.tolist()


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_countries_are_those_of_iso_3166() -> None:
    countries = places.countries()
    assert len(countries) == 250
    assert all(code == country.code and len(code) == 2 for code, country in countries.items())
    namibia = countries["NA"]
    assert (namibia.name, namibia.continent) == ("Namibia", "Africa")
    assert 800_000 < namibia.area_km2 < 850_000
    assert countries["US"].continent == "North America"


def test_a_country_has_a_name_and_the_high_seas_none() -> None:
    assert places.country_name("NA") == "Namibia"
    assert places.country_name(places.HIGH_SEAS) == ""
    for code in ("ZZ", "na", "AN"):
        with pytest.raises(ValueError, match=f"'{code}' is no country"):
            places.country_name(code)


def test_every_country_has_a_place_and_land() -> None:
    cities = places.cities()
    assert set(cities.country.tolist()) == set(places.countries())
    at_home = places.country_at(cities.points) == cities.country
    assert at_home.mean() > 0.997
    assert set(cities.country[at_home].tolist()) == set(places.countries())


def test_cities_are_ordered_and_cannot_be_written() -> None:
    cities = places.cities()
    assert len(cities.name) == len(cities.country) == len(cities.points) == len(cities.population) > 69_000
    same_country = cities.country[1:] == cities.country[:-1]
    assert (cities.country[1:] >= cities.country[:-1]).all()
    assert (cities.population[1:] <= cities.population[:-1])[same_country].all()
    with pytest.raises(ValueError, match="read-only"):
        cities.points[0] = 0


def test_shipped_tables_are_small() -> None:
    sizes = [path.stat().st_size for path in Path(build.__file__).parent.glob("*.[pc][as][rv]*")]
    assert len(sizes) == 4
    assert max(sizes) <= 2_000_000
    assert sum(sizes) <= 4_000_000


def test_land_rings_fill_as_one_path() -> None:
    rings = places.land_rings()
    assert all((ring[0] == ring[-1]).all() and len(ring) >= 4 for ring in rings)
    area = {tuple(ring[0]): shapely.Polygon(ring[:, ::-1]).area for ring in rings}
    inner = [ring for ring in rings if not shapely.LinearRing(ring[:, ::-1]).is_ccw]
    caspian = max(inner, key=lambda ring: area[tuple(ring[0])])
    assert shapely.Polygon(caspian[:, ::-1]).contains(shapely.Point(51, 42))
    land = sum(area.values()) - 2 * sum(area[tuple(ring[0])] for ring in inner)
    assert land == pytest.approx(21_500, rel=0.03)  # square degrees of land on a plate carrée map


@pytest.mark.parametrize("lines", [places.coastlines, places.borders])
def test_no_line_runs_across_the_map_or_along_its_edge(lines: Callable[[], list[np.ndarray]]) -> None:
    """A coast that jumps from 180° to -180°, or a cut drawn as a coast, is a stroke across every map."""
    for line in lines():
        assert (np.abs(np.diff(line, axis=0)) <= 1.001).all()
        on_edge = np.abs(line[:, 1]) == 180
        assert not (on_edge[1:] & on_edge[:-1]).any()
        assert line[:, 0].min() > -89


def test_the_map_shows_coasts_on_both_sides_of_the_date_line_and_borders_on_land() -> None:
    coast = np.concatenate(places.coastlines())
    assert (coast[:, 1] > 179.9).any()
    assert (coast[:, 1] < -179.9).any()
    middle = np.array([line[len(line) // 2] for line in places.borders() if len(line) > 9])
    assert places.on_land(middle).mean() > 0.98


# ── with real photos ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_real_photos_have_the_country_they_were_taken_in(shared: Path) -> None:
    table = pd.read_csv(shared / "photos/manifest.csv", keep_default_na=False, dtype=str)
    points = table[["latitude", "longitude"]].astype(float).to_numpy()
    assert places.country_at(points).tolist() == table["country"].tolist()


def test_real_photo_places_are_in_the_country_of_their_nearest_town(shared: Path) -> None:
    points = pd.read_csv(shared / "coordinates/photo_coordinates_100k.csv").to_numpy()
    country, nearest = places.country_at(points), places.nearest_place(points)
    assert (country != places.HIGH_SEAS).mean() > 0.999
    assert (country == nearest.country).mean() > 0.98


# ── building the tables ──────────────────────────────────────────────────────────────────────────────────────────────


def topology(*arcs: list[tuple[int, int]], **countries: list[list[list[int]]]) -> dict[str, object]:
    """Write a TopoJSON of whole degrees; a country is numbered like its name, ``n7=…`` is 7."""
    steps = [np.diff(arc, axis=0, prepend=[(0, 0)]).tolist() for arc in arcs]
    features = [
        {"id": f"{int(name[1:]):03d}", "type": "MultiPolygon", "arcs": parts, "properties": {"name": name}}
        for name, parts in countries.items()
    ]
    transform = {"scale": [1, 1], "translate": [0, 0]}
    return {"transform": transform, "arcs": steps, "objects": {"countries": {"geometries": features}}}


def test_neighbours_share_their_arc() -> None:
    world = topology([(0, 0), (0, 5)], [(0, 5), (-4, 5), (-4, 0), (0, 0)], [(0, 5), (6, 5), (6, 0), (0, 0)],
                     n1=[[[0, 1]]], n2=[[[2, 0]]])  # fmt: skip
    lands = dict(build.read_natural_earth(world, {1: "AA", 2: "BB"}))
    assert lands["AA"].equals(shapely.box(-4, 0, 0, 5))
    assert lands["BB"].equals(shapely.box(0, 0, 6, 5))


def test_land_across_the_antimeridian_is_cut_and_stays_whole() -> None:
    """A ring that jumps from 180 to -180 used to cover the whole of its parallels."""
    world = topology([(178, 0), (-177, 0), (-177, 4), (178, 4), (178, 0)], n1=[[[0]]])
    ((_, land),) = build.read_natural_earth(world, {1: "AA"})
    assert land.area == 5 * 4
    cut = build.cut_at_antimeridian(land, 0.25)
    assert cut.equals(shapely.union(shapely.box(178, 0, 180, 4), shapely.box(-180, 0, -177, 4)))


def test_land_that_begins_beyond_the_antimeridian_lies_beside_its_neighbour() -> None:
    """Russia's ring begins in Chukotka at 170° west: read from there, it lay 360° away from all its neighbours."""
    world = topology([(-175, 0), (-175, 9), (100, 9)], [(100, 9), (100, 0)], [(100, 0), (-175, 0)],
                     [(100, 9), (90, 9), (90, 0), (100, 0)], n1=[[[0, 1, 2]]], n2=[[[3, ~1]]])  # fmt: skip
    lands = dict(build.read_natural_earth(world, {1: "AA", 2: "BB"}))
    assert lands["AA"].equals(shapely.box(100, 0, 185, 9))
    assert shapely.intersection(lands["AA"], lands["BB"]).length == 9


def test_land_round_the_pole_reaches_it() -> None:
    coast = [(100, -70), (10, -80), (-80, -70), (-170, -80), (100, -70)]  # from -170° it crosses the antimeridian
    ((_, land),) = build.read_natural_earth(topology(coast, n1=[[[0]]]), {1: "AA"})
    cut = build.cut_at_antimeridian(land, 0.25)
    assert cut.bounds == (-180, -90, 180, -70)
    assert cut.area == pytest.approx(360 * 15, abs=10)  # rounded to the grid of 0.25°
    assert shapely.get_num_geometries(cut) == 1
    assert not cut.interiors  # no crack where the ring was led down to the pole


def test_an_overseas_part_belongs_to_the_places_on_it_or_to_the_nearest() -> None:
    towns = [
        build.Place("Paris", "FR", 48.9, 2.3, 1),
        build.Place("Cayenne", "GF", 4.9, -52.3, 1),
        build.Place("Saül", "GF", 3.6, -53.2, 1),
        build.Place("a typing error", "FR", 4.0, -53.0, 1),
        build.Place("Paramaribo", "SR", 5.8, -55.2, 1),
    ]
    assert build.whose_part(shapely.box(-54.5, 2, -51.6, 5.7), "FR", towns) == "GF"
    assert build.whose_part(shapely.box(-52.6, 5.2, -52.5, 5.3), "FR", towns) == "GF"
    assert build.whose_part(shapely.box(8.5, 41.4, 9.5, 43), "FR", towns) == "FR"


@pytest.mark.parametrize("border", [-7.31, 0, 4.4])
def test_cutting_small_loses_no_land(border: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    radius = np.random.default_rng(0).uniform(10, 20, len(angle))
    land = shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    west, east = shapely.box(-180, -90, border, 90), shapely.box(border, -90, 180, 90)
    halves = {"AA": shapely.intersection(land, west), "BB": shapely.intersection(land, east)}
    shapes = [shape for _, shape in build.cut_small(halves)]
    assert max(shapely.get_num_coordinates(shapes)) <= build.VERTICES_PER_CELL
    assert shapely.area(shapes).sum() == pytest.approx(land.area, rel=1e-3)
    whole = shapely.union_all(shapes)
    assert whole.area == pytest.approx(shapely.area(shapes).sum(), rel=1e-12)  # no piece lies on another
    assert not shapely.get_parts(whole)[0].interiors  # and between them is no gap
