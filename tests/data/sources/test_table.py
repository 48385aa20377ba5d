from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", ["t.tsv", "t.TAB", "t.txt", "t"])
def test_tabs_separate_where_the_name_or_the_header_says_so(tmp_path: Path, name: str) -> None:
    text = 'file\tlat\tlon\tnote\na.jpg\t1\t2\t"x\ty"\nb, c.jpg\t1.5\t2.5\tNA\n'
    (records,) = Table.open(write(tmp_path / name, text)).chunks(10)
    assert records.rows["image_path"].tolist() == [str(tmp_path / "a.jpg"), str(tmp_path / "b, c.jpg")]
    assert records.rows["note"].tolist() == ["x\ty", "NA"]
    assert records.lines.tolist() == [2, 3]


def parquet(path: Path, rows_per_group: int = 2) -> Path:
    columns = {
        "path": pa.array(["a.jpg", "b.jpg", "", "d.jpg", None]),
        "lat": pa.array([48.8566, -22.5, 1.0, None, 2.0], pa.float32()),
        "lon": pa.array([2, 17, 2, 3, 4], pa.int16()),
        "pano_id": pa.array(["p", "p", "q", "q", None]).dictionary_encode(),
        "captured_at": pa.array([0, 1, 2, 3, None], pa.timestamp("ms")),
        "image": pa.array([{"bytes": b"x"}] * 5),
        "raw": pa.array([b"x"] * 5),
        "__index_level_0__": pa.array(range(5)),
    }
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_parquet_of_any_types(tmp_path: Path, rows: int) -> None:
    source = Table.open(parquet(tmp_path / "t.parquet"))
    assert (source.total, source.count()) == (5, 5)
    assert source.extra_columns == ("pano_id", "captured_at")  # no bytes, nothing nested, no row numbers of pandas
    records = list(source.chunks(rows))
    table = pd.concat([each.rows for each in records], ignore_index=True)
    assert [Path(path).name for path in table["image_path"]] == ["a.jpg", "b.jpg", "", "d.jpg", ""]
    assert table["image_path"][0] == str(tmp_path / "a.jpg")
    assert table["latitude"].tolist()[:3] == [48.8566, -22.5, 1]
    assert table["longitude"].tolist() == [2, 17, 2, 3, 4]
    assert table["group"].tolist() == ["p", "p", "q", "q", ""]
    assert table["captured_at"].tolist()[2:] == ["1970-01-01 00:00:00.002", "1970-01-01 00:00:00.003", ""]
    assert np.concatenate([each.lines for each in records]).tolist() == [1, 2, 3, 4, 5]
    faults = np.concatenate([each.faults for each in records]).tolist()
    assert faults == ["", "", "no path", "latitude is not a number: ''", "no path"]


def test_broken_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ManifestError, match=r"Cannot read .*t\.parquet"):
        Table.open(tmp_path / "t.parquet")
    whole = parquet(tmp_path / "u.parquet", rows_per_group=5)
    source = Table.open(whole)
    content = whole.read_bytes()
    whole.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(ManifestError, match=r"Cannot read .*u\.parquet"):
        list(source.chunks(10))
    twice = pa.table([pa.array(["a.jpg"]), pa.array([1.0]), pa.array([2.0])], names=["path", "lat", "lat"])
    pq.write_table(twice, tmp_path / "v.parquet")
    with pytest.raises(ManifestError, match="the column 'lat' is there twice"):
        Table.open(tmp_path / "v.parquet")


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "img,Y,X,drive,lat,Kept\na.jpg,48.5,2.25,d1,7,k\n")
    columns = {"image_path": "img", "latitude": "Y", "longitude": "X", "group": "drive"}
    source = Table.open(path, columns)
    (records,) = source.chunks(10)
    assert records.rows[["latitude", "longitude", "group"]].to_numpy().tolist() == [[48.5, 2.25, "d1"]]
    assert records.rows["image_path"].tolist() == [str(tmp_path / "a.jpg")]
    assert source.extra_columns == ("drive", "lat", "Kept")
    assert source.fingerprint != Table.open(path, columns | {"latitude": "lat"}).fingerprint


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"latitude": "y"}, r"has no column 'y' for latitude: it has file, Y, X"),
        ({"lat": "Y"}, "A table gives no column 'lat'. Choose among image_path, latitude, longitude, group"),
        ({"country": "Y"}, "A table gives no column 'country'"),
        ({"latitude": "Y", "longitude": "Y"}, "'Y' cannot be both latitude and longitude"),
        ({"latitude": "Y"}, "has no column for longitude"),
        (
            {"image_path": "Y", "latitude": "X", "longitude": "file", "group": "X"},
            "'X' cannot be both latitude and group",
        ),
    ],
)
def test_other_names_that_make_no_sense(tmp_path: Path, columns: dict[str, str], reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Table.open(write(tmp_path / "t.csv", "file,Y,X\n"), columns)


def test_a_column_that_was_given_is_not_found_for_another(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no column for longitude"):
        Table.open(write(tmp_path / "t.csv", "file,lon,north\n"), {"latitude": "lon"})


def test_photos_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "t.csv", "file,lat,lon\na/../b.jpg,1,2\n/abs.jpg,1,2\n")
    (records,) = Table.open(path, images_dir=Path("far")).chunks(10)
    assert records.rows["image_path"].tolist() == [str(tmp_path / "far/b.jpg"), "/abs.jpg"]


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    """DataFrame.to_csv writes its row numbers so."""
    source = Table.open(write(tmp_path / "t.csv", ",file,lat,lon\n0,a.jpg,1,2\n"))
    assert source.extra_columns == ()
    assert "" not in next(source.chunks(1)).rows


def test_city_follows_from_the_coordinates_as_country_does(tmp_path: Path) -> None:
    source = Table.open(write(tmp_path / "t.csv", "file,lat,lon,city,City name\na.jpg,1,2,Paris,Paris\n"))
    assert source.extra_columns == ("City name",)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@given(rows=st.integers(1, 5), chunks=st.integers(0, 6))
def test_a_stopped_reading_goes_on_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, ending: str, rows: int, chunks: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"seven.{ending}"
    frame = pd.DataFrame({"file": [f"{i}.jpg" for i in range(7)], "lat": range(7), "lon": 1.5, "note": 'a\n"b"'})
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, row_group_size=3)
    source = Table.open(path)
    assert source.count() == 7
    whole = list(source.chunks(rows))
    before = sum(len(records.rows) for records in whole[:chunks])
    rest = list(source.chunks(rows, before))
    assert len(rest) == len(whole[chunks:])
    for found, expected in zip(rest, whole[chunks:], strict=True):
        pd.testing.assert_frame_equal(found.rows, expected.rows)
        assert found.lines.tolist() == expected.lines.tolist()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "image_path,latitude",
            "no column for longitude: it has image_path, latitude. Call one of them longitude or lon or lng, "
            "or .*--columns longitude=NAME",
        ),
        ("photo;lat;lon", "no column for image_path: it has photo;lat;lon.*separate columns by commas"),
    ],
)
def test_a_missing_column_is_named_with_what_is_there(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Table.open(write(tmp_path / "t.csv", f"{header}\n"))
