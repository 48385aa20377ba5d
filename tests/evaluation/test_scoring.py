"""Evaluation: which photos count, what each number means, and what its reader is told."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geomind.data.manifest import write_manifest
from geomind.errors import ManifestError, OutputError, PhotoError
from geomind.evaluation.scoring import NO_ROW, evaluate, write_metrics
from geomind.geography.regions import Region, RegionTable, default_regions
from geomind.geography.sphere import haversine_km
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, candidates_text, write_predictions

PARIS, LYON, LIMA, ROME = (48.85, 2.35), (45.76, 4.84), (-12.05, -77.04), (41.9, 12.5)
WEST, SOUTH, LATIN = 2, 3, 1  # region ids of France, Italy, Peru

ROWS = [
    ("train/0.png", PARIS, "FR", WEST, "train"),
    ("train/1.png", ROME, "IT", SOUTH, "train"),
    ("test/0.png", PARIS, "FR", WEST, "test"),
    ("test/1.png", LYON, "FR", WEST, "test"),
    ("test/2.png", LIMA, "PE", LATIN, "test"),
    ("test/3.png", ROME, "IT", SOUTH, "test"),
]


class FakeCascade:
    """Places a photo by its red channel, so many tenths of a degree north of its region's median."""

    regions = default_regions()
    preprocessing = Preprocessing(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    region_medians = {WEST: PARIS, SOUTH: ROME, LATIN: LIMA}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[int] = []

    def locate_in_region(self, pixels, region_id):
        self.asked.append(region_id)
        latitude, longitude = self.region_medians[region_id]
        north = np.rint(pixels[:, 0].mean(axis=(1, 2)) * 255) / 10
        return np.stack([latitude + north, np.full(len(pixels), longitude)], 1)


@pytest.fixture
def world(tmp_path):
    """A manifest of six small photos, red by their number, beside it."""
    frame = pd.DataFrame(
        [(path, *point, country, region, "", split, "test") for path, point, country, region, split in ROWS],
        columns=["image_path", "latitude", "longitude", "country", "region_id", "group", "split", "source"],
    )
    write_manifest(frame, tmp_path / "manifest.csv")
    for path, *_ in ROWS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (int(path[-5]), 0, 0)).save(tmp_path / path)
    return tmp_path


def answer(path: str, point: tuple[float, float], region_id: int | None) -> Prediction:
    return Prediction(image_path=path, latitude=point[0], longitude=point[1], region_id=region_id)


ANSWERS = [
    answer("0.png", PARIS, WEST),
    answer("1.png", PARIS, WEST),
    answer("2.png", PARIS, WEST),  # Lima, routed to the wrong region
    Prediction(image_path="3.png", error="truncated"),
]


def write(world, answers, name="predictions.csv"):
    write_predictions(answers, world / name, overwrite=True)
    return world / name, world / "manifest.csv"


def km(a, b) -> float:
    return float(haversine_km(a, b))


def test_the_four_numbers_of_a_cascade(world):
    cascade = FakeCascade()
    done = evaluate(*write(world, ANSWERS), cascade=cascade)
    metrics = done.metrics
    assert (metrics.count, metrics.answered) == (4, 3)
    assert metrics.router_accuracy == 0.5  # the unreadable photo was routed nowhere
    lyon_error, lima_error = km(PARIS, LYON), km(PARIS, LIMA)
    assert metrics.median_km == pytest.approx((lyon_error + lima_error) / 2)
    assert metrics.mean_km == pytest.approx((0 + lyon_error + lima_error) / 3)
    # Lima is asked again of Latin America's Expert, which places photo 2 0.2° too far north; nothing else is asked.
    assert cascade.asked == [LATIN]
    assert done.oracle_km == pytest.approx([0, lyon_error, km(LIMA, (LIMA[0] + 0.2, LIMA[1])), math.inf])
    assert metrics.oracle_median_km == pytest.approx((done.oracle_km[1] + done.oracle_km[2]) / 2)
    # Each photo at its region's median: Paris, Paris for Lyon, Lima, Rome.
    assert done.floor_km == pytest.approx([0, lyon_error, 0, 0])
    assert metrics.region_median_floor_km == 0


def test_the_answers_come_back_with_the_truth(world):
    done = evaluate(*write(world, ANSWERS))
    assert [each.image_path for each in done.predictions] == [each.image_path for each in ANSWERS]
    assert done.truth.tolist() == [list(PARIS), list(LYON), list(LIMA), list(ROME)]
    assert np.isnan(done.guesses[3]).all()
    assert done.predicted_regions.tolist() == [WEST, WEST, WEST, -1]
    assert done.predictions[1].distance_km == pytest.approx(done.distance_km[1], abs=0.001)


