"""What answers say of themselves, held against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from evaluated import answered, evaluated
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.evaluation.sureness import FEWEST, IDEAL, sureness
from geomind.predictions import Prediction

PARIS = (48.85, 2.35)


def test_what_radii_hold_overall_and_given_that_the_region_is_wrong() -> None:
    rows = [
        answered("a.jpg", (49.85, 2.35), PARIS, region_id=2, radius_km_50=100.0, radius_km_90=112.0),
        answered("b.jpg", (51.85, 2.35), PARIS, region_id=2, radius_km_50=400.0, radius_km_90=500.0),
        answered("c.jpg", (58.85, 2.35), PARIS, region_id=5, radius_km_50=100.0, radius_km_90=200.0),
        answered("d.jpg", (48.85, 2.35), PARIS, region_id=5),
        Prediction(image_path="e.jpg", error="truncated", true_latitude=48.85, true_longitude=2.35),
    ]
    held = {each.name: each for each in sureness(evaluated(rows, regions=[2] * 5)).held}
    assert list(held) == ["all photos", "region right", "region wrong", "Western & Northern Europe"]
    whole = held["all photos"].radii
    assert (whole.count, whole.coverage_50, whole.coverage_90) == (3, 1 / 3, 2 / 3)
    assert (held["region right"].radii.coverage_50, held["region right"].radii.coverage_90) == (0.5, 1.0)
    assert (held["region wrong"].radii.coverage_50, held["region wrong"].radii.coverage_90) == (0.0, 0.0)
    assert held["Western & Northern Europe"].region_id == 2


def test_probabilities_are_of_the_region_and_confidence_of_the_place() -> None:
    rows = [
        answered("a.jpg", PARIS, PARIS, region_id=2, region_probability=0.9, confidence=0.8),
        answered("b.jpg", (50.85, 2.35), PARIS, region_id=5, region_probability=0.9, confidence=0.8),
        answered("c.jpg", (58.85, 2.35), PARIS, region_id=2, region_probability=0.2, confidence=0.1),
    ]
    sure = sureness(evaluated(rows, regions=[2] * 3))
    of_region, of_place = sure.reliabilities["the region is right"], sure.reliabilities["within 750 km"]
    assert of_region.accuracy.tolist() == [1.0, 0.5]
    assert of_place.accuracy.tolist() == [0.0, 1.0]
    assert list(sure.risks) == ["confidence", "region probability"]
    assert sure.lacking == ("No row carries radii: the models that answered are not calibrated.",)


def test_rows_that_say_nothing_are_told_of() -> None:
    sure = sureness(evaluated([answered("a.jpg", PARIS, PARIS)], regions=[2]))
    assert (sure.reliabilities, sure.held, sure.risks, sure.ideal, sure.curves) == ({}, (), {}, None, {})
    assert len(sure.lacking) == 3


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(1, 5000)), min_size=1, max_size=60))
def test_no_order_betters_the_ideal_one(photos: list[tuple[float, float]]) -> None:
    rows = [
        answered(f"{i}.jpg", (north, 0.0), (0.0, 0.0), radius_km_50=radius / 2, radius_km_90=radius)
        for i, (north, radius) in enumerate(photos)
    ]
    evaluation = evaluated(rows, regions=[9] * len(rows))
    sure = sureness(evaluation)
    assert sure.ideal is not None
    assert sure.risks["90% radius"].area_km >= sure.ideal.area_km - 1e-9
    assert sure.risks["90% radius"].best_area_km == pytest.approx(sure.ideal.area_km)
    within = [each.distance_km <= each.radius_km_90 for each in evaluation.predictions]  # type: ignore[operator]
    assert sure.held[0].radii.coverage_90 == pytest.approx(
        np.mean(within), abs=1 / len(rows)
    )  # rounded to a metre in the row
    share, km = sure.curves[IDEAL]
    assert len(share) == len(km) == max(len(rows) - FEWEST + 1, 1)
    assert share[-1] == 1
    assert km[-1] == pytest.approx(evaluation.metrics.median_km)
