"""A rung's answers are judged photo by photo, kept whole, and found again only by exactly their key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from few_photos import REGIONS, edit

from geomind.compare.results import RECORD, Costs, RungKey, read_rung, write_rung
from geomind.errors import ManifestError, OutputError
from geomind.evaluation.judging import Truth, judge
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


def test_the_photos_that_judge_are_those_of_the_test_split(truth: Truth) -> None:
    assert truth.image_paths == ("2-2.png", "2-6.png", "6-2.png", "6-6.png", "9-2.png", "9-6.png")
    assert truth.region_ids.tolist() == [2, 2, 6, 6, 9, 9]
    assert truth.countries.tolist() == ["NO", "NO", "JP", "JP", "KE", "KE"]
    assert truth.clusters.tolist() == [0, 1, 2, 3, 4, 5]
    assert not truth.grouped


def test_groups_are_clusters_and_a_photo_without_one_is_its_own(three_splits: Path) -> None:
    edit(three_splits, group=["a", "", "b", ""] * 3 + ["", "", "", ""] * 3)
    truth = Truth.read(three_splits, REGIONS)
    assert truth.grouped
    sizes = sorted(np.bincount(truth.clusters).tolist())
    assert sizes == [1, 1, 1, 3]
    assert truth.clusters.max() == 3


def test_a_country_and_a_region_that_are_not_given_are_those_of_the_place(three_splits: Path) -> None:
    edit(three_splits, country="", region_id="")
    truth = Truth.read(three_splits, REGIONS)
    assert truth.countries[0] == "NO"
    assert truth.region_ids[0] == 2
    assert (truth.region_ids >= 0).all()


def test_a_split_that_is_not_there_is_refused(three_splits: Path) -> None:
    edit(three_splits, split="train")
    with pytest.raises(ManifestError, match=r"no row with split 'test'.*geomind split"):
        Truth.read(three_splits, REGIONS)


def test_the_truth_itself_is_right_in_everything(truth: Truth, at_the_truth: np.ndarray) -> None:
    judged = judge(answers(truth, at_the_truth), truth)
    assert judged.distance_km.tolist() == [0] * 6
    assert judged.city_right.all()
    assert judged.country_right[0]
    assert judged.region_right[0]


def test_an_answer_is_judged_by_its_place(truth: Truth, at_the_truth: np.ndarray) -> None:
    places = at_the_truth
    places[0] = (59.91, 10.75)  # Oslo: right country and region, another town
    places[1] = (51.5, -0.1)  # London: the region alone is right
    places[2] = (0.0, -140.0)  # the Pacific
    places[3] = (np.nan, np.nan)
    judged = judge(answers(truth, places), truth)
    assert judged.country_right[:4].tolist() == [True, False, False, False]
    assert judged.region_right[:4].tolist() == [True, True, False, False]
    assert judged.city_right[:4].tolist() == [False] * 4
    assert judged.on_sea[:4].tolist() == [False, False, True, False]
    assert judged.distance_km[3] == np.inf
    assert judged.distance_km[2] > 5000


def test_nobody_answered(truth: Truth) -> None:
    judged = judge(answers(truth, np.full((6, 2), np.nan)), truth)
    assert np.isinf(judged.distance_km).all()
    assert not (judged.country_right | judged.region_right | judged.city_right | judged.on_sea).any()


def test_answers_of_other_photos_are_refused(truth: Truth, at_the_truth: np.ndarray) -> None:
    given = answers(truth, at_the_truth)
    for wrong in (given[::-1], given[:-1]):
        with pytest.raises(ManifestError, match="answers are not of the 6 photos"):
            judge(wrong, truth)


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