def test_each_region_has_its_own_scores(world):
    regions = {each.region_id: each for each in evaluate(*write(world, ANSWERS)).regions}
    assert list(regions) == [LATIN, WEST, SOUTH]
    assert regions[WEST].region_name == "Western & Northern Europe"
    assert (regions[WEST].metrics.count, regions[WEST].metrics.router_accuracy) == (2, 1.0)
    assert (regions[SOUTH].metrics.answered, regions[SOUTH].metrics.median_km) == (0, math.inf)
    assert sum(each.metrics.count for each in regions.values()) == 4


def test_without_models_the_oracle_is_unknown_and_the_floor_is_of_the_training_photos(world):
    done = evaluate(*write(world, ANSWERS))
    assert done.metrics.oracle_median_km is None
    assert done.floor_km == pytest.approx([0, km(PARIS, LYON), math.inf, 0], abs=0.01)  # no training photo in Peru
    assert any("the manifest's training photos" in note for note in done.notes)


def test_without_training_photos_the_floor_is_flattered_and_says_so(world):
    frame = pd.read_csv(world / "manifest.csv", keep_default_na=False).iloc[2:]
    write_manifest(frame, world / "manifest.csv", overwrite=True)
    done = evaluate(*write(world, ANSWERS))
    assert any("flatters the floor" in note for note in done.notes)
    assert done.floor_km[2] == pytest.approx(0, abs=0.01)


def test_a_photo_without_a_row_is_a_miss(world):
    """Leaving out the hard photos made a better score."""
    done = evaluate(*write(world, ANSWERS[:1]), images_dir=world / "test")
    assert (done.metrics.count, done.metrics.answered, done.metrics.median_km) == (4, 1, math.inf)
    assert done.predictions[3].error == NO_ROW
    assert any(note.startswith("3 photos of the truth have no row") for note in done.notes)


def test_only_the_splits_that_were_answered_count(world):
    done = evaluate(*write(world, ANSWERS))
    assert done.metrics.count == 4
    assert "Scored: the photos of the split test, 4 of 6." in done.notes
    everything = [dataclasses.replace(each, image_path=f"test/{each.image_path}") for each in ANSWERS]
    everything.append(answer("train/0.png", PARIS, WEST))
    mixed = evaluate(*write(world, everything))
    assert mixed.metrics.count == 6
    assert any("split train" in note for note in mixed.notes)
    assert evaluate(*write(world, everything), split="test").metrics.count == 4


def test_a_split_that_is_not_there(world):
    with pytest.raises(ManifestError, match=r"no photo of the split 'tset'\. Its splits: test, train"):
        evaluate(*write(world, ANSWERS), split="tset")


def test_predictions_of_other_photos_are_left_out_and_counted(world):
    done = evaluate(*write(world, [*ANSWERS, answer("new.png", ROME, SOUTH)]))
    assert done.metrics.count == 4
    assert any(note.startswith("1 predictions are of photos that the truth does not list") for note in done.notes)


def test_answers_without_regions_have_no_router(world):
    done = evaluate(*write(world, [dataclasses.replace(each, region_id=None) for each in ANSWERS]))
    assert done.metrics.router_accuracy is None
    assert done.regions[0].metrics.router_accuracy is None


def test_a_truth_without_regions_takes_them_from_its_places(world):
    frame = pd.read_csv(world / "manifest.csv", keep_default_na=False).assign(region_id="")
    write_manifest(frame, world / "manifest.csv", overwrite=True)
    done = evaluate(*write(world, ANSWERS))
    assert done.true_regions.tolist() == [WEST, WEST, LATIN, SOUTH]


def test_regions_of_another_table(world):
    with pytest.raises(ManifestError, match=r"2\.png is of region 40; the table 'geomind-13' has 0 to 12"):
        evaluate(*write(world, [*ANSWERS[:2], answer("2.png", PARIS, 40), ANSWERS[3]]))
    frame = pd.read_csv(world / "manifest.csv", keep_default_na=False).assign(region_id=99)
    write_manifest(frame, world / "manifest.csv", overwrite=True)
    with pytest.raises(ManifestError, match="region 99"):
        evaluate(*write(world, ANSWERS))


