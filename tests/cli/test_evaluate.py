"""`geomind evaluate` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run
from few_photos import edit

from geomind.cli.evaluate import MOST_GROUPS
from geomind.predictions import Prediction, write_predictions


@pytest.fixture
def answers(data: Path) -> list[Prediction]:
    """Give answers two degrees north of the photos of `data`, with what a calibrated cascade says of them."""
    rows = pd.read_csv(data, keep_default_na=False)
    return [
        Prediction(
            image_path=row.image_path, latitude=row.latitude + 2, longitude=row.longitude, region_id=row.region_id,
            region_probability=0.9, radius_km_50=100, radius_km_90=300, confidence=0.8,
        )
        for row in rows.itertuples()
    ]  # fmt: skip


def test_the_headline_comes_first(geomind: Run, data: Path, answers: list[Prediction]) -> None:
    write_predictions(answers, "predictions.csv")
    code, said, _ = geomind("evaluate", "predictions.csv", "--truth", data, "--json", "scores.json", "--by", "country",
                            "--by", "split")  # fmt: skip
    assert code == 0
    first, *_ = (line for line in said.splitlines() if line.startswith("│"))
    assert "median distance" in first
    assert "222 km" in first
    for heading in ("95% interval", "F1 of the regions", "truth within the 50% / 90% radius, all regions", "0.0% / 100",
                    "KE", "validation", "Intervals: 95%"):  # fmt: skip
        assert heading in said, heading
    scores = json.loads(Path("scores.json").read_text())
    assert scores["coverage_90"] == 1
    assert scores["ece"] == pytest.approx(0.1)
    assert scores["median_km_low"] <= scores["median_km"] <= scores["median_km_high"]
    assert set(scores["by"]) == {"country", "split"}


def test_anybodys_csv(geomind: Run, data: Path) -> None:
    rows = pd.read_csv(data, keep_default_na=False)
    theirs = pd.DataFrame({"IMG_ID": rows["image_path"], "LAT": rows["latitude"], "LON": rows["longitude"]})
    theirs.to_csv("theirs.csv", index=False)
    code, said, _ = geomind("evaluate", "theirs.csv", "--truth", data)
    assert code == 0
    assert "24 photos, 24 answered" in said
    assert "IMG_ID for image_path, LAT for latitude, LON for longitude" in said
    assert "how sure it is" not in said
    theirs.rename(columns={"LAT": "y"}).to_csv("odd.csv", index=False)
    code, _, said = geomind("evaluate", "odd.csv", "--truth", data)
    assert code == 1
    assert "odd.csv has no column for latitude" in said
    assert geomind("evaluate", "odd.csv", "--truth", data, "--columns", "latitude=y")[0] == 0


def test_many_values_are_cut_in_the_terminal_alone(geomind: Run, data: Path, answers: list[Prediction]) -> None:
    edit(data, place=[f"[red]{number}" for number in range(24)])
    write_predictions(answers, "predictions.csv")
    code, said, _ = geomind("evaluate", "predictions.csv", "--truth", data, "--by", "place")
    assert code == 0
    assert "[red]23" in said  # is no markup
    assert "most frequent" not in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geomind.cli.evaluate.MOST_GROUPS", 5)
        code, said, _ = geomind("evaluate", "predictions.csv", "--truth", data, "--by", "place", "--json", "m.json")
    assert code == 0
    assert "The 5 most frequent of 24; --json writes all." in said
    assert len(json.loads(Path("m.json").read_text())["by"]["place"]) == 24
    assert MOST_GROUPS == 30


def test_a_column_that_is_not_there(geomind: Run, data: Path, answers: list[Prediction]) -> None:
    write_predictions(answers, "predictions.csv")
    code, _, said = geomind("evaluate", "predictions.csv", "--truth", data, "--by", "moon", "--json", "m.json")
    assert code == 1
    assert "manifest.csv has no column 'moon'" in said
    assert not Path("m.json").exists()
