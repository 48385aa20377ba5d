from __future__ import annotations

from pathlib import Path

import pytest
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, frame

from geomind.data.manifest import read_manifest, write_manifest
from geomind.errors import ManifestError, OutputError
from geomind.evaluation.hard_examples import HardExamples, find_hard_examples, write_hard_examples
from geomind.geography.regions import default_regions
from geomind.geography.sphere import haversine_km
from geomind.predictions import Prediction, write_predictions

REGIONS = default_regions()
ROWS = [
    at(PARIS, region_id=2, split="train"), at(LYON, region_id=2, split="test"), at(PARIS, region_id=2),
    at(TOKYO), at(NAIROBI, region_id=9), at(NAIROBI, region_id=9),
]  # fmt: skip


def answer(number: int, region_id: int, place: tuple[float, float]) -> Prediction:
    return Prediction(image_path=f"{number}.jpg", region_id=region_id, latitude=place[0], longitude=place[1])


ANSWERS = [
    answer(0, 3, LYON), answer(1, 3, TOKYO), answer(2, 2, LYON), answer(3, 7, PARIS),
    Prediction(image_path="4.jpg", error="not an image"),
]  # fmt: skip


def hard_of(folder: Path, rows: list[dict[str, object]], answers: list[Prediction]) -> HardExamples:
    write_manifest(frame(*rows), folder / "m.csv", overwrite=True)
    write_predictions(answers, folder / "predictions.csv", overwrite=True)
    return find_hard_examples(folder / "m.csv", folder / "predictions.csv", regions=REGIONS)


def test_photos_are_tagged_by_what_they_were_taken_for(tmp_path: Path) -> None:
    hard = hard_of(tmp_path, ROWS, ANSWERS)
    assert hard.numbers.tolist() == [0, 1, 3]
    west, east = "Western & Northern Europe → Southern Europe", "East Asia → Southeast Asia"
    assert hard.rows["hard"].tolist() == [west, west, east]
    assert (hard.answered, hard.held_out) == (4, 1)
    first, second = hard.pairs
    assert (first.tag, first.photos, first.share) == (west, 2, 2 / 3)
    assert first.median_km == pytest.approx((haversine_km(PARIS, LYON) + haversine_km(LYON, TOKYO)) / 2, rel=1e-4)
    assert (second.tag, second.photos, second.share) == (east, 1, 1)


def test_they_are_a_manifest_that_finds_its_photos(tmp_path: Path) -> None:
    hard = hard_of(tmp_path, ROWS, ANSWERS)
    write_hard_examples(hard, tmp_path / "again" / "hard.csv")
    rows = read_manifest(tmp_path / "again" / "hard.csv")
    paths = [(tmp_path / "again" / path).resolve() for path in rows["image_path"]]
    assert paths == [(tmp_path / name).resolve() for name in ("0.jpg", "1.jpg", "3.jpg")]
    assert rows["split"].tolist() == ["train", "test", ""]
    assert rows["hard"].tolist() == hard.rows["hard"].tolist()
    with pytest.raises(OutputError, match="--overwrite"):
        write_hard_examples(hard, tmp_path / "again" / "hard.csv")
    again = find_hard_examples(tmp_path / "again" / "hard.csv", tmp_path / "predictions.csv", regions=REGIONS)
    write_hard_examples(again, tmp_path / "again" / "hard.csv", overwrite=True)  # and again, in the next round
    assert read_manifest(tmp_path / "again" / "hard.csv")["hard"].tolist() == hard.rows["hard"].tolist()


def test_a_director_that_is_always_right_leaves_none(tmp_path: Path) -> None:
    hard = hard_of(tmp_path, ROWS, [answer(0, 2, TOKYO)])
    assert (len(hard.rows), hard.pairs, hard.answered) == (0, (), 1)
    with pytest.raises(ManifestError, match="got all 1 photos right"):
        write_hard_examples(hard, tmp_path / "hard.csv")
    assert not (tmp_path / "hard.csv").exists()


def test_ids_of_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"predictions\.csv has a photo of region 40"):
        hard_of(tmp_path, ROWS, [answer(0, 40, PARIS)])
    with pytest.raises(ManifestError, match=r"m\.csv has a photo of region -7"):
        hard_of(tmp_path, [at(PARIS, region_id=-7)], [answer(0, 2, PARIS)])


def test_predictions_of_other_photos(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No prediction is of a photo"):
        hard_of(tmp_path, ROWS, [answer(77, 2, PARIS)])
