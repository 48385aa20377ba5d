from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geomind.data.sources.exif import ExifFolder
from geomind.errors import PhotoError


def save_photo(path: Path, latitude: float | None = None, longitude: float = 0.0) -> None:
    exif = Image.Exif()
    if latitude is not None:
        north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
        exif[0x8825] = {1: north, 2: (abs(latitude), 0.0, 0.0), 3: east, 4: (abs(longitude), 0.0, 0.0)}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), "green").save(path, exif=exif.tobytes())


def test_every_photo_is_a_row_in_order(tmp_path: Path) -> None:
    save_photo(tmp_path / "b.jpg", -33.5, 151.25)
    save_photo(tmp_path / "a" / "none.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    source = ExifFolder.open(tmp_path)
    assert (source.total, source.extra_columns) == (3, ())
    for rows in (1, 2, 100):
        records = list(source.chunks(rows))
        table = pd.concat([each.rows for each in records], ignore_index=True)
        names = [os.path.relpath(path, tmp_path) for path in table["image_path"]]
        assert names == ["a/none.jpg", "b.jpg", "c.jpg"]
        np.testing.assert_allclose(table[["latitude", "longitude"]].to_numpy()[1], [-33.5, 151.25])
        assert table["latitude"].isna().tolist() == [True, False, True]
        faults = np.concatenate([each.faults for each in records]).tolist()
        assert faults == ["no EXIF GPS", "", "not an image, or broken at its beginning"]
        assert table["source"].unique().tolist() == ["exif"]


def test_a_stopped_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    for name in "abcde":
        save_photo(tmp_path / f"{name}.jpg", 1.0, 2.0)
    source = ExifFolder.open(tmp_path)
    rest = pd.concat([records.rows for records in source.chunks(2, 2)])
    assert [Path(path).stem for path in rest["image_path"]] == ["c", "d", "e"]
    assert ExifFolder.open(tmp_path).fingerprint == source.fingerprint
    save_photo(tmp_path / "aa.jpg", 1.0, 2.0)
    assert ExifFolder.open(tmp_path).fingerprint != source.fingerprint


def test_a_name_that_is_no_text_is_refused_and_shown(tmp_path: Path) -> None:
    """Such a name cannot be written into a table in UTF-8."""
    try:
        save_photo(tmp_path / os.fsdecode(b"caf\xe9.jpg"), 48.0, 2.0)
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    (records,) = ExifFolder.open(tmp_path).chunks(10)
    assert records.faults.tolist() == ["the file name is not UTF-8; rename the file"]
    assert records.rows["image_path"][0].endswith(r"caf\xe9.jpg")


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="No photo in"):
        ExifFolder.open(tmp_path)


def test_a_photo_written_anew_is_another_source(tmp_path: Path) -> None:
    """The fingerprint was of names alone: a stopped prepare went on among photos that had been edited meanwhile."""
    save_photo(tmp_path / "a.jpg", 1.0, 2.0)
    before = ExifFolder.open(tmp_path).fingerprint
    status = (tmp_path / "a.jpg").stat()
    os.utime(tmp_path / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    touched = ExifFolder.open(tmp_path).fingerprint
    (tmp_path / "a.jpg").write_bytes(b"shorter")
    os.utime(tmp_path / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len({before, touched, ExifFolder.open(tmp_path).fingerprint}) == 3
