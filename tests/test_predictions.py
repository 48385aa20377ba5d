"""Predictions: one photo, one row, and the row reads back as the prediction that was written."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from some_predictions import ANSWER, predictions, texts

from geomind.errors import ManifestError, OutputError
from geomind.predictions import (
    CANDIDATE_COLUMNS,
    CELL_COLUMNS,
    COLUMNS,
    TRUTH_COLUMNS,
    Prediction,
    candidates_of,
    candidates_text,
    extra_columns_of,
    name_places,
    read_predictions,
    write_predictions,
)

# ── the value ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_columns_are_the_promised_header():
    promised = (
        "image_path, region_id, region_name, region_probability, latitude, longitude, google_maps_url, country, city, "
        "radius_km_50, radius_km_90, confidence, error, radius_note, abstained"
    )
    assert ", ".join(COLUMNS) == promised
    assert TRUTH_COLUMNS == ("true_latitude", "true_longitude", "distance_km")


def test_the_link_has_six_decimals_and_needs_a_place():
    assert ANSWER.google_maps_url == "https://www.google.com/maps?q=64.146600,-21.942600"
    assert Prediction(image_path="a.jpg", error="broken").google_maps_url is None


def test_the_link_and_the_distance_follow_a_changed_place():
    moved = dataclasses.replace(ANSWER, latitude=0, longitude=0, true_latitude=0, true_longitude=1)
    assert moved.google_maps_url == "https://www.google.com/maps?q=0.000000,0.000000"
    assert moved.distance_km == pytest.approx(111.195, abs=0.001)


def test_an_unanswered_photo_has_a_truth_and_no_distance():
    missed = Prediction(image_path="a.jpg", error="broken", true_latitude=1, true_longitude=2)
    assert missed.distance_km is None
    assert missed.place is None
    assert missed.truth == (1.0, 2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latitude": 91},
        {"latitude": math.nan},
        {"longitude": -180.5},
        {"latitude": None},
        {"longitude": None},
        {"true_latitude": 3},
        {"true_latitude": 3, "true_longitude": 181},
        {"region_id": -1},
        {"region_id": 2.5},
        {"region_probability": 1.01},
        {"confidence": -0.1},
        {"radius_km_90": math.inf},
        {"radius_km_50": 301},
        {"latitude": None, "longitude": None},
        {"latitude": None, "longitude": None, "error": ""},
    ],
)
def test_a_wrong_prediction_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=r"iceland/a\.jpg"):
        dataclasses.replace(ANSWER, **wrong)


def test_empty_text_is_an_empty_cell():
    assert dataclasses.replace(ANSWER, error="", city="").error is None


def test_a_fallback_has_a_place_and_says_what_it_stands_in_for():
    fallback = dataclasses.replace(ANSWER, error="no Expert for this region")
    assert fallback.answered
    assert fallback.error == "no Expert for this region"


def test_an_abstention_keeps_the_place_and_what_calibration_reads_is_no_column():
    unsure = dataclasses.replace(ANSWER, abstained="confidence below 0.9", spread_km=12.0)
    assert unsure.place == ANSWER.place
    assert "spread_km" not in COLUMNS + CELL_COLUMNS + TRUTH_COLUMNS
    assert unsure == dataclasses.replace(unsure, spread_km=None)


def test_a_prediction_names_its_photo():
    with pytest.raises(ValueError, match="path of its photo"):
        dataclasses.replace(ANSWER, image_path="")


def test_numpy_scalars_become_plain_numbers():
    np = pytest.importorskip("numpy")
    made = dataclasses.replace(ANSWER, region_id=np.int64(3), latitude=np.float32(1.5), longitude=np.float64(-0.0))
    assert (type(made.region_id), type(made.latitude)) == (int, float)
    assert str(made.longitude) == "0.0"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("with_truth", [False, True])
def test_any_predictions_read_back_as_they_were(tmp_path_factory, with_truth):
    path = tmp_path_factory.mktemp("roundtrip") / "predictions.csv"

    @given(st.lists(predictions(with_truth=with_truth), max_size=4))
    def check(written):
        extra = extra_columns_of(written)
        assert write_predictions(written, path, overwrite=True, extra_columns=extra) == len(written)
        assert read_predictions(path) == written
        path.read_bytes().decode("utf-8", "strict")

    check()


@given(texts)
@example("=1+1.jpg")
@example("'=1")
@example("''''=1")
@example("'s-Hertogenbosch")
@example("'caf\\uDCE9")
@example("caf\udce9.jpg")
@example("\\uDCE9")
@example("a;=HYPERLINK(1)")
@example(" =1")
@example("'" * 5000)
def test_no_cell_is_run_by_a_spreadsheet_and_every_cell_reads_back(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    written = [Prediction(image_path=text, error=text)]
    write_predictions(written, path, overwrite=True)
    assert read_predictions(path) == written
    with path.open(encoding="utf-8", newline="") as file:
        cells = dict(zip(*csv.reader(file), strict=True))
    for cell in (cells["image_path"], cells["error"]):
        number = re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?", cell, re.ASCII)
        assert number or cell.lstrip()[:1] not in tuple("=+-@＝＋－＠")
        assert cell[0] not in "\t\r\n"
        assert not re.search(r";[=+\-@]", cell)


@pytest.mark.parametrize("name", ["'s-Hertogenbosch", "-5", "+1.5e3", "Ürümqi", 'a\nb, "c".jpg', "C:\\photos\\a.jpg"])
def test_harmless_text_is_written_as_it_is(tmp_path, name):
    write_predictions([Prediction(image_path=name, error="broken")], tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][0] == name


def test_a_file_name_that_is_not_utf_8_reads_back_as_the_same_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_predictions([Prediction(image_path=name, error="broken")], tmp_path / "p.csv")
    assert os.fsencode(read_predictions(tmp_path / "p.csv")[0].image_path) == b"caf\xe9.jpg"


def test_namibia_is_a_country(tmp_path):
    """`NA` was read as a missing value."""
    write_predictions([dataclasses.replace(ANSWER, country="NA")], tmp_path / "p.csv")
    assert read_predictions(tmp_path / "p.csv")[0].country == "NA"


def test_truth_columns_are_written_where_the_first_row_knows_its_truth(tmp_path):
    write_predictions([ANSWER], tmp_path / "without.csv")
    assert (tmp_path / "without.csv").read_text("utf-8").splitlines()[0] == ",".join(COLUMNS)
    knowing = dataclasses.replace(ANSWER, true_latitude=64, true_longitude=-22)
    write_predictions([knowing, ANSWER], tmp_path / "with.csv")
    assert (tmp_path / "with.csv").read_text("utf-8").splitlines()[0] == ",".join(COLUMNS + TRUTH_COLUMNS)
    with pytest.raises(ValueError, match="with_truth"):
        write_predictions([ANSWER, knowing], tmp_path / "mixed.csv")
    assert write_predictions([ANSWER, knowing], tmp_path / "mixed.csv", with_truth=True) == 2
    assert read_predictions(tmp_path / "mixed.csv") == [ANSWER, knowing]


def test_cells_and_candidates_are_columns_where_the_first_row_has_them(tmp_path):
    celled = dataclasses.replace(ANSWER, country_cell="France", country_cell_probability=0.5, city_cell="12")
    named = dataclasses.replace(ANSWER, candidates=candidates_text([(1, 2, 0.75)]))
    for rows, extra in (
        ([celled, ANSWER], CELL_COLUMNS),
        ([named, ANSWER], CANDIDATE_COLUMNS),
        ([dataclasses.replace(celled, candidates="[]")], CELL_COLUMNS + CANDIDATE_COLUMNS),
        ([ANSWER], ()),
    ):
        write_predictions(rows, tmp_path / "p.csv", overwrite=True)
        header = (tmp_path / "p.csv").read_text("utf-8").splitlines()[0]
        assert header == ",".join(COLUMNS + extra)
    knowing = dataclasses.replace(named, true_latitude=64, true_longitude=-22)
    write_predictions([knowing], tmp_path / "p.csv", overwrite=True)
    header = (tmp_path / "p.csv").read_text("utf-8").splitlines()[0]
    assert header == ",".join(COLUMNS + CANDIDATE_COLUMNS + TRUTH_COLUMNS)
    assert read_predictions(tmp_path / "p.csv") == [knowing]


def test_no_cell_is_dropped_that_comes_late(tmp_path):
    """The first photo was broken, and so its file had no column for the others' cells."""
    broken = Prediction(image_path="0.jpg", error="broken")
    celled = dataclasses.replace(ANSWER, region_cell="Bavaria", region_cell_probability=0.25)
    named = dataclasses.replace(ANSWER, candidates="[]")
    for late in (celled, named):
        with pytest.raises(ValueError, match="no column for it: say extra_columns"):
            write_predictions([broken, late], tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    rows = [broken, named, celled]
    assert extra_columns_of([broken]) == ()
    assert extra_columns_of(iter(rows)) == CELL_COLUMNS + CANDIDATE_COLUMNS
    write_predictions(rows, tmp_path / "p.csv", extra_columns=extra_columns_of(rows))
    assert read_predictions(tmp_path / "p.csv") == rows


def test_columns_beside_those_of_every_prediction_are_named_and_stay_without_rows(tmp_path):
    write_predictions([], tmp_path / "p.csv", extra_columns=CANDIDATE_COLUMNS)
    assert (tmp_path / "p.csv").read_text("utf-8").splitlines() == [",".join(COLUMNS + CANDIDATE_COLUMNS)]
    write_predictions([ANSWER], tmp_path / "q.parquet", extra_columns=("city_cell", "city_cell_probability"))
    assert read_predictions(tmp_path / "q.parquet") == [ANSWER]


def test_the_columns_of_cells_are_the_levels_of_the_hierarchy():
    levels = ("country", "region", "city")
    assert tuple(f"{level}_cell{more}" for level in levels for more in ("", "_probability")) == CELL_COLUMNS
    assert CANDIDATE_COLUMNS == ("candidates",)
    assert not {*COLUMNS, *TRUTH_COLUMNS} & {*CELL_COLUMNS, *CANDIDATE_COLUMNS}


def test_candidates_are_json_of_six_decimals():
    text = candidates_text([(59.9138688, 10.7522454, 0.70000001), (-0.5, 180, 0.3)])
    assert json.loads(text) == [
        {"latitude": 59.913869, "longitude": 10.752245, "probability": 0.7},
        {"latitude": -0.5, "longitude": 180, "probability": 0.3},
    ]
    assert candidates_text([]) == "[]"
    assert candidates_of(text) == [(59.913869, 10.752245, 0.7), (-0.5, 180.0, 0.3)]
    assert candidates_of("[]") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON list"),
        ("{}x", "no JSON list"),
        ('[{"latitude":1,"longitude":2}]', "no JSON list"),
        ('[{"latitude":"north","longitude":2,"probability":1}]', "no JSON list"),
        ('[{"latitude":91,"longitude":2,"probability":1}]', "out of range: 91"),
        ('[{"latitude":NaN,"longitude":2,"probability":1}]', "out of range"),
        ('[{"latitude":1,"longitude":2,"probability":0.6},{"latitude":1,"longitude":2,"probability":0.6}]', "1.200000"),
    ],
)
def test_candidates_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        candidates_of(text)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_rounded_probabilities_are_read_back(shares: list[float]) -> None:
    total = sum(shares)
    rows = candidates_of(candidates_text([(1, 2, share / total) for share in shares]))
    assert sum(probability for *_, probability in rows) == pytest.approx(1, abs=1e-5)


