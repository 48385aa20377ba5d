from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from geomind.geography import sphere

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
points = st.tuples(latitudes, longitudes)

HALF_TURN_KM = np.pi * sphere.EARTH_RADIUS_KM


@given(st.floats(-1e6, 1e6))
def test_wrapped_longitude_is_the_same_meridian_in_range(longitude: float) -> None:
    wrapped = float(sphere.wrap_longitude(longitude))
    assert -180 <= wrapped <= 180
    turns = (longitude - wrapped) / 360
    assert abs(turns - round(turns)) < 1e-6


def test_both_ends_of_the_date_line_stay_what_they_are() -> None:
    assert sphere.wrap_longitude([-180.0, 180.0, 180.5]).tolist() == [-180.0, 180.0, -179.5]


@given(points)
def test_unit_vectors_are_unit_and_read_back(point: tuple[float, float]) -> None:
    vector = sphere.unit_vectors(point)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert sphere.haversine_km(sphere.from_unit_vectors(vector), point) < 1e-6


@given(points, points)
def test_haversine_is_a_distance(a: tuple[float, float], b: tuple[float, float]) -> None:
    distance = float(sphere.haversine_km(a, b))
    assert 0 <= distance <= HALF_TURN_KM + 1e-6
    assert distance == pytest.approx(float(sphere.haversine_km(b, a)), abs=1e-9)
    chord = np.linalg.norm(sphere.unit_vectors(a) - sphere.unit_vectors(b))
    assert distance == pytest.approx(float(sphere.chord_to_km(chord)), abs=1e-3, rel=1e-6)


def test_haversine_of_known_distances() -> None:
    quarter = HALF_TURN_KM / 2
    assert sphere.haversine_km((0, 0), (0, 90)) == pytest.approx(quarter)
    assert sphere.haversine_km((90, 12), (-90, 77)) == pytest.approx(HALF_TURN_KM)
    assert sphere.haversine_km((0, 179.5), (0, -179.5)) == pytest.approx(sphere.KM_PER_DEGREE)
    # Paris to London, 343.6 km by the haversine of these coordinates (worked out by hand with R = 6371.0088 km).
    assert sphere.haversine_km((48.8566, 2.3522), (51.5074, -0.1278)) == pytest.approx(343.56, abs=0.05)


@given(st.floats(0, HALF_TURN_KM))
def test_chord_and_km_are_inverse(distance_km: float) -> None:
    assert float(sphere.chord_to_km(sphere.km_to_chord(distance_km))) == pytest.approx(distance_km, abs=1e-3)


@given(points, st.floats(0, 360), st.floats(0, 19_000))
def test_destination_is_as_far_as_one_walked(point: tuple[float, float], bearing: float, distance_km: float) -> None:
    end = sphere.destination(point, bearing, distance_km)
    assert float(sphere.haversine_km(point, end)) == pytest.approx(distance_km, abs=1e-3)
    assert abs(end[1]) <= 180


@given(points, st.floats(-500, 500), st.floats(-500, 500))
def test_on_the_plane_one_is_as_far_as_one_walked(point: tuple[float, float], east: float, north: float) -> None:
    there = sphere.displaced(point, (east, north))
    assert sphere.haversine_km(point, there) == pytest.approx(np.hypot(east, north), abs=1e-4)


def test_on_the_plane_north_is_north_and_east_is_east() -> None:
    grid = sphere.displaced((45.0, 179.0), [[(0.0, 100.0), (200.0, 0.0)], [(0.0, -100.0), (-200.0, 0.0)]])
    assert grid.shape == (2, 2, 2)
    assert (grid[0, 0] > (45.8, 178.9)).all()
    assert grid[0, 1, 1] < -178  # over the date line
    assert grid[1, 1, 1] < 177
    assert abs(grid[0, 1, 0] - 45) < 0.1


@given(st.lists(points, min_size=1, max_size=12))
def test_geodesic_median_is_no_worse_than_any_of_the_points(cloud: list[tuple[float, float]]) -> None:
    median = sphere.geodesic_median(cloud)
    cost = sphere.haversine_km(median, cloud).sum()
    best = min(sphere.haversine_km(candidate, cloud).sum() for candidate in cloud)
    assert cost <= best + 1e-3


def test_geodesic_median_across_the_date_line_and_around_a_pole() -> None:
    """A mean of longitudes puts Fiji's median in Africa."""
    fiji = sphere.geodesic_median([(-17, 179), (-17, -179), (-17, 178), (-17, -178)])
    assert sphere.haversine_km(fiji, (-17, 180)) < 120
    pole = sphere.geodesic_median([(80, 0), (80, 90), (80, 180), (80, -90)])
    assert sphere.haversine_km(pole, (90, 0)) < 1


def test_geodesic_median_follows_weights_and_resists_an_outlier() -> None:
    cloud = [(10, 10), (10.1, 10.1), (9.9, 10), (-60, -170)]
    assert sphere.haversine_km(sphere.geodesic_median(cloud), (10, 10)) < 20
    assert sphere.haversine_km(sphere.geodesic_median(cloud, [1, 1, 1, 10]), (-60, -170)) < 1


def test_median_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no points"):
        sphere.geodesic_median(np.empty((0, 2)))
    with pytest.raises(ValueError, match="no points"):
        sphere.geodesic_median([(1, 1)], weights=[0])


@given(points, points)
@example((90.0, 0.0), (89.0, 120.0))
@example((-90.0, 77.0), (0.0, 10.0))
@example((0.0, 179.9), (0.0, -179.9))
@example((10.0, 20.0), (10.0, 20.0))
def test_a_displacement_leads_from_one_place_to_the_other(a: tuple[float, float], b: tuple[float, float]) -> None:
    distance = float(sphere.haversine_km(a, b))
    assume(distance < HALF_TURN_KM - 1)  # the antipode lies in every direction
    displacement = sphere.displacement_km(a, b)
    assert np.hypot(*displacement) == pytest.approx(distance, abs=1e-9)
    assert float(sphere.haversine_km(sphere.displaced(a, displacement), b)) < 1e-3


@given(points, st.floats(-10_000, 10_000), st.floats(-10_000, 10_000))
@example((90.0, 0.0), 100.0, 0.0)
@example((0.0, 180.0), 500.0, 0.0)
def test_a_place_lies_as_far_east_and_north_as_it_was_displaced(
    origin: tuple[float, float], east: float, north: float
) -> None:
    place = sphere.displaced(origin, (east, north))
    assert abs(place[0]) <= 90
    assert abs(place[1]) <= 180
    assert float(sphere.haversine_km(origin, place)) == pytest.approx(np.hypot(east, north), abs=1e-3)
    if abs(origin[0]) < 89.9:  # at a pole itself east has no direction but that of the longitude, which is still kept
        assert sphere.displacement_km(origin, place) == pytest.approx((east, north), abs=1e-2)


def test_displacements_of_known_places() -> None:
    one = sphere.KM_PER_DEGREE
    assert sphere.displacement_km((0, 0), (1, 0)) == pytest.approx((0, one))
    assert sphere.displacement_km((0, 179.5), (0, -179.5)) == pytest.approx((one, 0))
    assert sphere.displacement_km((0, 5), (0, 5)).tolist() == [0, 0]
    grid = sphere.displacement_km(np.zeros((3, 1, 2)), np.array([(2.0, 0.0), (0.0, 2.0)]))  # broadcasting
    assert grid.shape == (3, 2, 2)
    assert grid[1] == pytest.approx(np.array([(0, 2 * one), (2 * one, 0)]))
