"""The truth of a manifest, and places judged by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from few_photos import REGIONS, edit

from geomind.data.manifest import read_manifest
from geomind.errors import ManifestError
from geomind.evaluation.judging import Truth, judge
from geomind.geography.regions import Region, RegionTable
from geomind.predictions import Prediction


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


def test_a_region_that_is_not_given_is_that_of_the_country_given(three_splits: Path) -> None:
    """Two rules were there: one took the country of the place, whatever the manifest said."""
    edit(three_splits, country="JP", region_id="")
    truth = Truth.read(three_splits, REGIONS)
    assert set(truth.region_ids.tolist()) == {6}
    assert set(truth.countries.tolist()) == {"JP"}


def test_namibia_is_a_country(three_splits: Path, at_the_truth: np.ndarray) -> None:
    edit(three_splits, country="NA", latitude=-22.56, longitude=17.08, region_id="")
    truth = Truth.read(three_splits, REGIONS)
    assert set(truth.countries.tolist()) == {"NA"}
    places = truth.points.copy()
    places[1] = (-33.92, 18.42)  # Cape Town
    assert judge(answers(truth, places), truth).country_right.tolist() == [True, False, *[True] * 4]


def test_a_region_of_another_table_is_refused(three_splits: Path) -> None:
    edit(three_splits, region_id=99)
    with pytest.raises(ManifestError, match=r"png is of region 99; the table 'geomind-13' has 0 to 12"):
        Truth.read(three_splits, REGIONS)


def test_no_region_is_never_the_right_one(three_splits: Path) -> None:
    """Truth and answer were in no region of the table, and that was the same region."""
    edit(three_splits, region_id="")
    table = RegionTable("two", (Region(0, "a", "A", ("US",)), Region(1, "b", "B", ("CA",))))
    truth = Truth.of(read_manifest(three_splits), table)
    assert set(truth.region_ids.tolist()) == {-1}
    assert not judge(answers(truth, truth.points), truth).region_right.any()


def test_rows_may_stand_anywhere_in_their_frame(three_splits: Path) -> None:
    rows: pd.DataFrame = read_manifest(three_splits)
    assert Truth.of(rows[rows["split"] == "test"], REGIONS).image_paths == Truth.read(three_splits, REGIONS).image_paths
