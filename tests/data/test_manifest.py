from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.data.manifest import COLUMNS, manifest_writer, photo_path, read_manifest, stored_path, write_manifest
from geomind.errors import ManifestError, OutputError

HEADER = ",".join(COLUMNS)
ENDINGS = ["csv", "parquet"]


def frame(**columns: object) -> pd.DataFrame:
    rows = {"image_path": ["a.jpg", "b.jpg"], "latitude": [-22.5, 90.0], "longitude": [17.0, -180.0]}
    rows |= {"country": ["NA", ""], "region_id": [6, 12], "group": ["", "007"], "split": ["train", ""]}
    return pd.DataFrame(rows | {"source": ["exif", "b.csv"]} | columns)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_manifest_reads_back_as_it_was(tmp_path: Path, ending: str) -> None:
    """Namibia's code NA was read as a missing value."""
    path = tmp_path / f"manifest.{ending}"
    write_manifest(frame(heading=["090", "N/A"]), path)
    read = read_manifest(path)
    assert tuple(read.columns) == (*COLUMNS, "heading")
    assert read["country"].tolist() == ["NA", ""]
    assert read["group"].tolist() == ["", "007"]
    assert read["heading"].tolist() == ["090", "N/A"]
    assert read["latitude"].dtype == read["longitude"].dtype == np.float64
    assert str(read["region_id"].dtype) == "Int64"
    assert read["region_id"].tolist() == [6, 12]
    again = tmp_path / f"again.{ending}"
    write_manifest(read, again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_columns_come_in_order_and_may_be_unfilled(tmp_path: Path, ending: str) -> None:
    shuffled = frame(region_id=pd.array([None, 3], "Int64"))[list(reversed(COLUMNS))]
    write_manifest(shuffled, tmp_path / f"m.{ending}")
    read = read_manifest(tmp_path / f"m.{ending}")
    assert tuple(read.columns) == COLUMNS
    assert read["region_id"].isna().tolist() == [True, False]


@given(
    latitude=st.floats(-90, 90, allow_subnormal=False),
    longitude=st.floats(-180, 180, allow_subnormal=False),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
def test_places_and_names_survive_exactly(
    tmp_path_factory: pytest.TempPathFactory, latitude: float, longitude: float, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.csv"
    write_manifest(frame(latitude=latitude, longitude=longitude, image_path=name), path, overwrite=True)
    read = read_manifest(path)
    assert read["latitude"].tolist() == [latitude] * 2
    assert read["longitude"].tolist() == [longitude] * 2
    assert read["image_path"].tolist() == [name] * 2


def test_paths_below_the_manifest_move_with_it(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for name in ("a.jpg", "deep/er/a.jpg", "=1+1.jpg", "-x.jpg", "@a/b.jpg", 'a,"b"\n.jpg', "é.jpg"):
        stored = stored_path(f"{folder}/{name}", folder)
        assert not Path(stored).is_absolute()
        assert not stored.startswith(("=", "+", "-", "@"))  # a spreadsheet would run it
        assert photo_path(tmp_path / "manifest.csv", stored) == tmp_path / name
    assert stored_path(f"{folder}-other/a.jpg", folder) == f"{folder}-other/a.jpg"
    assert photo_path(tmp_path / "manifest.csv", "/else/a.jpg") == Path("/else/a.jpg")
    assert stored_path("/a.jpg", "/") == "a.jpg"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("", "has no row"),
        ("a.jpg,97.3,0,US,0,,,x", "line 2: latitude is out of range: 97.3"),
        ("a.jpg,1,2,US,0,,,x\n\na.jpg,0,180.5,US,0,,,x", "line 4: longitude is out of range: 180.5"),
        ('"a\n.jpg",1,2,US,0,,,x\na.jpg,52 N,0,US,0,,,x', "line 4: latitude is not a number: '52 N'"),
        ("a.jpg,52,,US,0,,,x", "line 2: longitude is not a number: ''"),
        ("a.jpg,inf,0,US,0,,,x", "line 2: latitude is not a finite number"),
        (",1,2,US,0,,,x", "line 2: image_path is empty"),
        ("a.jpg,1,2,US,1.5,,,x", "line 2: region_id is no whole number: 1.5"),
        ("a.jpg,1,2,US,,,,x\na.jpg,1,2,US,west,,,x", "line 3: region_id is not a number: 'west'"),
        ("a.jpg,1,2", "line 2: wrong number of cells: 3, the header has 8"),
    ],
)
def test_errors_name_file_line_and_reason(tmp_path: Path, rows: str, reason: str) -> None:
    (tmp_path / "m.csv").write_text(f"{HEADER}\n{rows}\n", encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert str(caught.value).startswith(str(tmp_path / "m.csv"))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER.replace("latitude", "lat"), "no column 'latitude' (is 'lat' meant?)"),
        (HEADER.replace("region_id", "regionid"), "no column 'region_id' (is 'regionid' meant?)"),
        ("image_path,latitude,longitude", "no column 'country'. It also lacks region_id, group, split, source."),
    ],
)
def test_a_missing_column_names_the_nearest(tmp_path: Path, header: str, reason: str) -> None:
    (tmp_path / "m.csv").write_text(f"{header}\n{',' * header.count(',')}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="geomind prepare") as caught:
        read_manifest(tmp_path / "m.csv")
    assert reason in str(caught.value)


def test_broken_parquet_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ManifestError, match=r"Cannot read .*m\.parquet"):
        read_manifest(tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"Cannot read .*none\.parquet"):
        read_manifest(tmp_path / "none.parquet")
    pd.DataFrame(frame(latitude=[1.0, 97.0])).to_parquet(tmp_path / "n.parquet")
    with pytest.raises(ManifestError, match=r"row 2: latitude is out of range"):
        read_manifest(tmp_path / "n.parquet")


def test_an_existing_manifest_stays_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        write_manifest(frame(), tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == "precious"
    write_manifest(frame(), tmp_path / "m.csv", overwrite=True)
    assert len(read_manifest(tmp_path / "m.csv")) == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failure_leaves_nothing_half_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m.{ending}"
    with pytest.raises(KeyError), manifest_writer(path) as append:
        append(frame())
        append(frame().drop(columns="latitude"))
    assert list(tmp_path.iterdir()) == []


def test_only_csv_and_parquet_are_manifests(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in \.csv or \.parquet"):
        write_manifest(frame(), tmp_path / "m.xlsx")