def test_an_answered_photo_that_is_gone_stops_the_oracle(world):
    (world / "test/2.png").unlink()
    with pytest.raises(PhotoError, match=r"test.2\.png has an answer and cannot be read again"):
        evaluate(*write(world, ANSWERS), cascade=FakeCascade())


def edit(world, **columns):
    frame = pd.read_csv(world / "manifest.csv", keep_default_na=False).assign(**columns)
    write_manifest(frame, world / "manifest.csv", overwrite=True)


def test_places_are_judged_by_name(world):
    done = evaluate(*write(world, ANSWERS))
    metrics = done.metrics
    assert (metrics.country_accuracy, metrics.region_accuracy, metrics.city_accuracy) == (0.5, 0.5, 0.25)
    assert done.photos.judged.city_right.tolist() == [True, False, False, False]


def test_the_report_of_the_regions(world):
    done = evaluate(*write(world, ANSWERS))
    found = {each.region_id: each.recognised for each in done.regions}
    assert (found[WEST].precision, found[WEST].recall, found[WEST].f1) == (2 / 3, 1.0, pytest.approx(0.8))
    assert (found[SOUTH].precision, found[SOUTH].recall, found[SOUTH].f1) == (0, 0, 0)
    assert done.classification.macro_f1 == pytest.approx(0.8 / 3)
    assert done.classification.weighted_f1 == pytest.approx(0.4)


def test_anybodys_table_is_judged_without_a_router(world):
    rows = ["IMG_ID,pred_lat,pred_lon,LAT", "0,48.85,2.35,x", "1,,,x", "2,-12,-77,x", "3,41.9,12.5,x"]
    (world / "theirs.csv").write_text("\n".join(rows))
    done = evaluate(world / "theirs.csv", world / "manifest.csv", split="test", images_dir=world / "test")
    assert (done.metrics.count, done.metrics.answered) == (4, 3)
    assert done.metrics.country_accuracy == done.metrics.region_accuracy == 0.75
    assert done.metrics.router_accuracy is done.classification is None
    assert done.flat()["router_weighted_f1"] is done.flat()["ece"] is None
    assert done.notes[0].startswith(f"{world / 'theirs.csv'} is read as a table of answers")
    assert any(note.startswith("No answer names a region") for note in done.notes)


def test_what_answers_say_of_themselves_is_scored_by_region_and_group(world):
    said = {"region_probability": 0.5, "radius_km_50": 10, "radius_km_90": 500, "confidence": 0.5}
    answers = [dataclasses.replace(each, **said) if each.answered else each for each in ANSWERS]
    done = evaluate(*write(world, answers), by=["country"])
    flat = done.flat()
    assert (flat["coverage_50"], flat["coverage_90"]) == (1 / 3, 2 / 3)  # Paris, and Lyon from Paris
    assert (flat["coverage_90_region_right"], flat["coverage_90_region_wrong"]) == (1, 0)
    assert flat["ece"] == pytest.approx(2 / 3 - 0.5)
    assert flat["with_radius"] == 3
    by_id = {each.region_id: each.certainty.flat() for each in done.regions}
    assert (by_id[WEST]["coverage_90"], by_id[LATIN]["coverage_90"], by_id[SOUTH]["coverage_90"]) == (1, 0, None)
    assert [each.certainty.flat()["with_radius"] for each in done.groups["country"]] == [2, 0, 1]


def test_candidates_have_a_log_loss(world):
    answers = [dataclasses.replace(ANSWERS[0], candidates=candidates_text([(*PARIS, 0.9)])), *ANSWERS[1:]]
    path = world / "predictions.csv"
    write_predictions(answers, path, extra_columns=("candidates",))
    flat = evaluate(path, world / "manifest.csv").flat()
    assert flat["kernel_km"] == 1
    inside = 0.9 / (2 * math.pi) + 0.1 / (4 * math.pi * 6371.0088**2)
    anywhere = math.log(4 * math.pi * 6371.0088**2)
    assert flat["log_loss"] == pytest.approx((-math.log(inside) + 3 * anywhere) / 4, rel=1e-6)


def test_scores_by_a_column_of_the_manifest(world):
    edit(world, month=["1", "1", "NA", "", "NA", ""])
    done = evaluate(*write(world, ANSWERS), by=["month", "country", "region_id"])
    assert list(done.groups) == ["month", "country", "region_id"]
    groups = done.groups["month"]
    assert [(each.value, each.metrics.count) for each in groups] == [("", 2), ("NA", 2)]
    assert groups[1].metrics.median_km == pytest.approx(km(PARIS, LIMA) / 2)
    assert [each.value for each in done.groups["country"]] == ["FR", "IT", "PE"]
    assert [each.value for each in done.groups["region_id"]] == ["2", "1", "3"]
    assert sum(each.metrics.answered for each in groups) == 3