def test_no_rows_is_a_header(tmp_path):
    assert write_predictions([], tmp_path / "p.csv") == 0
    assert read_predictions(tmp_path / "p.csv") == []


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_predictions([ANSWER], path)
    assert path.read_text() == "mine"


def test_a_failure_half_way_leaves_nothing_behind(tmp_path):
    def failing():
        yield ANSWER
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        write_predictions(failing(), tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_written_as_they_come(tmp_path):
    """A million rows must not wait in memory: the file grows while the predictions are made."""
    partial_sizes = []

    def growing():
        for i in range(2000):
            if i % 1000 == 999:
                partial_sizes.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
            yield dataclasses.replace(ANSWER, image_path=f"{i}.jpg")

    assert write_predictions(growing(), tmp_path / "p.csv") == 2000
    assert 0 < partial_sizes[0] < partial_sizes[1]


def test_the_ending_chooses_the_format(tmp_path):
    with pytest.raises(OutputError, match=r"\.csv"):
        write_predictions([ANSWER], tmp_path / "p.xlsx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("region_name,", "region,", 1), "no column region_name"),
        (lambda text: text.replace("64.146600,", "91,", 1), r"line 2: .*latitude 91.0 is outside"),
        (lambda text: text.replace("64.146600,", "north,", 1), "latitude 'north' is not a number"),
        (lambda text: text.replace("64.146600,", "nan,", 1), "line 2: .*latitude nan"),
        (lambda text: text.replace(",2,", ",inf,", 1), "region_id inf"),
        (lambda text: text[: text.index("Reyk")], "line 2: the row ends before"),
        (lambda text: text.rstrip("\n") + ",1,2\n", "more cells than the header"),
        (lambda text: text + '"never closed', "not a CSV"),
        (lambda text: "", "not a predictions.csv"),
    ],
)
def test_a_broken_file_says_what_and_where(tmp_path, change, says):
    path = tmp_path / "p.csv"
    write_predictions([ANSWER], path)
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ManifestError, match=says):
        read_predictions(path)


