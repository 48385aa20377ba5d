from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from geomind.data.sources.table import Table
from geomind.errors import ManifestError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_short_form_of_the_seeds(tmp_path: Path) -> None:
    source = Table.open(write(tmp_path / "photos.csv", "image_path,lat,lon\na/b.jpg,48.5,-2.25\n/abs/c.jpg, 1 ,2e1\n"))
    (records,) = source.chunks(10)
    assert records.faults.tolist() == ["", ""]
    assert records.lines.tolist() == [2, 3]
    assert records.rows["image_path"].tolist() == [str(tmp_path / "a/b.jpg"), "/abs/c.jpg"]
    assert records.rows[["latitude", "longitude"]].to_numpy().tolist() == [[48.5, -2.25], [1.0, 20.0]]
    assert records.rows[["group", "split", "source"]].to_numpy().tolist() == [["", "", "photos.csv"]] * 2
    assert (source.total, source.extra_columns) == (2, ())


def test_the_long_form_of_the_seeds(tmp_path: Path) -> None:
    text = "filename,latitude,longitude,pano_id,heading\np_000.jpg,1,2,NA,000\np_090.jpg,1,2,NA,090\n"
    source = Table.open(write(tmp_path / "panos.csv", text))
    (records,) = source.chunks(10)
    assert source.extra_columns == ("pano_id", "heading")
    assert records.rows["group"].tolist() == records.rows["pano_id"].tolist() == ["NA", "NA"]
    assert records.rows["heading"].tolist() == ["000", "090"]


@pytest.mark.parametrize("header", ["path,lat,lng", "FILE,Latitude,LON", "file,path,latitude,lat,longitude"])
def test_columns_by_any_of_their_names(tmp_path: Path, header: str) -> None:
    names = header.split(",")
    values = {"path": "p.jpg", "file": "f.jpg", "lat": "1", "latitude": "2", "lon": "3", "lng": "3", "longitude": "3"}
    row = ",".join(values[name.lower()] for name in names)
    source = Table.open(write(tmp_path / "t.csv", f"{header}\n{row}\n"))
    (records,) = source.chunks(10)
    taken = records.rows.iloc[0]
    assert Path(taken["image_path"]).name == ("p.jpg" if "path" in names else "f.jpg")
    assert taken["latitude"] == (2 if "latitude" in header.lower() else 1)
    assert taken["longitude"] == 3
    assert source.extra_columns == (("file", "lat") if len(names) == 5 else ())


def test_what_a_manifest_says_is_kept_but_not_its_country(tmp_path: Path) -> None:
    text = (
        "image_path,latitude,longitude,country,region_id,group,split,source,note\n"
        "a.jpg,1,2,US,0,burst,test,exif,x\nb.jpg,1,2,US,0,,,,\n"
    )
    source = Table.open(write(tmp_path / "old.csv", text))
    (records,) = source.chunks(10)
    assert source.extra_columns == ("note",)
    assert "country" not in records.rows
    assert records.rows[["group", "split", "source"]].to_numpy().tolist() == [
        ["burst", "test", "exif"],
        ["", "", "old.csv"],
    ]


def test_rows_that_make_no_sense_say_why(tmp_path: Path) -> None:
    text = 'file,lat,lon\na.jpg,x,1\nb.jpg,1,\n,1,2\nc.jpg\nd.jpg,"52,5",1\ne.jpg,1,2\n'
    (records,) = Table.open(write(tmp_path / "t.csv", text)).chunks(10)
    assert records.faults.tolist() == [
        "latitude is not a number: 'x'",
        "longitude is not a number: ''",
        "no path",
        "wrong number of cells: 1, the header has 3",
        "latitude is not a number: '52,5'",
        "",
    ]
    assert records.lines.tolist() == [2, 3, 4, 5, 6, 7]
    assert records.rows["image_path"][2] == ""


def test_chunks_together_are_the_table(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,{i},{i}\n" for i in range(7))
    source = Table.open(write(tmp_path / "t.csv", f"file,lat,lon\n{rows}"))
    chunks = list(source.chunks(3))
    assert [len(chunk.rows) for chunk in chunks] == [3, 3, 1]
    assert pd.concat(chunk.rows for chunk in chunks)["latitude"].tolist() == list(range(7))
    assert [line for chunk in chunks for line in chunk.lines] == list(range(2, 9))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "image_path,latitude",
            "no column for longitude: it has image_path, latitude. Call one of them longitude or lon or lng",
        ),
        ("photo;lat;lon", "no column for image_path: it has photo;lat;lon.*separate columns by commas"),
    ],
)
def test_a_missing_column_is_named_with_what_is_there(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Table.open(write(tmp_path / "t.csv", f"{header}\n"))