def test_a_column_that_the_manifest_has_not_is_told_before_anything_is_asked(world):
    cascade = FakeCascade()
    with pytest.raises(ManifestError, match=r"no column 'moon'\. Its columns: image_path, .*source"):
        evaluate(*write(world, ANSWERS), cascade=cascade, by=["country", "moon"])
    assert cascade.asked == []


def test_a_country_that_the_manifest_leaves_empty_is_a_group_by_its_place(world):
    edit(world, country="", region_id="")
    groups = evaluate(*write(world, ANSWERS), by=["country"]).groups["country"]
    assert [each.value for each in groups] == ["FR", "IT", "PE"]


def test_intervals_hold_their_scores_and_are_the_same_again(world):
    answers = [dataclasses.replace(each, radius_km_90=5) if each.answered else each for each in ANSWERS]
    done, again = (evaluate(*write(world, answers)) for _ in range(2))
    assert done.intervals == again.intervals
    flat = done.flat()
    assert {"median_km", "mean_km", "geoscore", "within_25_km", "router_accuracy", "country_accuracy",
            "coverage_90", "mean_radius_km_90"} <= set(done.intervals)  # fmt: skip
    for name, interval in done.intervals.items():
        assert interval.estimate == pytest.approx(flat[name]), name
        assert interval.low <= interval.estimate <= interval.high
        assert flat[f"{name}_low"] == pytest.approx(interval.low)
    assert flat["median_km_high"] is None  # a resample of misses alone
    assert "Intervals: 95% of 1,000 resamples of 4 photos." in done.notes


def test_photos_of_a_group_are_resampled_together(world):
    alone = evaluate(*write(world, ANSWERS)).intervals["router_accuracy"]
    edit(world, group="one place")
    done = evaluate(*write(world, ANSWERS))
    together = done.intervals["router_accuracy"]
    assert alone.low < together.low == together.estimate == together.high
    assert "Intervals: 95% of 1,000 resamples of 1 groups of 4 photos." in done.notes


def test_a_photo_in_no_region_of_the_table(world):
    edit(world, region_id="")
    table = RegionTable("two", (Region(0, "a", "A", ("FR",)), Region(1, "b", "B", ("IT",))))
    with pytest.raises(ManifestError, match=r"test/2\.png is in no region of the table 'two', which lists no 'PE'"):
        evaluate(*write(world, ANSWERS), regions=table)


def test_every_key_is_explained(world):
    """But for those that the page gives as a row: other thresholds, ends of intervals, the region right and wrong."""
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    rows = ("within_", "kept_within_", "coverage_50_region", "mean_radius_km_90_region")
    for name in evaluate(*write(world, ANSWERS)).flat():
        if not name.startswith(rows) and not name.endswith(("_low", "_high")):
            assert f"`{name}`" in page, name


def test_metrics_are_flat_json_without_infinity(world):
    done = evaluate(*write(world, ANSWERS[3:]), by=["country", "source"])
    write_metrics(done, world / "metrics.json")
    read = json.loads((world / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert list(read)[:13] == [
        "count", "answered", "median_km", "mean_km", "geoscore", "within_1_km", "within_25_km", "within_200_km",
        "within_750_km", "within_2500_km", "router_accuracy", "oracle_median_km", "region_median_floor_km",
    ]  # fmt: skip
    assert {"coverage_50", "coverage_90", "mean_radius_km_90", "global_radius_km_90", "ece"} < set(read)
    assert [key for key, value in read.items() if isinstance(value, list | dict)] == ["regions", "by", "notes"]
    assert [each["region_id"] for each in read["regions"]] == [LATIN, WEST, SOUTH]
    assert read["notes"] == list(done.notes)
    assert {each["value"]: each["count"] for each in read["by"]["country"]} == {"FR": 2, "IT": 1, "PE": 1}
    assert [each["value"] for each in read["by"]["source"]] == ["test"]
    assert read["count"] == 4
    assert read["median_km"] is read["mean_km"] is read["oracle_median_km"] is None
    assert read["geoscore"] == 0
    with pytest.raises(OutputError, match="--overwrite"):
        write_metrics(done, world / "metrics.json")
