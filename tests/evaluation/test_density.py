"""The density of several places on the sphere: it is one, its kernel is Fisher's, and its width fits the photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geomind.errors import ManifestError
from geomind.evaluation.density import EVENLY, WIDTHS_KM, log_density, log_fisher, log_loss
from geomind.geography.sphere import EARTH_RADIUS_KM, destination, haversine_km
from geomind.predictions import Prediction, candidates_text

places = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def everywhere(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Points over the whole sphere and the km² that each stands for: Gauss-Legendre in the sine of the latitude."""
    sine, weight = np.polynomial.legendre.leggauss(rows)
    longitude = np.arange(2 * rows) * 180 / rows - 180
    points = np.stack(np.meshgrid(np.degrees(np.arcsin(sine)), longitude, indexing="ij"), axis=-1).reshape(-1, 2)
    area = np.repeat(weight, 2 * rows) * (math.pi / rows) * EARTH_RADIUS_KM**2
    return points, area


POINTS, AREA = everywhere()


@given(st.lists(st.tuples(places, st.floats(0, 1)), min_size=1, max_size=4), st.floats(300, 20_000), st.floats(0, 1))
@example([((90.0, 0.0), 1.0)], 300.0, 1.0)
@example([((0.0, 180.0), 0.0)], 300.0, 1.0)
@settings(max_examples=25)
def test_the_density_is_one_over_the_earth(candidates: list, width: float, total: float) -> None:
    shares = np.array([share for _, share in candidates])
    shares = shares / max(shares.sum(), 1e-300) * total if shares.sum() > 0 else shares
    centres = np.array([centre for centre, _ in candidates])
    logs = log_density(haversine_km(POINTS[:, None], centres), shares, width)
    assert (np.exp(logs) * AREA).sum() == pytest.approx(1, abs=1e-6)


@given(st.floats(0, 20_000), st.floats(500, 20_000))
def test_the_kernel_is_fishers(distance: float, width: float) -> None:
    kappa = (6371.0088 / width) ** 2
    theta = distance / 6371.0088
    expected = kappa / (4 * math.pi * math.sinh(kappa)) * math.exp(kappa * math.cos(theta)) / 6371.0088**2
    assert math.exp(log_fisher(distance, width)) == pytest.approx(expected, rel=1e-9)


def test_a_narrow_kernel_is_the_normal_distribution_of_the_plane() -> None:
    for distance in (0.0, 3.0, 12.0):
        normal = math.exp(-(distance**2) / (2 * 5**2)) / (2 * math.pi * 5**2)
        assert math.exp(log_fisher(distance, 5.0)) == pytest.approx(normal, rel=1e-5)


def test_nothing_said_is_the_whole_earth() -> None:
    assert pytest.approx(math.log(510_065_884), abs=1e-6) == -EVENLY  # km² of a sphere of radius 6,371.0088 km
    assert log_density([5.0, 8.0], [0.0, 0.0], 100) == pytest.approx(EVENLY)


def answer(name: str, *candidates: tuple[float, float, float]) -> Prediction:
    return Prediction(
        image_path=name, latitude=0, longitude=0, candidates=candidates_text(candidates) if candidates else None
    )


def test_the_width_is_that_of_the_errors() -> None:
    """Errors that are normal with 200 km to each side are most likely under a kernel of nearly that width."""
    rng = np.random.default_rng(0)
    truth = np.stack([rng.uniform(-70, 70, 500), rng.uniform(-180, 180, 500)], axis=1)
    step = np.hypot(*rng.normal(0, 200, (2, 500)))
    placed = destination(truth, rng.uniform(0, 360, 500), step)
    answers = [answer("a", (*place, 1.0)) for place in placed.tolist()]
    loss = log_loss(answers, truth)
    assert loss is not None
    assert loss.width_km == pytest.approx(200, rel=0.3)
    assert loss.nats.mean() == pytest.approx(1 + math.log(2 * math.pi * 200**2), rel=0.01)  # of a normal distribution
    for width in WIDTHS_KM:
        distance = haversine_km(truth, placed)[:, None]
        assert -log_density(distance, np.ones((500, 1)), width).mean() >= loss.nats.mean() - 1e-9


def test_the_loss_of_two_places_by_hand() -> None:
    truth = np.array([(0.0, 0.0)])
    loss = log_loss([answer("a", (0.0, 0.0, 0.5), (0.0, 90.0, 0.25))], truth)
    assert loss is not None
    assert loss.width_km == 1  # nothing is narrower
    kappa = 6371.0088**2
    inside = 0.5 * kappa / (2 * math.pi) / 6371.0088**2 + 0.25 / (4 * math.pi * 6371.0088**2)
    assert loss.nats[0] == pytest.approx(-math.log(inside))


def test_a_photo_without_candidates_could_be_anywhere() -> None:
    answers = [answer("a", (1.0, 1.0, 0.9)), Prediction(image_path="b", error="truncated")]
    loss = log_loss(answers, np.array([(1.0, 1.0), (50.0, 50.0)]))
    assert loss is not None
    assert loss.nats[1] == pytest.approx(-EVENLY)
    assert loss.nats[0] < 10
    assert log_loss([answer("a")], np.zeros((1, 2))) is None


def test_sure_and_wrong_costs_much_but_is_finite() -> None:
    sure = [answer(name, (0.0, 0.0, 1.0)) for name in "abc"]
    loss = log_loss(sure, np.array([(0.0, 0.0), (0.0, 0.0), (0.0, 180.0)]))
    assert loss is not None
    assert np.isfinite(loss.nats).all()
    assert loss.nats[2] > -EVENLY


def test_candidates_that_cannot_be_read_are_named() -> None:
    odd = Prediction(image_path="odd.jpg", latitude=0, longitude=0, candidates="[1, 2]")
    with pytest.raises(ManifestError, match=r"odd\.jpg: candidates are no JSON list"):
        log_loss([odd], np.zeros((1, 2)))
