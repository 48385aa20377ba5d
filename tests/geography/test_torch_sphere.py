from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomind.geography.sphere import EARTH_RADIUS_KM, KM_PER_DEGREE, destination, haversine_km
from geomind.geography.torch_sphere import great_circle_km

points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))

AWKWARD = [
    ((10, 20), (10, 20)),
    ((0, 0), (0, 180)),
    ((90, 0), (-90, 0)),
    ((90, 12), (90, -77)),
    ((90, 0), (89, 0)),
    ((-17, 180), (-17, -180)),
    ((0, 0), (1e-30, 1e-30)),
]
"""No distance, antipodes, poles, both ends of the date line, and a distance whose square is no float32."""


def slope(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, torch.Tensor]:
    point = torch.tensor([a], dtype=torch.float32, requires_grad=True)
    distance = great_circle_km(point, torch.tensor([b], dtype=torch.float32))
    distance.sum().backward()
    assert point.grad is not None
    return distance.item(), point.grad[0]


@given(points, points)
def test_it_is_the_distance_of_the_other_formula(a: tuple[float, float], b: tuple[float, float]) -> None:
    ours = great_circle_km(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    # The haversine formula loses digits between antipodes.
    assert float(ours) == pytest.approx(float(haversine_km(a, b)), abs=1e-3, rel=1e-6)


@given(points, points)
def test_float32_is_good_to_some_metres_and_its_slope_is_never_steeper_than_the_sphere(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    distance, gradient = slope(a, b)
    assert distance == pytest.approx(float(haversine_km(a, b)), abs=0.02)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs() <= KM_PER_DEGREE * 1.01).all()


@pytest.mark.parametrize(("a", "b"), AWKWARD)
def test_the_slope_is_finite_where_a_distance_has_none(a: tuple[float, float], b: tuple[float, float]) -> None:
    """The haversine formula's is not a number at no distance and between antipodes; one such photo ends a training."""
    distance, gradient = slope(a, b)
    assert distance == pytest.approx(float(haversine_km(a, b)), abs=2)
    assert torch.isfinite(gradient).all()


@given(points, st.floats(1, 175), st.floats(0, 360))
def test_a_step_down_the_slope_comes_nearer(point: tuple[float, float], away: float, bearing: float) -> None:
    start = np.clip(point, [-80, -180], [80, 180])  # nearer to a pole a step must be smaller
    goal = destination(start, bearing, away * KM_PER_DEGREE)
    distance, gradient = slope(tuple(start), tuple(goal))
    step = 0.01 * gradient.numpy() / np.abs(gradient.numpy()).max()
    assert float(haversine_km(start - step, goal)) < distance


def test_longitudes_of_any_turn_are_one_meridian() -> None:
    a, b = torch.tensor([[-17.0, 181.0]] * 3), torch.tensor([[-17.0, -179.0], [-17.0, 541.0], [73.0, 181.0]])
    assert great_circle_km(a, b).tolist() == pytest.approx([0, 0, EARTH_RADIUS_KM * np.pi / 2], abs=0.1)
