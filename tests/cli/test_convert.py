"""`geomind convert`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from conftest import Run
from PIL import Image
from some_predictions import ANSWER

from geomind.predictions import Prediction, read_predictions, write_predictions

ROWS = [dataclasses.replace(ANSWER, image_path="a.jpg"), Prediction(image_path="b.jpg", error="broken")]


@pytest.fixture
def folder(geomind: Run) -> Path:
    """An empty folder to work in, with predictions and a photo."""
    write_predictions(ROWS, "predictions.csv")
    Path("photos").mkdir()
    Image.new("RGB", (40, 30), "teal").save("photos/a.jpg")
    return Path()


def test_formats_by_ending_and_by_name(geomind: Run, folder: Path):
    assert geomind("convert", "--output", "p.parquet") == (0, "2 rows: p.parquet\n", "")
    assert read_predictions("p.parquet") == ROWS
    assert geomind("convert", "p.parquet", "--output", "back.csv")[0] == 0
    assert Path("back.csv").read_bytes() == Path("predictions.csv").read_bytes()
    assert geomind("convert", "--output", "places.json", "--format", "geojson")[0] == 0
    assert len(json.loads(Path("places.json").read_text("utf-8"))["features"]) == 2
    for ending in ("kml", "gpx"):
        assert geomind("convert", "--output", f"p.{ending}")[0] == 0
    code, _, said = geomind("convert", "--output", "p.kml")
    assert (code, "--overwrite" in said) == (1, True)
    code, _, said = geomind("convert", "--output", "p.docx")
    assert (code, "names no format" in said) == (1, True)


def test_a_truth_known_of_later_rows_only_is_kept(geomind: Run, folder: Path):
    known = dataclasses.replace(ROWS[0], true_latitude=64, true_longitude=-22)
    write_predictions([ROWS[1], known], "mixed.csv", with_truth=True)
    assert geomind("convert", "mixed.csv", "--output", "mixed.parquet")[0] == 0
    assert read_predictions("mixed.parquet") == [ROWS[1], known]


def test_a_map(geomind: Run, folder: Path):
    code, said, _ = geomind("convert", "--map", "map.html", "--thumbnails", 5, "--images-dir", "photos")
    assert (code, said) == (0, "Map of 2 photos: map.html\n")
    assert "data:image/jpeg" in Path("map.html").read_text("utf-8")


def test_copies_with_exif_are_nobody_s_truth(geomind: Run, folder: Path):
    before = Path("photos/a.jpg").read_bytes()
    code, said, _ = geomind("convert", "--exif", "out", "--images-dir", "photos")
    assert (code, said) == (
        0, "1 photos got EXIF GPS, 0 a sidecar, 1 nothing.\n1 left alone: it has no place.\n",
    )  # fmt: skip
    assert Path("photos/a.jpg").read_bytes() == before
    code, _, said = geomind("prepare", "out")
    assert code == 1
    assert "its position is an estimate of GeoMind (1)" in said


def test_sidecars_and_in_place(geomind: Run, folder: Path):
    assert geomind("convert", "--xmp", "--images-dir", "photos")[0] == 0
    assert Path("photos/a.jpg.xmp").exists()
    Path("photos/a.jpg.xmp").unlink()
    assert "1 photos got EXIF GPS" in geomind("convert", "--in-place", "--images-dir", "photos")[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "Say what to make"),
        (("--xmp", "--in-place", "--images-dir", "photos"), "Choose one"),
        (("--xmp",), "--images-dir"),
        (("--map", "m.html", "--thumbnails", "3"), "--images-dir"),
    ],
)
def test_what_makes_no_sense_is_refused_before_work_begins(geomind: Run, folder: Path, options, says):
    code, _, said = geomind("convert", *options)
    assert (code, says in said) == (2, True)
    assert not Path("m.html").exists()
