"""The Robinson projection, and great circles cut where the map ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from geomind.geography import robinson
from geomind.geography.sphere import haversine_km

points = st.tuples(
    st.floats(-90, 90, allow_subnormal=False),  # the test process may flush denormals to zero
    st.floats(-180, 180, allow_subnormal=False),
)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0, 0), (0, 0)),
        ((0, 180), (0.8487 * np.pi, 0)),
        ((90, 180), (0.8487 * 0.5322 * np.pi, 1.3523)),
        ((-45, 90), (0.8487 * 0.8962 * np.pi / 2, -1.3523 * 0.5571)),
    ],
)
def test_the_table_is_met(point, expected):
    assert robinson.project(point) == pytest.approx(expected)


@given(points)
def test_the_map_is_symmetric_and_inside_its_edge(point):
    x, y = robinson.project(point)
    assert robinson.project((-point[0], -point[1])) == pytest.approx([-x, -y], abs=1e-12)
    edge, _ = robinson.project((point[0], 180))
    assert abs(x) <= edge + 1e-12
    assert abs(y) <= 1.3523 + 1e-12


def test_northward_is_upward_without_a_bend():
    heights = robinson.project(np.stack([np.linspace(-90, 90, 721), np.zeros(721)], 1))[:, 1]
    steps = np.diff(heights)
    assert (steps > 0).all()
    assert np.abs(np.diff(steps)).max() < 0.03 * steps.max()


@given(points, points)
@example((0.0, -77.0), (1.0, 103.0))  # over the pole
@example((10.0, 180.0), (10.0, -180.0))
@example((5.0, 180.0), (10.0, -180.0))
@example((89.0, 179.0), (89.5, -3.0))
def test_a_great_circle_is_the_shortest_way(start, end):
    distance = haversine_km(start, end)
    assume(distance < 20_000)  # antipodes have many ways
    pieces = robinson.great_circle(start, end)
    assert pieces[0][0].tolist() == list(start)
    assert pieces[-1][-1].tolist() == list(end)
    length = sum(haversine_km(piece[:-1], piece[1:]).sum() for piece in pieces)
    gaps = sum(haversine_km(a[-1], b[0]) for a, b in itertools.pairwise(pieces))
    assert gaps == pytest.approx(0, abs=1e-6)  # a cut leaves and enters at the same place of the date line
    assert length == pytest.approx(distance, abs=0.5)


@given(points, points)
def test_no_line_runs_across_the_whole_map(start, end):
    """A way over the date line was drawn straight back through Africa."""
    for piece in robinson.great_circle(start, end):
        assert np.isfinite(piece).all()
        assert (np.abs(np.diff(piece[:, 1])) <= 180).all()


def test_from_fiji_to_samoa_over_the_date_line():
    fiji, samoa = (-17.8, 178.0), (-13.8, -172.0)
    first, second = robinson.great_circle(fiji, samoa)
    assert (first[-1, 1], second[0, 1]) == (180, -180)
    assert first[-1, 0] == second[0, 0] == pytest.approx(-17.0, abs=0.2)


@pytest.mark.parametrize("start", [(0, 0), (90, 0), (-90, 50), (12, -34)])
def test_the_same_place_and_antipodes(start):
    antipode = (-start[0], start[1] - 180 if start[1] > 0 else start[1] + 180)
    assert len(np.concatenate(robinson.great_circle(start, start))) == 2
    length = sum(haversine_km(p[:-1], p[1:]).sum() for p in robinson.great_circle(start, antipode))
    assert length == pytest.approx(20015.1, abs=1)


def test_the_outline_is_a_ring_around_the_globe():
    ring = robinson.outline()
    assert np.abs(ring).max(axis=0) == pytest.approx([0.8487 * np.pi, 1.3523])