def test_a_file_that_is_not_there_or_not_utf_8(tmp_path):
    with pytest.raises(ManifestError, match="no such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(",".join(COLUMNS).encode() + b"\ncaf\xe9.jpg")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_predictions(tmp_path / "latin.csv")


def test_a_spreadsheet_may_save_the_file_again(tmp_path):
    """A byte order mark, other line ends, a reordered and an added column are still the same predictions."""
    path = tmp_path / "p.csv"
    write_predictions([ANSWER], path)
    with path.open(encoding="utf-8", newline="") as file:
        header, row = csv.reader(file)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["mine", *reversed(header)], ["x", *reversed(row)]])
    assert read_predictions(path) == [ANSWER]


def test_predictions_load_neither_torch_nor_pandas():
    code = "import sys, geomind.predictions; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


# ── names of places ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_places_are_named_and_the_order_is_kept():
    reykjavik, broken, sea, desert, suva = name_places(
        [
            Prediction(image_path="reykjavik.jpg", latitude=64.14, longitude=-21.9),
            Prediction(image_path="broken.jpg", error="broken"),
            Prediction(image_path="sea.jpg", latitude=-40, longitude=-120),
            Prediction(image_path="desert.jpg", latitude=24.0, longitude=20.0, error="a fallback"),
            Prediction(image_path="suva.jpg", latitude=-18.12, longitude=178.45),
        ]
    )
    assert (reykjavik.country, reykjavik.city) == ("IS", "Reykjavík")
    assert (broken.country, broken.city) == (None, None)
    assert (sea.country, sea.city) == (None, None)
    assert (desert.country, desert.city, desert.error) == ("LY", None, "a fallback")  # no town near
    assert (suva.country, suva.city) == ("FJ", "Suva")


def test_a_town_over_the_border_is_not_the_city():
    """A row read 'Italy, Menton', naming a place that does not exist."""
    (grimaldi,) = name_places([Prediction(image_path="a.jpg", latitude=43.786, longitude=7.536)])
    assert grimaldi.country == "IT"
    assert grimaldi.city != "Menton"


def test_nothing_to_name():
    assert name_places([]) == []
