from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geomind.geography.boxes import SMALLEST_SIDE, Box
from geomind.geography.sphere import haversine_km

GLOBE = Box(-90, 90, -180, 180)
OCEANIA = Box(-55, -8, 110, 200)

points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    south, north = sorted(draw(st.lists(st.floats(-90, 90), min_size=2, max_size=2)))
    west = draw(st.floats(-180, 180))
    width = draw(st.floats(0.5, 360))
    assume(north - south > 0.5)
    return Box(south, north, west, west + width)


@given(boxes(), points)
def test_denormalize_is_the_inverse_of_normalize_everywhere(box: Box, point: tuple[float, float]) -> None:
    back = box.denormalize(box.normalize(point))
    assert haversine_km(back, point) < 1e-6
    assert abs(back[1]) <= 180


@given(boxes(), st.floats(0, 1), st.floats(0, 1))
def test_normalize_is_the_inverse_of_denormalize_in_the_box(box: Box, y_lat: float, y_lon: float) -> None:
    back = box.normalize(box.denormalize((y_lat, y_lon)))
    assert back[0] == pytest.approx(y_lat, abs=1e-9)
    turn = 360 / (box.lon_max - box.lon_min)  # a box around the globe has its edge twice
    assert min(abs(back[1] - y_lon), abs(abs(back[1] - y_lon) - turn)) < 1e-9


@pytest.mark.parametrize("point", [(90, 0), (-90, 180), (0, 180), (0, -180), (-90, -180), (90, 180)])
def test_poles_and_date_line_come_back_exactly_on_the_globe(point: tuple[float, float]) -> None:
    assert GLOBE.denormalize(GLOBE.normalize(point)).tolist() == list(point)


def test_a_box_across_the_date_line_holds_both_sides() -> None:
    assert OCEANIA.contains([(-17, 179), (-17, -179), (-17, -159), (-17, 109)]).tolist() == [True, True, False, False]
    west, east = OCEANIA.normalize([(-17, 179.99), (-17, -179.99)])
    assert 0 < east[1] - west[1] < 0.001


def test_fit_takes_the_date_line_in_one_piece() -> None:
    """A naive min/max of longitudes gave New Zealand and the Chatham Islands a box around the globe."""
    box = Box.fit([(-41, 174), (-44, -176.5), (-37, 175)], quantile=0, padding=0)
    assert (box.lon_min, box.lon_max) == pytest.approx((174, 183.5))


@given(st.lists(points, min_size=1, max_size=30))
def test_fit_without_quantile_holds_every_point(cloud: list[tuple[float, float]]) -> None:
    box = Box.fit(cloud, quantile=0, padding=0.01)
    square = box.normalize(cloud)
    assert (square > -1e-6).all()
    assert (square < 1 + 1e-6).all()


def test_fit_leaves_out_the_outermost_points() -> None:
    cloud = np.column_stack([np.linspace(40, 50, 1000), np.linspace(0, 10, 1000)])
    stretched = np.vstack([cloud, [(-20, 55)]])  # Réunion is France, too
    assert Box.fit(stretched, quantile=0.005, padding=0).lat_min > 39
    assert Box.fit(stretched, quantile=0, padding=0).lat_min == -20


def test_fit_to_one_place_leaves_room() -> None:
    box = Box.fit([(10, 20)])
    assert box.lat_max - box.lat_min == pytest.approx(SMALLEST_SIDE)
    pole = Box.fit([(90, 0)])
    assert pole.lat_max == 90
    with pytest.raises(ValueError, match="at least one"):
        Box.fit(np.empty((0, 2)))


@pytest.mark.parametrize(
    "sides", [(1, 1, 0, 1), (-91, 0, 0, 1), (0, 1, 5, 5), (0, 1, 0, 361), (0, 1, 181, 190), (float("nan"), 1, 0, 1)]
)
def test_an_impossible_box_cannot_be_made(sides: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="a box needs"):
        Box(*sides)


def test_error_km_is_that_of_both_axes_at_one_latitude() -> None:
    box = Box(-10, 10, 0, 20)
    assert box.error_km(0.05) == pytest.approx(np.hypot(111.195, 111.195), rel=1e-4)
    assert box.error_km(0.05, latitude=60) == pytest.approx(np.hypot(111.195, 111.195 / 2), rel=1e-4)
    assert box.error_km(0.1) == pytest.approx(2 * box.error_km(0.05))


def test_the_naive_box_goes_around_the_globe() -> None:
    across = [(-41, 174), (-44, -176.5), (-37, 175)]
    naive = Box.fit(across, quantile=0, padding=0, over_date_line=False)
    assert (naive.lon_min, naive.lon_max) == pytest.approx((-176.5, 175))
