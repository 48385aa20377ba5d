"""What answers say of themselves, against formulas written out; rows that say nothing are counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.evaluation.certainty import Certainty, Said, certainty_notes, score_certainty, score_radii
from geomind.metrics import score_photos
from geomind.predictions import Prediction

NAN, INF = math.nan, math.inf

FLAT_KEYS = (
    "coverage_50, coverage_90, mean_radius_km_90, global_radius_km_90, ece, brier, confidence_ece, with_radius, "
    "coverage_50_region_right, coverage_90_region_right, mean_radius_km_90_region_right, "
    "coverage_50_region_wrong, coverage_90_region_wrong, mean_radius_km_90_region_wrong, "
    "risk_coverage_area_km, risk_coverage_best_km, median_km_surest_70, abstained, "
    "kept_median_km, kept_mean_km, kept_geoscore, kept_within_1_km, kept_within_25_km, kept_within_200_km, "
    "kept_within_750_km, kept_within_2500_km, log_loss, kernel_km"
)


def said(count: int, **columns: Any) -> Said:
    given = {
        name: np.array(columns.get(name, [NAN] * count), dtype=float)
        for name in ("region_probability", "confidence", "radius_km_50", "radius_km_90")
    }
    return Said(**given, abstained=np.array(columns.get("abstained", [False] * count), dtype=bool))


def scored(km: list[float], region_right: list[bool] | None = None, **columns: Any) -> Certainty:
    right = None if region_right is None else np.array(region_right)
    return score_certainty(np.array(km), said(len(km), **columns), region_right=right)


def test_the_flat_keys_are_the_promised_ones() -> None:
    assert ", ".join(scored([1.0]).flat()) == FLAT_KEYS


def test_what_is_not_said_is_not_measured() -> None:
    flat = scored([1.0, INF], [True, False]).flat()
    assert {name for name, value in flat.items() if value is not None} == {"with_radius", "abstained"}
    assert flat["with_radius"] == flat["abstained"] == 0


def test_radii_overall_and_by_whether_the_region_was_right() -> None:
    done = scored(
        [10, 20, 30, 400, 500],
        [True, True, True, False, False],
        radius_km_50=[10, 19, 40, 100, NAN],
        radius_km_90=[50, 50, 50, 400, NAN],
    )
    assert done.radii is not None
    assert done.radii_region_right is not None
    assert done.radii_region_wrong is not None
    assert (done.radii.count, done.radii.coverage_50, done.radii.coverage_90) == (4, 0.5, 1.0)
    assert done.radii.mean_radius_km_90 == 137.5
    assert done.radii.global_radius_km_90 == 400  # of the four with a radius
    assert (done.radii_region_right.coverage_50, done.radii_region_right.mean_radius_km_90) == (2 / 3, 50)
    assert (done.radii_region_wrong.count, done.radii_region_wrong.coverage_50) == (1, 0.0)


def test_without_regions_radii_are_measured_together_alone() -> None:
    done = scored([10.0], radius_km_90=[50.0])
    assert done.radii is not None
    assert done.radii_region_right is done.radii_region_wrong is None
    assert done.radii.coverage_50 is None


@given(st.lists(st.tuples(st.floats(0, 20_000), st.floats(0, 20_000)), min_size=1, max_size=50))
def test_the_global_radius_covers_nine_of_ten_and_no_smaller_one_does(rows: list[tuple[float, float]]) -> None:
    km, radius = (np.array(column) for column in zip(*rows, strict=True))
    radii = score_radii(km, said(len(km), radius_km_90=radius))
    assert radii is not None
    assert (km <= radii.global_radius_km_90).mean() >= 0.9
    assert (km < radii.global_radius_km_90).mean() < 0.9
    assert radii.coverage_90 == pytest.approx(sum(k <= r for k, r in rows) / len(rows))


def test_the_director_is_judged_where_it_gave_a_probability() -> None:
    done = scored([1, 1, 1, 1], [True, False, True, False], region_probability=[0.9, 0.6, NAN, NAN])
    assert done.brier == pytest.approx((0.1**2 + 0.6**2) / 2)
    assert done.ece == pytest.approx((0.1 + 0.6) / 2)
    assert done.confidence_ece is None


def test_confidence_is_of_750_km() -> None:
    assert scored([750, 751], confidence=[1.0, 0.0]).confidence_ece == 0
    assert scored([750.1, 749], confidence=[1.0, 0.0]).confidence_ece == 1


def test_the_surest_first_by_confidence_then_by_radius() -> None:
    km = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 1000]
    by_radius = scored(km, radius_km_90=range(1, 11))
    assert by_radius.flat()["median_km_surest_70"] == 4
    assert by_radius.flat()["risk_coverage_area_km"] == by_radius.flat()["risk_coverage_best_km"]
    backwards = scored(km, radius_km_90=range(1, 11), confidence=np.linspace(0, 0.9, 10))
    assert backwards.flat()["median_km_surest_70"] == 7  # of 1000, 9, …, 4
    with_misses = scored([*km, INF], radius_km_90=[*range(1, 11), NAN])
    assert with_misses.flat()["median_km_surest_70"] == 4


def test_those_that_do_not_abstain_have_their_own_scores() -> None:
    km = [1.0, 10_000, 30, INF]
    done = scored(km, abstained=[False, True, False, False])
    assert done.abstained == 1
    assert done.kept == score_photos(np.array([1.0, 30, INF]))
    assert done.flat()["kept_within_25_km"] == pytest.approx(1 / 3)
    nobody = scored([1.0], abstained=[True])
    assert nobody.kept is nobody.flat()["kept_median_km"] is None


def test_what_rows_say_is_taken_from_them_and_what_they_do_not_is_told() -> None:
    rows = [
        Prediction(image_path="a", latitude=0, longitude=0, radius_km_50=5, radius_km_90=9, confidence=0.5),
        Prediction(image_path="b", latitude=0, longitude=0, radius_note="no calibration for region 3."),
        Prediction(image_path="c", latitude=0, longitude=0, abstained="confidence 0.1 is below 0.2", confidence=0.1),
        Prediction(image_path="d", error="truncated"),
    ]
    taken = Said.by(rows)
    assert np.isnan(taken.radius_km_90).tolist() == [False, True, True, True]
    assert taken.abstained.tolist() == [False, False, True, False]
    notes = certainty_notes(rows, taken, None)
    assert notes == [
        "2 of 3 answers have no radius, which is measured on the others. Most often: no calibration for region 3.",
        "1 of 3 answers have no confidence, which is measured on the others.",
        "The surest answers are those with the highest confidence.",
        "1 photos abstain; they count in all scores but those of the others alone.",
    ]
    assert certainty_notes(rows[3:], Said.by(rows[3:]), None) == []
