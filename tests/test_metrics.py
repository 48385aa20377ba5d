"""Metrics: the numbers, computed a second time from their formulas."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.metrics import THRESHOLDS_KM, classify, distances_km, geoscore, score_photos, share_within

INF = math.inf

FLAT_KEYS = (
    "count, answered, median_km, mean_km, geoscore, within_1_km, within_25_km, within_200_km, within_750_km, "
    "within_2500_km, router_accuracy, oracle_median_km, region_median_floor_km, country_accuracy, region_accuracy, "
    "city_accuracy"
)


def haversine_by_hand_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    (p, q), (r, s) = ([math.radians(x) for x in point] for point in (a, b))
    h = math.sin((r - p) / 2) ** 2 + math.cos(p) * math.cos(r) * math.sin((s - q) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, h)))


def test_scores_agree_with_their_formulas_on_1000_random_pairs():
    rng = np.random.default_rng(7)
    truth = np.stack([rng.uniform(-90, 90, 1000), rng.uniform(-180, 180, 1000)], 1)
    guesses = truth + rng.normal(0, 1, (1000, 2)) * 10 ** rng.uniform(-3, 2, (1000, 1))  # metres to the other side
    guesses[:, 0] = guesses[:, 0].clip(-90, 90)
    distance = [haversine_by_hand_km(a, b) for a, b in zip(truth.tolist(), guesses.tolist(), strict=True)]
    metrics = score_photos(distances_km(truth, guesses))
    assert metrics.geoscore == pytest.approx(sum(5000 * math.exp(-d / 1492.7) for d in distance) / 1000, rel=1e-9)
    assert metrics.median_km == pytest.approx(sum(sorted(distance)[499:501]) / 2, rel=1e-9)
    assert metrics.mean_km == pytest.approx(sum(distance) / 1000, rel=1e-9)
    for threshold in THRESHOLDS_KM:
        share = sum(d <= threshold for d in distance) / 1000
        assert 0 < share < 1
        assert getattr(metrics, f"within_{threshold}_km") == share


def test_the_flat_keys_are_the_promised_ones_and_json_has_no_infinity():
    flat = score_photos(np.array([INF, INF, 3.0])).flat()
    assert ", ".join(flat) == FLAT_KEYS
    assert flat["median_km"] is None
    assert flat["mean_km"] == 3.0
    json.dumps(flat, allow_nan=False)


def test_a_photo_without_an_answer_is_a_miss_everywhere_but_in_the_mean():
    metrics = score_photos(np.array([0.0, 10.0, INF, INF, 20.0]))
    assert (metrics.count, metrics.answered) == (5, 3)
    assert metrics.median_km == 20
    assert metrics.mean_km == 10
    assert metrics.within_25_km == pytest.approx(3 / 5)
    assert metrics.geoscore == pytest.approx((5000 + 5000 * math.exp(-10 / 1492.7) + 5000 * math.exp(-20 / 1492.7)) / 5)


def test_nobody_answered():
    metrics = score_photos(np.array([INF, INF]))
    assert (metrics.median_km, metrics.mean_km, metrics.geoscore, metrics.within_2500_km) == (INF, None, 0.0, 0.0)


def test_a_threshold_includes_its_own_distance():
    assert share_within(np.array([25.0, np.nextafter(25.0, 26)]), 25) == 0.5


def test_the_numbers_of_a_cascade():
    metrics = score_photos(
        np.array([1.0, 2.0, INF]),
        region_right=np.array([True, False, False]),
        oracle_km=np.array([1.0, 0.5, INF]),
        floor_km=np.array([100.0, 300.0, 200.0]),
    )
    assert metrics.router_accuracy == pytest.approx(1 / 3)
    assert metrics.oracle_median_km == 1.0
    assert metrics.region_median_floor_km == 200.0


def test_without_a_cascade_its_numbers_are_not_made_up():
    metrics = score_photos(np.array([1.0]))
    assert metrics.router_accuracy is metrics.oracle_median_km is metrics.region_median_floor_km is None


@pytest.mark.parametrize("distance", [[], [-1.0], [math.nan]])
def test_distances_that_are_none(distance):
    with pytest.raises(ValueError, match="0 km or more"):
        score_photos(np.array(distance))


@given(st.lists(st.floats(0, 20015, allow_subnormal=False), min_size=1), st.integers(0, 5))
def test_more_misses_never_help(distances, misses):
    alone, with_misses = score_photos(np.array(distances)), score_photos(np.array(distances + [INF] * misses))
    assert with_misses.geoscore <= alone.geoscore
    assert with_misses.median_km >= alone.median_km
    assert with_misses.within_200_km <= alone.within_200_km
    assert with_misses.mean_km == pytest.approx(alone.mean_km)


def test_geoscore_runs_from_5000_to_0():
    assert geoscore(np.array([0.0, 1492.7, INF])).tolist() == pytest.approx([5000, 5000 / math.e, 0])


def test_names_of_places_are_shares_of_all_photos():
    metrics = score_photos(
        np.array([1.0, 2.0, INF, 3.0]),
        in_country=np.array([True, True, False, True]),
        in_region=np.array([True, True, False, False]),
        at_city=np.array([True, False, False, False]),
    )
    assert (metrics.country_accuracy, metrics.region_accuracy, metrics.city_accuracy) == (0.75, 0.5, 0.25)
    assert score_photos(np.array([1.0])).country_accuracy is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 5)), min_size=1, max_size=40))
def test_the_classification_report_is_that_of_the_formulas(pairs):
    report = classify(*zip(*pairs, strict=True))
    assert [each.class_id for each in report.classes] == sorted({true for true, _ in pairs})
    for each in report.classes:
        hits = sum(true == answered == each.class_id for true, answered in pairs)
        said = sum(answered == each.class_id for _, answered in pairs)
        support = sum(true == each.class_id for true, _ in pairs)
        assert each.support == support
        assert each.recall == pytest.approx(hits / support)
        assert each.precision == pytest.approx(hits / said if said else 0)
        assert each.f1 == pytest.approx(2 * hits / (said + support))
    f1 = [each.f1 for each in report.classes]
    assert report.macro_f1 == pytest.approx(sum(f1) / len(f1))
    weighted = sum(each.f1 * each.support for each in report.classes) / len(pairs)
    assert report.weighted_f1 == pytest.approx(weighted)


def test_no_photos_have_no_report():
    with pytest.raises(ValueError, match="at least one photo"):
        classify([], [])
