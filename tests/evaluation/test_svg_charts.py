from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.evaluation.svg_charts import (
    HALF,
    MAP_WIDTH,
    agreement_chart,
    answers_map,
    distance_curves,
    distance_histogram,
    dot_sizes,
    falling_chart,
    places_map,
    promise_strip,
    world_symbol,
)


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


def corners(svg: str, kind: str) -> np.ndarray:
    """All corners of the one path of a class: (n, 2)."""
    (way,) = (path.get("d", "") for path in ElementTree.fromstring(svg).iter("path") if path.get("class") == kind)
    return np.array(re.findall(r"([-\d.]+) ([-\d.]+)", way), dtype=float)


def test_misses_keep_a_curve_from_the_top() -> None:
    svg = distance_curves({"half": np.array([10.0, np.inf]), "none": np.array([np.inf])}, label="x", frame=HALF)
    line = corners(svg, "curve curve-0")
    assert line[:, 1].min() == pytest.approx(float(HALF.up(0.5)), abs=0.1)
    assert line[-1] == pytest.approx([HALF.width - HALF.right, float(HALF.up(0.5))], abs=0.1)
    assert "curve-1" not in svg


def test_truth_and_guess_are_where_they_are_and_the_world_is_drawn_once() -> None:
    svg = answers_map([(0, 0), (0, 0)], [(0, 10), (0, 150)], [0, 3], label="<map>")
    assert 'aria-label="&lt;map&gt;"' in svg
    assert 'href="#world"' in svg
    assert drawn(svg, "truth")[:, 0] == pytest.approx([MAP_WIDTH / 2], abs=0.1)
    assert drawn(svg, "guess band-0")[:, 0] == pytest.approx([MAP_WIDTH * 190 / 360], abs=0.1)
    assert drawn(svg, "guess band-3")[:, 0] == pytest.approx([MAP_WIDTH * 330 / 360], abs=0.1)
    kinds = [path.get("class") for path in ElementTree.fromstring(svg).iter("path")]
    assert kinds == ["way band-3", "way band-0", "guess band-3", "guess band-0", "truth"], "the nearest are on top"
    symbol = ElementTree.fromstring(world_symbol())
    assert [group.get("id") for group in symbol.iter("g")] == ["world"]
    assert len(world_symbol()) < 500_000


def test_a_line_over_the_date_line_does_not_cross_the_map() -> None:
    ways = drawn(answers_map([(10, 170)], [(10, -170)], [2], label="x"), "way band-2")
    assert len(ways) == 2
    assert ((ways[:, 0] < 0.05 * MAP_WIDTH) | (ways[:, 0] > 0.95 * MAP_WIDTH)).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), max_size=20))
def test_a_part_of_the_map_shows_the_places_that_must_be_seen(points: list[tuple[float, float]]) -> None:
    truth = np.array(points, dtype=float).reshape(-1, 2)
    bands = np.zeros(len(points), dtype=int)
    svg = answers_map(truth, truth[::-1], bands, label="x", view=truth if len(truth) else None)
    left, top, width, height = (float(each) for each in ElementTree.fromstring(svg).get("viewBox", "").split())
    assert 100 <= width <= MAP_WIDTH
    seen = drawn(svg, "truth")
    assert len(seen) == len(np.unique(seen, axis=0)) <= len(points)
    # The box is of whole units.
    assert ((seen >= [left - 1, top - 1]) & (seen <= [left + width + 1, top + height + 1])).all()


def test_an_honest_promise_is_on_the_diagonal() -> None:
    shares = np.array([0.1, 0.5, 0.9])
    svg = agreement_chart({"a": (shares, shares, np.array([1, 4, 0]))}, label="x", across="said", up="came")
    at = corners(svg, "curve curve-0")
    across = (at[:, 0] - HALF.left) / (HALF.width - HALF.left - HALF.right)
    up = (HALF.floor - at[:, 1]) / (HALF.floor - HALF.top)
    assert across == pytest.approx(shares, abs=0.001)
    assert up == pytest.approx(shares, abs=0.001)
    widths = [float(path.get("stroke-width", "0")) for path in ElementTree.fromstring(svg).iter("path")
              if path.get("class") == "bin curve-0"]  # fmt: skip
    assert widths == [12.5, 20.0, 5.0]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 20_000, allow_subnormal=False), min_size=1, max_size=500))
def test_any_distances_stay_in_their_chart(distances: list[float]) -> None:
    km = np.array(distances)
    share = np.arange(1, len(km) + 1) / len(km)
    svg = falling_chart({"a": (share, km), "b": (share, km / 2)}, label="x", across="s", up="km", dashed=("b",))
    for kind in ("curve curve-0", "curve ideal"):
        if len(km) > 1:
            at = corners(svg, kind)
            assert len(at) <= 200
            assert (at >= [HALF.left, HALF.top - 0.1]).all()
            assert (at <= [HALF.width - HALF.right + 0.1, HALF.floor + 0.1]).all()
    assert svg.count('class="axis"') <= 6


def test_a_strip_has_a_dot_and_a_mark_for_each_promise() -> None:
    svg = promise_strip([0.5, 1.0], [0.5, 0.9])
    assert drawn(svg, "bin curve-0")[0, 0] == drawn(svg, "promise curve-0")[0, 0] == 100
    assert drawn(svg, "bin curve-1")[0, 0] > drawn(svg, "promise curve-1")[0, 0]
