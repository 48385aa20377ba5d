"""A rung's answers are judged photo by photo, kept whole, and found again only by exactly their key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geomind.compare.results import RECORD, Costs, RungKey, read_rung, write_rung
from geomind.errors import OutputError
from geomind.evaluation.judging import Truth
from geomind.predictions import Prediction

KEY = RungKey("cascade", 1, 20, "hash", {"image_size": 32, "places": {"augment": [0.5, 1]}})
COSTS = Costs(parameters=7, train_seconds=1.5, images_seen=99, images_per_s=None)


def answers(truth: Truth, places: np.ndarray) -> list[Prediction]:
    return [
        Prediction(image_path=path, error="cannot be read")
        if np.isnan(latitude)
        else Prediction(image_path=path, latitude=latitude, longitude=longitude)
        for path, (latitude, longitude) in zip(truth.image_paths, places.tolist(), strict=True)
    ]


def test_a_rung_is_read_back_as_it_was(tmp_path: Path, truth: Truth) -> None:
    places = truth.points + 0.123456789
    places[4] = np.nan
    written = write_rung(tmp_path, KEY, COSTS, answers(truth, places), truth)
    read = read_rung(tmp_path, KEY, truth)
    assert read is not None
    assert (read.key, read.costs) == (KEY, COSTS)
    assert read.flat() == written.flat()
    for name, values in vars(written.judged).items():
        np.testing.assert_array_equal(getattr(read.judged, name), values)


def test_flat_keys_are_those_that_programs_read(tmp_path: Path, truth: Truth, at_the_truth: np.ndarray) -> None:
    flat = write_rung(tmp_path, KEY, COSTS, answers(truth, at_the_truth), truth).flat()
    assert list(flat) == [
        "method", "seed", "geoscore", "median_km", "mean_km", "within_1_km", "within_25_km", "within_200_km",
        "within_750_km", "within_2500_km", "country_accuracy", "region_accuracy", "city_accuracy", "on_sea",
        "parameters", "train_seconds", "images_seen", "images_per_s",
    ]  # fmt: skip
    assert flat["geoscore"] == 5000
    assert flat["images_per_s"] is None


def test_a_rung_without_its_record_is_not_finished(tmp_path: Path, truth: Truth, at_the_truth: np.ndarray) -> None:
    write_rung(tmp_path, KEY, COSTS, answers(truth, at_the_truth), truth)
    (tmp_path / RECORD).unlink()
    assert read_rung(tmp_path, KEY, truth) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"budget": 10}, "budget"),
        ({"manifest_hash": "other"}, "manifest hash"),
        ({"settings": {**KEY.settings, "image_size": 64}}, "settings"),
    ],
)
def test_a_rung_of_another_key_is_refused(
    tmp_path: Path, truth: Truth, at_the_truth: np.ndarray, change: dict[str, object], named: str
) -> None:
    write_rung(tmp_path, KEY, COSTS, answers(truth, at_the_truth), truth)
    with pytest.raises(OutputError, match=f"another comparison: {named} differ"):
        read_rung(tmp_path, replace(KEY, **change), truth)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key":'])
def test_a_damaged_record_is_told(tmp_path: Path, truth: Truth, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(OutputError, match="damaged"):
        read_rung(tmp_path, KEY, truth)
