"""Intervals: they hold their estimate, scale with the scores, and say 0 of two methods that are the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geomind.evaluation import intervals
from geomind.evaluation.intervals import Interval, Resamples, difference
from geomind.metrics import geoscore

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 12))
KM = st.floats(0, 20_000) | st.just(math.inf)
FEW = 60


def tables(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return SHAPES.flatmap(lambda shape: arrays.arrays(np.float64, shape, elements=elements))


def one_each(values: np.ndarray) -> Resamples:
    return Resamples(np.arange(values.shape[1]), count=FEW)


@given(tables(KM))
@settings(max_examples=40)
def test_an_interval_holds_its_estimate(km: np.ndarray) -> None:
    answered = np.isfinite(km)
    for interval in (
        one_each(km).mean(geoscore(km)),
        one_each(km).median(km),
        one_each(km).ratio(np.where(answered, km, 0), answered.astype(float)),
    ):
        assert interval.low <= interval.estimate <= interval.high


@given(tables(KM))
@settings(max_examples=40)
def test_the_estimate_is_the_mean_over_seeds(km: np.ndarray) -> None:
    assert one_each(km).median(km).estimate == np.median(km, axis=1).mean()
    assert one_each(km).mean(geoscore(km)).estimate == pytest.approx(geoscore(km).mean())


@given(tables(KM))
@settings(max_examples=30)
def test_identical_methods_differ_by_exactly_nothing(km: np.ndarray) -> None:
    gain = difference(km, km, one_each(km))
    assert gain.mean == gain.median == Interval(0.0, 0.0, 0.0)


@given(tables(st.floats(0, 1000)), st.sampled_from([0.5, 2.0, 1024.0]))
@settings(max_examples=30)
def test_an_interval_scales_with_its_values(values: np.ndarray, factor: float) -> None:
    for measure in ("mean", "median"):
        plain = getattr(one_each(values), measure)(values)
        scaled = getattr(one_each(values), measure)(values * factor)
        assert (scaled.low, scaled.estimate, scaled.high) == pytest.approx(
            (plain.low * factor, plain.estimate * factor, plain.high * factor)
        )


@given(tables(KM), tables(KM))
@settings(max_examples=30)
def test_a_difference_turns_round_with_its_methods(a: np.ndarray, b: np.ndarray) -> None:
    shape = tuple(map(min, a.shape, b.shape))
    a, b = a[: shape[0], : shape[1]], b[: shape[0], : shape[1]]
    one, other = difference(a, b, one_each(a)), difference(b, a, one_each(a))
    assert one.mean.estimate == pytest.approx(-other.mean.estimate)
    assert one.median.estimate == pytest.approx(-other.median.estimate)


@given(tables(KM), st.integers(0, 5))
@settings(max_examples=30)
def test_the_median_of_a_resample_is_that_of_the_photos_drawn(km: np.ndarray, seed: int) -> None:
    row = np.sort(km[0])
    times = np.random.default_rng(seed).multinomial(len(row), np.full(len(row), 1 / len(row)), size=3)
    found = intervals._medians(row, times.astype(float))
    np.testing.assert_array_equal(found, [np.median(np.repeat(row, each)) for each in times])


def test_an_interval_has_the_width_that_theory_gives() -> None:
    """The mean of 400 draws of a unit normal has a standard error of 0.05, so that 95% are within 0.098."""
    values = np.random.default_rng(0).standard_normal((1, 400))
    interval = Resamples(np.arange(400)).mean(values)
    assert (interval.high - interval.low) / 2 == pytest.approx(0.098 * values.std(), rel=0.08)


def test_photos_of_a_group_are_drawn_together() -> None:
    """Each photo four times over is no more evidence than once, and looks like four times as much where not grouped."""
    values = np.random.default_rng(0).standard_normal((1, 100))
    fourfold = np.repeat(values, 4, axis=1)
    grouped = Resamples(np.repeat(np.arange(100), 4)).mean(fourfold)
    assert (grouped.low, grouped.high) == pytest.approx(
        (lambda once: (once.low, once.high))(Resamples(np.arange(100)).mean(values))
    )
    apart = Resamples(np.arange(400)).mean(fourfold)
    assert apart.high - apart.low < 0.6 * (grouped.high - grouped.low)


def test_seeds_that_differ_widen_the_interval() -> None:
    photos = np.random.default_rng(0).standard_normal(500)
    same, apart = np.stack([photos] * 3), np.stack([photos - 1, photos, photos + 1])
    narrow, wide = (Resamples(np.arange(500)).mean(values) for values in (same, apart))
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert narrow.estimate == pytest.approx(wide.estimate)


def test_many_photos_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).exponential(size=(2, 50))
    at_once = Resamples(np.arange(50)).median(values)
    monkeypatch.setattr(intervals, "_NUMBERS_AT_ONCE", 170)
    assert Resamples(np.arange(50)).median(values) == at_once


@given(tables(st.floats(0, 1000)), st.integers(0, 9))
@settings(max_examples=30)
def test_many_measures_at_once_are_as_one_by_one(above: np.ndarray, seed: int) -> None:
    below = np.random.default_rng(seed).integers(0, 2, size=above.shape).astype(float)
    resamples = one_each(above)
    for found, *rows in zip(resamples.ratios(above, below), above, below, strict=True):
        expected = resamples.ratio(*(row[None] for row in rows))
        assert (found.low, found.estimate, found.high) == pytest.approx(
            (expected.low, expected.estimate, expected.high)
        )


def test_nobody_answered() -> None:
    nothing = np.zeros((1, 4))
    assert Resamples(np.arange(4)).ratio(nothing, nothing).estimate == math.inf
    assert Resamples(np.arange(4)).median(np.full((1, 4), np.inf)) == Interval(math.inf, math.inf, math.inf)


def test_intervals_that_overlap_are_not_apart() -> None:
    assert Interval(0, 1, 2).apart_from(Interval(3, 4, 5))
    assert Interval(3, 4, 5).apart_from(Interval(0, 1, 2))
    assert not Interval(0, 1, 3).apart_from(Interval(3, 4, 5))
