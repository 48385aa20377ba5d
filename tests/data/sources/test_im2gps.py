from __future__ import annotations

import logging
from pathlib import Path

import pytest

from geomind.data.sources import Format, ReadOptions, open_source, recognise
from geomind.data.sources.im2gps import SIZES, open_im2gps
from geomind.errors import ManifestError

COLUMNS = "S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban"
PLACES = [(32.325436, -64.764404), (29.976052, 122.390356), (-0.400997, -90.704498)]


def write_set(folder: Path, name: str, *, rows: int = 3, header: str = "LAT,LON", ending: str = ".jpg") -> Path:
    """Write a table as GeoEstimation publishes them; the values come latitude first whatever the header says."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"IMG_ID,AUTHOR,{header},{COLUMNS}"]
    for number in range(rows):
        latitude, longitude = PLACES[number % len(PLACES)]
        photo = f"{1000269685 + number}_e60e9cdfb4_1125_78841376@N00{ending}"
        lines.append(f"{photo},78841376@N00,{latitude},{longitude},2,12,353,0.27,0.04,0.68")
    path = folder / f"{name}_places365.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    "images", ["images", "images/{name}", "{name}", "{name}_rgb_images", ".", "../images", "../images/{name}"]
)
def test_a_table_and_its_images_wherever_they_are_usual(tmp_path: Path, name: str, images: str) -> None:
    table = write_set(tmp_path / "meta", name)
    folder = (tmp_path / "meta" / images.format(name=name)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1000269685_e60e9cdfb4_1125_78841376@N00.jpg").touch()
    assert recognise(table) is recognise(tmp_path / "meta") is Format.IM2GPS
    (records,) = open_source(tmp_path / "meta").chunks(10)
    assert records.rows["image_path"].tolist()[0] == str(folder / "1000269685_e60e9cdfb4_1125_78841376@N00.jpg")
    assert records.rows[["latitude", "longitude"]].to_numpy().tolist() == [list(place) for place in PLACES]
    assert records.rows[["split", "source", "group"]].to_numpy().tolist() == [["test", name, ""]] * 3
    assert records.rows["AUTHOR"].tolist() == ["78841376@N00"] * 3
    assert records.faults.tolist() == [""] * 3


@pytest.mark.parametrize(("name", "size"), [("im2gps", 237), ("im2gps3k", 2997), ("yfcc4k", 4536)])
def test_a_part_of_a_published_set_is_told_from_the_whole(
    tmp_path: Path, name: str, size: int, heard: pytest.LogCaptureFixture
) -> None:
    with heard.at_level(logging.WARNING):
        open_im2gps(write_set(tmp_path / "whole", name, rows=size))
        assert not heard.messages
        open_im2gps(write_set(tmp_path / "part", name, rows=size - 7))
    assert len(heard.messages) == 1
    assert f"lists {size - 7} photos; the published {name} has {size}" in heard.messages[0]


def test_latitudes_under_lon_are_read_as_latitudes(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    """The first edition of im2gps3k_places365.csv has LON over its latitudes and LAT over its longitudes."""
    table = write_set(tmp_path, "im2gps3k", header="LON,LAT", rows=2997)
    with heard.at_level(logging.WARNING):
        (records,) = open_im2gps(table).chunks(5000)
    assert records.rows[["latitude", "longitude"]].to_numpy()[:3].tolist() == [list(place) for place in PLACES]
    assert [message for message in heard.messages if "read the right way round" in message]


def test_names_without_an_ending_are_jpegs(tmp_path: Path) -> None:
    (records,) = open_im2gps(write_set(tmp_path, "yfcc4k", ending="")).chunks(10)
    assert records.rows["image_path"][0] == str(tmp_path / "images/1000269685_e60e9cdfb4_1125_78841376@N00.jpg")


def test_images_that_are_elsewhere(tmp_path: Path) -> None:
    table = write_set(tmp_path, "im2gps")
    (records,) = open_source(table, options=ReadOptions(images_dir=Path("/far"))).chunks(10)
    assert records.rows["image_path"][0] == "/far/1000269685_e60e9cdfb4_1125_78841376@N00.jpg"


def test_a_training_set_of_the_same_columns_is_no_test_set(tmp_path: Path) -> None:
    """MP-16 has them too; taken for a test set it would not be trained on."""
    table = write_set(tmp_path, "mp16")
    assert recognise(table) is Format.TABLE
    assert recognise(tmp_path) is Format.PHOTOS
    (records,) = open_source(table, Format.IM2GPS).chunks(10)
    assert records.rows["split"].tolist() == [""] * 3
    assert records.rows["source"].tolist() == ["mp16_places365"] * 3


def test_a_folder_of_no_table_or_of_two_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds no table with the columns IMG_ID, LAT, LON"):
        open_source(tmp_path, Format.IM2GPS)
    write_set(tmp_path, "im2gps")
    write_set(tmp_path, "yfcc4k")
    with pytest.raises(ManifestError, match="holds 2 tables"):
        open_source(tmp_path, Format.IM2GPS)
