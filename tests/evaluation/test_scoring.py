"""Evaluation: which photos count, what each number means, and what its reader is told."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geomind.data.manifest import write_manifest
from geomind.errors import ManifestError, OutputError, PhotoError
from geomind.evaluation.scoring import NO_ROW, evaluate, write_metrics
from geomind.geography.regions import default_regions
from geomind.geography.sphere import haversine_km
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, write_predictions

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


def test_metrics_are_flat_json_without_infinity(world):
    done = evaluate(*write(world, ANSWERS[3:]))
    write_metrics(done, world / "metrics.json")
    read = json.loads((world / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert read["count"] == 4
    assert read["median_km"] is read["mean_km"] is read["oracle_median_km"] is None
    assert read["geoscore"] == 0
    with pytest.raises(OutputError, match="--overwrite"):
        write_metrics(done, world / "metrics.json")
