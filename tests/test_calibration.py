"""What a calibration makes of answers: radii and confidence that rise and fall as they should, and files."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.calibration import (
    FARTHEST_KM,
    Calibration,
    Knowledge,
    Line,
    Radius,
    Traits,
    Way,
    calibration_path,
    read_calibration,
    write_calibration,
)
from geomind.errors import CheckpointError, ConfigError
from geomind.predictions import Prediction

TRAITS = Traits(spread_knots=(0.0, 5.0, 9.0), probability_knots=(0.2, 1.0), regions=(3,))
STEEP = Line(intercept=5.0, weights=(0.0, 1.0, 3.0, 0.5, 0.0, 0.25))

CALIBRATION = Calibration(
    weights="abc",
    photos=100,
    traits=TRAITS,
    radii=(
        Radius(level=0.5, log_km=STEEP),
        Radius(level=0.9, log_km=STEEP.model_copy(update={"intercept": 6.0})),
    ),
    confidence=Line(intercept=2.0, weights=(0.0, -1.0, -4.0, -1.0, 0.0, 0.0)),
)


def knowledge(spread_km: list[float], probability: list[float], region_ids: list[int]) -> Knowledge:
    return Knowledge(np.array(spread_km), np.array(probability), np.array(region_ids))


def test_the_radius_is_that_of_the_formula() -> None:
    """Between knots 5 and 9 at 7: half of each hat; the probability at the middle of its knots; region 3."""
    known = knowledge([math.expm1(7)], [0.6], [3])
    log_km = 5 + 0.5 * 1 + 0.5 * 3 + 0.5 * 0.5 + 0.25
    assert CALIBRATION.radii_km(known, 0.5) == pytest.approx([math.exp(log_km)])
    odds = 2 - 0.5 * 1 - 0.5 * 4 - 0.5 * 1
    assert CALIBRATION.confidences(known) == pytest.approx([1 / (1 + math.exp(-odds))])


def test_beyond_the_last_knot_nothing_is_drawn_further() -> None:
    far, farther = (knowledge([math.expm1(x)], [1.0], [0]) for x in (9.0, 12.0))
    assert CALIBRATION.radii_km(far, 0.9) == CALIBRATION.radii_km(farther, 0.9)
    assert CALIBRATION.radii_km(knowledge([0.0], [0.0], [0]), 0.5) == pytest.approx([math.exp(5.5)])


@given(
    st.lists(st.tuples(st.floats(0, 2e4), st.floats(0, 1), st.integers(-1, 12)), min_size=1, max_size=20),
    st.lists(st.floats(-60, 60), min_size=12, max_size=12),
)
def test_whatever_was_fitted_the_radii_are_in_order_and_on_the_earth(
    answers: list[tuple[float, float, int]], numbers: list[float]
) -> None:
    lines = [Line(intercept=numbers[6 * i], weights=(*numbers[6 * i + 1 : 6 * i + 6], 0.0)) for i in range(2)]
    fitted = CALIBRATION.model_copy(
        update={"radii": (Radius(level=0.5, log_km=lines[0]), Radius(level=0.9, log_km=lines[1]))}
    )
    known = knowledge(*map(list, zip(*answers, strict=True)))  # type: ignore[arg-type]
    half, most = fitted.radii_km(known, 0.5), fitted.radii_km(known, 0.9)
    assert (half <= most).all()
    assert (half >= 0).all()
    assert (most <= FARTHEST_KM).all()
    confidence = fitted.confidences(known)
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_what_is_not_known_is_taken_as_the_last_knot() -> None:
    unknown = knowledge([math.nan], [math.nan], [-1])
    assert CALIBRATION.radii_km(unknown, 0.5) == pytest.approx([math.exp(5 + 3)])
    nothing = Traits()
    assert nothing.columns(unknown).shape == (1, 0)


def test_only_fitted_levels_have_a_radius() -> None:
    with pytest.raises(ConfigError, match=r"no radius of the level 0\.8; there are 0\.5, 0\.9"):
        CALIBRATION.radii_km(knowledge([1.0], [1.0], [0]), 0.8)


def test_predictions_are_filled_and_those_without_a_place_are_not() -> None:
    placed = Prediction(
        image_path="a.jpg", region_id=3, region_probability=0.6, latitude=1, longitude=2, spread_km=math.expm1(7),
        radius_note="for some reason",
    )  # fmt: skip
    broken = Prediction(image_path="b.jpg", error="broken")
    filled = CALIBRATION.fill([broken, placed])
    assert filled[0] == broken
    assert filled[1] == dataclasses.replace(
        placed,
        radius_km_50=float(np.exp(7.5)),
        radius_km_90=float(np.exp(8.5)),
        confidence=1 / (1 + math.exp(1)),
        radius_note=None,
    )
    assert CALIBRATION.fill([broken]) == [broken]


def test_a_calibration_reads_back(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    write_calibration(CALIBRATION, tmp_path)
    assert read_calibration(tmp_path) == CALIBRATION


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 1}', '{"weights": 3}'])
def test_a_broken_calibration_says_what_to_do(tmp_path: Path, text: str) -> None:
    calibration_path(tmp_path).write_text(text)
    with pytest.raises(CheckpointError, match="geomind calibrate --overwrite"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"radii": []},
        {"radii": list(reversed(CALIBRATION.model_dump()["radii"]))},
        {"confidence": {"intercept": 0, "weights": [1]}},
        {"traits": {"spread_knots": [1]}},
    ],
)
def test_a_calibration_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    calibration_path(tmp_path).write_text(json.dumps({**CALIBRATION.model_dump(), **changes}))
    with pytest.raises(CheckpointError, match="is no calibration"):
        read_calibration(tmp_path)


def test_a_way_is_told_as_options() -> None:
    assert Way().options() == "hard routing and nothing else"
    assert Way(top_k=3, gallery=True, views=2, int8=True).options() == (
        "--routing soft --top-k 3 --gallery --views 2 --precision int8"
    )
