from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.evaluation.svg_charts import MAP_WIDTH, distance_curves, distance_histogram, dot_sizes, places_map


def drawn(svg: str, kind: str) -> np.ndarray:
    """The points where the paths of a class begin: (n, 2)."""
    ways = [path.get("d", "") for path in ElementTree.fromstring(svg).iter("path") if path.get("class") == kind]
    return np.array(re.findall(r"M([-\d.]+) ([-\d.]+)", "".join(ways)), dtype=float).reshape(-1, 2)


def bars(svg: str) -> list[tuple[float, float]]:
    """Left edge and height of each bar."""
    return [(float(bar.get("x", "")), float(bar.get("height", ""))) for bar in ElementTree.fromstring(svg).iter("rect")]


def test_places_are_where_they_are() -> None:
    svg = places_map([(0, 0), (0, -179.9), (0, 179.9), (60, 10)], [False, False, False, True])
    dots = drawn(svg, "dot")
    assert sorted(dots[:, 0]) == pytest.approx([0, MAP_WIDTH / 2, MAP_WIDTH], abs=1)
    (odd,) = drawn(svg, "odd")
    assert MAP_WIDTH / 2 < odd[0] < 0.53 * MAP_WIDTH
    assert odd[1] < dots[0, 1]


@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=40))
def test_any_places_are_on_the_map(points: list[tuple[float, float]]) -> None:
    svg = places_map(points, np.arange(len(points)) % 2 == 1)
    dots = np.concatenate([drawn(svg, "dot"), drawn(svg, "odd")])
    assert 1 <= len(dots) <= len(points)
    assert ((dots >= -0.1) & (dots <= MAP_WIDTH + 0.1)).all()


def test_many_photos_at_one_place_are_one_larger_dot() -> None:
    svg = places_map(np.array([(48.85, 2.35)] * 5000 + [(0, 0)]), np.zeros(5001, dtype=bool))
    assert len(drawn(svg, "dot")) == 2
    assert f'stroke-width="{dot_sizes(5001)[-1][1]:g}"' in svg


def test_a_map_does_not_grow_with_its_photos() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-90, 90, 300_000), rng.uniform(-180, 180, 300_000)])
    assert len(places_map(points, np.zeros(len(points), dtype=bool))) < 800_000


def test_a_histogram_holds_every_distance_that_there_is() -> None:
    (zero, one_km) = bars(distance_histogram([0, 0, 1.2, np.inf], label="x"))
    assert zero[0] < one_km[0]
    assert zero[1] == pytest.approx(2 * one_km[1], rel=0.01)
    assert len(bars(distance_histogram([0.0001, 19_999, 30_000], label="x"))) == 2
    assert bars(distance_histogram([np.inf], label="x")) == []


def test_curves_rise_to_the_right() -> None:
    svg = distance_curves({"a": np.array([0.0, 5.0, 500.0]), "b": np.array([7.0])}, label="<x>", marks_km=(1, 25))
    assert 'aria-label="&lt;x&gt;"' in svg
    tree = ElementTree.fromstring(svg)
    assert sum(path.get("class") == "mark" for path in tree.iter("path")) == 2
    for number in (0, 1):
        (way,) = (path.get("d", "") for path in tree.iter("path") if path.get("class") == f"curve curve-{number}")
        corners = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", way), dtype=float)
        assert (np.diff(corners[:, 0]) >= 0).all()
        assert (np.diff(corners[:, 1]) <= 0).all()
