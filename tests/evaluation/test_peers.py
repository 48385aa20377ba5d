"""Anybody's CSV of answers: its columns are found, its odd rows are named, and ours are read as ours."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from geomind.errors import ManifestError
from geomind.evaluation.peers import ANSWER_NAMES, JUDGED, NO_PLACE, read_answers
from geomind.predictions import Prediction, write_predictions


def write(folder: Path, text: str, name: str = "theirs.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_the_names_of_columns_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8").lower()
    for name in (*ANSWER_NAMES["image_path"], *ANSWER_NAMES["latitude"], *JUDGED):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    "header",
    [
        "image_path,latitude,longitude",
        "filename,lat,lon",
        "path,lat,lng",
        "file,Latitude,Longitude",
        "IMG_ID,LAT,LON",
        "id,pred_lat,pred_lon",
        "\ufeffimage, predicted_latitude ,predicted_longitude",
    ],
)
def test_usual_names_of_columns(tmp_path: Path, header: str) -> None:
    answers, notes = read_answers(write(tmp_path, f"{header}\n1.jpg,48.85,2.35\n"))
    assert answers == [Prediction(image_path="1.jpg", latitude=48.85, longitude=2.35)]
    assert notes[0].startswith(f"{tmp_path / 'theirs.csv'} is read as a table of answers with the columns ")


def test_a_predicted_place_goes_before_the_true_one(tmp_path: Path) -> None:
    answers, notes = read_answers(write(tmp_path, "IMG_ID,LAT,LON,pred_lat,pred_lon\n1.jpg,0,0,48.85,2.35\n"))
    assert answers[0].place == (48.85, 2.35)
    assert "pred_lat for latitude" in notes[0]


def test_other_columns_are_left_alone_and_judged_ones_taken(tmp_path: Path) -> None:
    text = "path,lat,lon,country,city,region_id,confidence,score\na.jpg,-22.56,17.08,NA,=1+1,9,0.75,high\n"
    answers, notes = read_answers(write(tmp_path, text))
    assert answers == [Prediction(image_path="a.jpg", latitude=-22.56, longitude=17.08, region_id=9, confidence=0.75)]
    assert "path for image_path, lat for latitude, lon for longitude, region_id, confidence;" in notes[0]


def test_no_place_is_no_answer(tmp_path: Path) -> None:
    text = "path,lat,lon,error\n1,,,\n2,nan,NaN,\n3,,,too dark\n"
    assert [each.error for each in read_answers(write(tmp_path, text))[0]] == [NO_PLACE, NO_PLACE, "too dark"]
    frame = pd.DataFrame({"path": ["1", "2"], "lat": [1.5, None], "lon": [2.5, None]})
    frame.to_parquet(tmp_path / "theirs.parquet")
    answers, _ = read_answers(tmp_path / "theirs.parquet")
    assert [each.place for each in answers] == [(1.5, 2.5), None]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.jpg,north,2", "line 3: lat is not a number: 'north'."),
        ("a.jpg,91,2", "line 3: a.jpg: latitude 91.0 is outside -90 to 90."),
        ("a.jpg,1,1e999", "line 3: a.jpg: longitude inf is outside -180 to 180."),
        ("a.jpg,1,", "line 3: a.jpg: latitude and longitude come together or not at all."),
        (",1,2", "line 3: a prediction needs the path of its photo."),
        ("a.jpg,1", "line 3: wrong number of cells: 2, the header has 3."),
        ("a.jpg,1,2,3", "line 3: wrong number of cells: 4, the header has 3."),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, row: str, said: str) -> None:
    path = write(tmp_path, f"path,lat,lon\nfine.jpg,1,2\n{row}\n")
    with pytest.raises(ManifestError) as caught:
        read_answers(path)
    assert str(caught.value) == f"{path}, {said}"


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "path,y,x\na.jpg,1,2\n")
    with pytest.raises(ManifestError, match=r"no column for latitude: it has path, y, x\..*--columns latitude=NAME"):
        read_answers(path)
    answers, _ = read_answers(path, {"latitude": "y", "longitude": "x"})
    assert answers[0].place == (1, 2)
    with pytest.raises(ManifestError, match="gives no column 'country'"):
        read_answers(path, {"country": "x"})
    with pytest.raises(ManifestError, match="Cannot read"):
        read_answers(tmp_path / "nowhere.csv")


def test_our_own_are_read_as_what_they_are(tmp_path: Path) -> None:
    ours = [Prediction(image_path="=a.jpg", latitude=1, longitude=2, region_id=3, region_name="x", city="Rome")]
    for name in ("predictions.csv", "predictions.parquet"):
        write_predictions(ours, tmp_path / name)
        assert read_answers(tmp_path / name) == (ours, [])


def test_an_earlier_versions_are_read_too(tmp_path: Path) -> None:
    """Its header lacks the newest columns, and was refused."""
    ours = [Prediction(image_path="=a.jpg", latitude=1, longitude=2, region_id=3, region_probability=0.5)]
    write_predictions(ours, tmp_path / "predictions.csv")
    frame = pd.read_csv(tmp_path / "predictions.csv", dtype=str, keep_default_na=False)
    frame.drop(columns=["abstained", "radius_note"]).to_csv(tmp_path / "old.csv", index=False)
    assert read_answers(tmp_path / "old.csv")[0] == ours


def test_a_tsv(tmp_path: Path) -> None:
    answers, _ = read_answers(write(tmp_path, "path\tlat\tlon\na, b.jpg\t1\t2\n", "theirs.tsv"))
    assert answers[0].image_path == "a, b.jpg"
