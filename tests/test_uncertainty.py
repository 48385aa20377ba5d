from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.uncertainty import brier, conformal_quantile, coverage, reliability, risk_coverage

shares = st.floats(0, 1, allow_subnormal=False)
distances = st.lists(st.floats(0, 20_000, allow_subnormal=False), min_size=1, max_size=40)


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_the_calibration_error_is_that_of_the_formula(answers: list[tuple[float, bool]], bins: int) -> None:
    total = 0.0
    for b in range(bins):
        inside = [a for a in answers if (b == 0 or a[0] > b / bins) and (a[0] <= (b + 1) / bins or b == bins - 1)]
        if inside:
            gap = abs(sum(p for p, _ in inside) - sum(hit for _, hit in inside)) / len(inside)
            total += gap * len(inside) / len(answers)
    got = reliability(*zip(*answers, strict=True), bins=bins)
    near_an_edge = any(abs(p * bins - round(p * bins)) < 1e-9 and p > 0 for p, _ in answers)
    assert got.count.sum() == len(answers)
    assert near_an_edge or got.ece == pytest.approx(total, abs=1e-9)


def test_answers_as_sure_as_they_are_right_have_no_calibration_error() -> None:
    assert reliability([0.75] * 4, [1, 1, 1, 0]).ece == 0
    assert reliability([1.0] * 4, [1, 0, 0, 0]).ece == 0.75
    assert reliability([0.0, 1.0], [0, 1]).count.tolist() == [1, 1]


def test_brier() -> None:
    assert brier([0.5, 0.5], [1, 0]) == 0.25
    assert brier([1, 0], [1, 0]) == 0


@pytest.mark.parametrize("wrong", [[], [1.1], [-0.1], [math.nan]])
def test_probabilities_are_between_0_and_1(wrong: list[float]) -> None:
    for score in (brier, reliability):
        with pytest.raises(ValueError, match="between 0 and 1"):
            score(wrong, [1] * len(wrong))


def test_coverage_counts_what_is_exactly_on_the_circle() -> None:
    assert coverage([1, 2, 3, math.inf], [1, 1.9, 5, 20_000]) == 0.5


@given(distances, st.floats(0.05, 0.95))
def test_the_conformal_quantile_covers_what_it_promises(scores: list[float], level: float) -> None:
    """As many ranks of one more score as promised lie at or under the quantile."""
    quantile = conformal_quantile(scores, level)
    below = sum(score <= quantile for score in scores)
    assert below >= min(level * (len(scores) + 1) - 1e-6, len(scores))
    if math.isfinite(quantile):
        assert quantile in scores
        assert sum(score < quantile for score in scores) < level * (len(scores) + 1)
    else:
        assert level * (len(scores) + 1) > len(scores)


def test_conformal_coverage_of_new_scores() -> None:
    rng = np.random.default_rng(0)
    covered = [rng.exponential(size=1)[0] <= conformal_quantile(rng.exponential(size=19), 0.9) for _ in range(4000)]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("scores", "level"), [([], 0.5), ([1.0], 0), ([1.0], 1)])
def test_no_conformal_quantile(scores: list[float], level: float) -> None:
    with pytest.raises(ValueError, match="a level between 0 and 1"):
        conformal_quantile(scores, level)


@given(distances, st.randoms(use_true_random=False))
def test_risk_coverage_is_the_median_of_the_surest(distance: list[float], random) -> None:
    unsure = [random.random() for _ in distance]
    curve = risk_coverage(distance, unsure)
    order = np.argsort(unsure, kind="stable")
    for count in range(1, len(distance) + 1):
        expected = np.median(np.array(distance)[order[:count]])
        assert curve.median_km[count - 1] == pytest.approx(expected)
        assert curve.median_at(count / len(distance)) == curve.median_km[count - 1]
    assert curve.coverage[-1] == 1
    assert curve.best_area_km <= curve.area_km + 1e-9
    assert risk_coverage(distance, distance).area_km == pytest.approx(curve.best_area_km)


def test_no_answers_have_no_curve() -> None:
    for score in (coverage, risk_coverage):
        with pytest.raises(ValueError, match="at least one answer"):
            score([], [])
