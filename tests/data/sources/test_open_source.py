from __future__ import annotations

from pathlib import Path

import pytest

from geomind.data.sources import Format, ReadOptions, file_fingerprint, open_source, recognise
from geomind.data.sources.exif import ExifFolder
from geomind.data.sources.table import Table
from geomind.data.sources.yfcc100m import Yfcc100m
from geomind.errors import ManifestError, PhotoError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t.csv", Format.TABLE),
        ("t.TSV", Format.TABLE),
        ("t.parquet", Format.TABLE),
        ("mapillary_image_description.json", Format.MAPILLARY),
        ("yfcc100m_dataset", Format.YFCC100M),
        ("YFCC100M_dataset-0.bz2", Format.YFCC100M),
    ],
)
def test_a_file_is_told_by_its_name(tmp_path: Path, name: str, kind: Format) -> None:
    (tmp_path / name).write_text("a,b\n", encoding="utf-8")
    assert recognise(tmp_path / name) is kind


def test_any_other_folder_is_one_of_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n", encoding="utf-8")
    assert recognise(tmp_path) is Format.PHOTOS
    with pytest.raises(PhotoError, match="No photo in"):
        open_source(tmp_path)
    (tmp_path / "a.jpg").touch()
    assert isinstance(open_source(tmp_path), ExifFolder)


@pytest.mark.parametrize("name", ["photos.zip", "photos.json", "noending", "dump.bz2"])
def test_what_cannot_be_told_asks_to_be_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ManifestError, match=r"neither a folder .*yfcc100m, osv5m, im2gps, mapillary, .*--format"):
        recognise(tmp_path / name)


@pytest.mark.parametrize("kind", Format)
def test_nothing_there_is_an_error(tmp_path: Path, kind: Format) -> None:
    with pytest.raises(ManifestError, match=r"There is no .*gone"):
        open_source(tmp_path / "gone", kind)


def test_a_person_may_say_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("file\tlat\tlon\na.jpg\t1\t2\n", encoding="utf-8")
    assert isinstance(open_source(tmp_path / "list.txt", Format.TABLE), Table)
    with pytest.raises(ManifestError, match="no YFCC100M dump"):
        open_source(tmp_path / "list.txt", Format.YFCC100M)


def test_options_reach_the_source_that_they_concern(tmp_path: Path) -> None:
    cells = [""] * 25
    cells[2], cells[12:15], cells[16], cells[18], cells[24] = "0" * 32, ["2", "1", "16"], "u", "by", "0"
    (tmp_path / "yfcc100m_dataset").write_text("\t".join(cells) + "\n", encoding="utf-8")
    options = ReadOptions(images_dir=tmp_path / "far", min_accuracy=12, licenses=frozenset({"cc0"}))
    source = open_source(tmp_path / "yfcc100m_dataset", options=options)
    assert isinstance(source, Yfcc100m)
    assert list(source.chunks(10)) == []
    assert {why: count for why, count in source.left_out.items() if count} == {"another licence": 1}
    assert len({ReadOptions().fingerprint, options.fingerprint, ReadOptions({"latitude": "Y"}).fingerprint}) == 3


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one", encoding="utf-8")
    before = file_fingerprint(tmp_path / "a")
    assert file_fingerprint(tmp_path / "a") == before
    (tmp_path / "a").write_text("longer", encoding="utf-8")
    assert file_fingerprint(tmp_path / "a") != before
    with pytest.raises(ManifestError, match="Cannot read"):
        file_fingerprint(tmp_path / "b")
