from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geomind.data.sources import Format, ReadOptions, open_source, recognise
from geomind.data.sources.osv5m import NumberedImages, open_osv5m
from geomind.errors import ManifestError

HEADER_LINE = (
    "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,lon_bin,lat_bin,cell,region,sub-region,city,"
    "land_cover,road_index,drive_side,climate,soil,dist_sea,quadtree_10_5000,quadtree_10_25000,quadtree_10_1000,"
    "quadtree_10_50000,quadtree_10_12500,quadtree_10_500,quadtree_10_2500,unique_region,unique_sub-region,unique_city,"
    "unique_country,creator_username,creator_id"
)
"""The columns of the published train.csv and test.csv, in their order."""

HEADER = HEADER_LINE.split(",")

FORMS = {"country": "NA", "region": "Khomas", "sub-region": "", "city": "Windhoek", "cell": "(0, 8)", "drive_side": "1"}


def write_table(path: Path, rows: Sequence[tuple[int, float, float, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="0")
        writer.writeheader()
        for photo, latitude, longitude, sequence in rows:
            writer.writerow(FORMS | {"id": photo, "latitude": latitude, "longitude": longitude, "sequence": sequence})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data set as its archives unpack: numbered folders of photos below images/train and images/test."""
    root = tmp_path / "osv5m"
    for file in ("train/00/3859149887465501.jpg", "train/97/18.jpg", "test/04/77.jpg", "train/97/._18.jpg"):
        (root / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / file).touch()
    rows = [(3859149887465501, -22.57, 17.08, "a"), (18, -22.58, 17.09, "a"), (19, 48.85, 2.35, "b")]
    write_table(root / "train.csv", rows)
    write_table(root / "test.csv", [(77, 0.5, 36.5, "c")])
    return root


def test_the_published_form_is_read_whole(folder: Path) -> None:
    assert recognise(folder) is recognise(folder / "train.csv") is Format.OSV5M
    source = open_source(folder)
    rows = pd.concat([records.rows for records in source.chunks(2)], ignore_index=True)
    images = folder / "images"
    assert rows["image_path"].tolist() == [
        str(images / "train/00/3859149887465501.jpg"),
        str(images / "train/97/18.jpg"),
        str(images / "train/19.jpg"),  # it is nowhere
        str(images / "test/04/77.jpg"),
    ]
    assert rows["split"].tolist() == ["train", "train", "train", "test"]
    assert rows["group"].tolist() == ["a", "a", "b", "c"]
    assert rows["source"].unique().tolist() == ["osv5m"]
    np.testing.assert_array_equal(rows["latitude"], [-22.57, -22.58, 48.85, 0.5])
    assert source.total == 4
    assert source.extra_columns == tuple(
        name for name in HEADER if name not in ("id", "latitude", "longitude", "country", "city")
    )
    assert rows["region"].tolist() == ["Khomas"] * 4
    assert set(rows.columns) == {"image_path", "latitude", "longitude", "group", "split", "source"} | set(
        source.extra_columns
    )


@pytest.mark.parametrize("skip", range(5))
def test_a_stopped_reading_goes_on_in_the_right_table(folder: Path, skip: int) -> None:
    source = open_osv5m(folder)
    whole = [path for records in source.chunks(1) for path in records.rows["image_path"]]
    assert [path for records in source.chunks(1, skip) for path in records.rows["image_path"]] == whole[skip:]


def test_one_table_alone_and_photos_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "images").rename(tmp_path / "pictures")
    source = open_source(folder / "test.csv", Format.OSV5M, ReadOptions(images_dir=tmp_path / "pictures"))
    (records,) = source.chunks(10)
    assert records.rows["image_path"].tolist() == [str(tmp_path / "pictures/test/04/77.jpg")]
    assert records.rows["split"].tolist() == ["test"]


def test_a_folder_without_its_tables_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"neither train\.csv nor test\.csv"):
        open_source(tmp_path, Format.OSV5M)


def test_other_tables_of_that_name_are_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,latitude,longitude\n1,2,3\n", encoding="utf-8")
    assert recognise(tmp_path / "train.csv") is Format.TABLE
    assert recognise(tmp_path) is Format.PHOTOS


def test_numbers_of_any_length_are_found(tmp_path: Path) -> None:
    names = ["1", "007", "18446744073709551615", "9223372036854775807", "9999999999999999999", "x", "", "0", "5"]
    for number, name in enumerate(names[:5]):
        (tmp_path / f"{number:02d}").mkdir()
        (tmp_path / f"{number:02d}" / f"{name}.jpg").touch()
    found = NumberedImages(tmp_path).paths(names)
    assert found[0] == str(tmp_path / "00/1.jpg")
    assert found[3] == str(tmp_path / "03/9223372036854775807.jpg")
    assert found[4] == str(tmp_path / "04/9999999999999999999.jpg")
    # 007 is another name than 7, and 2^64-1 has more digits than are taken: both are looked for in the folder itself.
    assert [found[i] for i in (1, 2, 5, 7, 8)] == [str(tmp_path / f"{names[i]}.jpg") for i in (1, 2, 5, 7, 8)]
    assert found[6] == ""
    assert NumberedImages(tmp_path / "none").paths(["1"]) == [str(tmp_path / "none/1.jpg")]
