"""The table says what the rungs say, in every form, and what is not finite stays out of JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind.compare.results import Costs, Rung, RungKey
from geomind.compare.table import FILES, MEASURES, compare, gains_of_the_best, to_markdown, write_table
from geomind.evaluation.judging import Judged, Truth
from geomind.metrics import geoscore


def rung(method: str, seed: int, km: list[float], speed: float | None = 100.0) -> Rung:
    distance = np.array(km)
    near = distance < 100
    return Rung(
        RungKey(method, seed, 4, "hash", {}),
        Costs(parameters=1234, train_seconds=10.0 + seed, images_seen=48, images_per_s=speed),
        Judged(distance, near, near, near, ~near & np.isfinite(distance)),
    )


RUNGS = [
    rung("told", 0, [1, 1, 1, 1, 1, 1], None),
    rung("cascade", 0, [10, 20, 30, 40, 50, 60]),
    rung("cascade", 1, [10, 20, 30, 40, 50, 600]),
    rung("regression", 0, [1000, 2000, 30, 4000, np.inf, 6000]),
]


def test_a_summary_is_the_mean_over_seeds(truth: Truth) -> None:
    summaries = {summary.method: summary for summary in compare(RUNGS, {"told"}, truth).summaries}
    assert list(summaries) == ["told", "cascade", "regression"]
    cascade, regression = summaries["cascade"], summaries["regression"]
    assert (cascade.seeds, regression.seeds) == (2, 1)
    assert cascade.train_seconds == 10.5
    assert summaries["told"].images_per_s is None
    means = [geoscore(each.judged.distance_km).mean() for each in RUNGS[1:3]]
    assert cascade.scores["geoscore"].estimate == pytest.approx(np.mean(means))
    assert cascade.scores["median_km"].estimate == 35
    assert cascade.scores["within_25_km"].estimate == pytest.approx(2 / 6)
    assert cascade.scores["country_accuracy"].estimate == pytest.approx(11 / 12)
    assert regression.scores["mean_km"].estimate == pytest.approx(13030 / 5)  # of the answered
    assert regression.scores["on_sea"].estimate == pytest.approx(4 / 6)


def test_pairs_are_of_the_same_photos_and_seeds(truth: Truth) -> None:
    comparison = compare(RUNGS, {"told"}, truth)
    pairs = {(pair.better, pair.other): pair for pair in comparison.pairs}
    assert set(pairs) == {("told", "cascade"), ("told", "regression"), ("cascade", "regression")}
    pair = pairs["cascade", "regression"]
    gain = geoscore(RUNGS[1].judged.distance_km) - geoscore(RUNGS[3].judged.distance_km)
    assert pair.seeds == 1
    assert pair.gain.mean.estimate == pytest.approx(gain.mean())
    assert pair.gain.median.estimate == pytest.approx(np.median(gain))
    assert [(pair.better, pair.other) for pair in gains_of_the_best(comparison)] == [("cascade", "regression")]


def test_files_say_the_same(truth: Truth, tmp_path: Path) -> None:
    comparison = write_table(RUNGS, {"told"}, truth, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(FILES)
    rows = json.loads((tmp_path / "table.json").read_text())
    with (tmp_path / "table.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [row["method"] for row in cells] == [r.key.method for r in RUNGS]
    assert list(rows[0]) == list(cells[0])
    assert [row["geoscore"] for row in rows] == [float(row["geoscore"]) for row in cells]
    with (tmp_path / "intervals.csv").open(newline="") as file:
        intervals = list(csv.DictReader(file))
    for row in intervals:
        for name in MEASURES:
            if row[name]:
                assert float(row[f"{name}_low"]) <= float(row[name])
    page = (tmp_path / "table.md").read_text()
    assert page == to_markdown(comparison)
    assert "| told * | 1 |" in page
    assert "6 test photos" in page
    assert "What cascade gains in GeoScore" in page
    head = next(line for line in page.splitlines() if line.startswith("| method"))
    for line in page.splitlines():
        if line.startswith("| cascade |"):
            assert line.count("|") == head.count("|")
    with Image.open(tmp_path / "errors.png") as picture:
        assert picture.width > 1000


def test_groups_are_named_where_they_were_drawn(truth: Truth) -> None:
    assert "resamples of 6 photos" in compare(RUNGS, (), truth).note
    grouped = Truth(**{**vars(truth), "clusters": np.array([0, 0, 1, 1, 2, 2]), "grouped": True})
    assert "resamples of 3 groups of 6 photos" in compare(RUNGS, (), grouped).note


def test_a_method_that_never_answered_has_a_row(truth: Truth, tmp_path: Path) -> None:
    comparison = write_table([rung("mute", 0, [np.inf] * 6)], (), truth, tmp_path)
    row = json.loads((tmp_path / "table.json").read_text())[0]
    assert (row["geoscore"], row["median_km"], row["mean_km"]) == (0, None, None)
    assert "none (none … none)" in to_markdown(comparison)
    assert not (tmp_path / "differences.csv").exists()


def test_seeds_that_do_not_meet_have_no_difference(truth: Truth) -> None:
    assert compare([rung("a", 0, [1] * 6), rung("b", 1, [2] * 6)], (), truth).pairs == ()
