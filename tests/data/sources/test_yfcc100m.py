from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.data.sources import Records, yfcc100m
from geomind.data.sources.yfcc100m import Yfcc100m
from geomind.errors import ManifestError

FIRST_ROW = (
    "0", "6985418911", "4e2f7a26a1dfbf165a7e30bdabf7e72a", "39019111@N00", "guckxzs", "2012-02-16 09:56:37.0",
    "1331840483", "Canon+PowerShot+ELPH+310+HS", "IMG_0520", "", "canon,canon+powershot+hs+310", "", "-81.804885",
    "24.550558", "12", "http://www.flickr.com/photos/39019111@N00/6985418911/",
    "http://farm8.staticflickr.com/7205/6985418911_df7747990d.jpg", "Attribution-NonCommercial-NoDerivs License",
    "http://creativecommons.org/licenses/by-nc-nd/2.0/", "7205", "8", "df7747990d", "692d7e0a7f", "jpg", "0",
)  # fmt: skip
"""The first row of the published dump."""

NAMES = yfcc100m._COLUMNS


def row(**cells: str) -> str:
    """Write the first row with other cells, URL-encoded as the dump is."""
    return "\t".join((dict(zip(NAMES, FIRST_ROW, strict=True)) | cells).values())


def dump(folder: Path, *rows: str, name: str = "yfcc100m_dataset") -> Path:
    path = folder / name
    path.write_text("".join(f"{each}\n" for each in rows), encoding="utf-8")
    return path


def read(source: Yfcc100m, rows: int = 10_000, skip: int = 0) -> list[Records]:
    return list(source.chunks(rows, skip))


def test_the_first_row_of_the_dump(tmp_path: Path) -> None:
    source = Yfcc100m(dump(tmp_path, row()))
    (records,) = read(source)
    assert records.faults.tolist() == [""]
    assert records.lines.tolist() == [1]
    (photo,) = records.rows.to_dict("records")
    assert photo == {
        "image_path": str(tmp_path / "images/4e2/f7a/4e2f7a26a1dfbf165a7e30bdabf7e72a.jpg"),
        "latitude": 24.550558,
        "longitude": -81.804885,
        "group": "39019111@N00 2012-02-16 2455 -8181",
        "split": "",
        "source": "yfcc100m",
        "url": "http://farm8.staticflickr.com/7205/6985418911_df7747990d.jpg",
        "license": "http://creativecommons.org/licenses/by-nc-nd/2.0/",
        "owner": "guckxzs",
        "page_url": "http://www.flickr.com/photos/39019111@N00/6985418911/",
        "taken": "2012-02-16 09:56:37.0",
        "accuracy": "12",
    }
    assert (source.total, dict(source.left_out)) == (1, {})
    assert source.extra_columns == tuple(photo)[6:]


def test_the_older_dump_without_line_and_hash_gives_the_same(tmp_path: Path) -> None:
    """The hash is computed from the address there; both forms must lead to the same file."""
    new = read(Yfcc100m(dump(tmp_path, row(), name="new")))[0].rows
    cells = row().split("\t")
    old = read(Yfcc100m(dump(tmp_path, "\t".join([cells[1], *cells[3:]]), name="yfcc100m_dataset-0")))[0].rows
    assert new.equals(old)


@pytest.mark.parametrize("ending", [".bz2", ".gz"])
def test_compressed_dumps_are_read(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compress = {".bz2": bz2.compress, ".gz": gzip.compress}[ending]
    plain = dump(tmp_path, *(row(latitude=f"{n}.5") for n in range(60)))
    packed = tmp_path / f"dump{ending}"
    half = plain.read_bytes().index(b"30.5")
    packed.write_bytes(
        compress(plain.read_bytes()[:half]) + compress(plain.read_bytes()[half:])
    )  # as bzip2 joins files
    monkeypatch.setattr(yfcc100m, "_BLOCK_BYTES", 2_000)
    rows = [records.rows for records in read(Yfcc100m(packed))]
    assert [latitude for part in rows for latitude in part["latitude"]] == [n + 0.5 for n in range(60)]


def test_rows_that_are_not_wanted_are_counted_and_left_out(tmp_path: Path) -> None:
    path = dump(
        tmp_path,
        row(marker="1"),
        row(latitude="", longitude="", accuracy=""),
        row(longitude=""),
        row(accuracy="10"),
        row(accuracy=""),
        row(accuracy="11"),
        "",
        row(license="http://creativecommons.org/licenses/by/2.0/"),
    )
    source = Yfcc100m(path)
    assert [records.lines.tolist() for records in read(source)] == [[6, 8]]
    assert source.left_out == {"video": 1, "no position": 2, "accuracy below 11": 2, "blank line": 1}
    assert source.total == 2
    source = Yfcc100m(path, min_accuracy=1, licenses=frozenset({"by", "cc0"}))
    assert [records.lines.tolist() for records in read(source)] == [[8]]
    assert source.left_out == {
        "video": 1, "no position": 2, "accuracy below 1": 1, "blank line": 1, "another licence": 2,
    }  # fmt: skip
    read(source)
    assert source.left_out.total() == 7  # of this reading, not of both


def test_broken_rows_stay_with_their_reason_and_line(tmp_path: Path) -> None:
    path = dump(
        tmp_path,
        row(),
        row() + "\tmore",
        row(latitude="north"),
        "only\tthree\tcells",
        row(longitude="1,5"),
        row(marker="1"),
        row(),
    )
    (records,) = read(Yfcc100m(path))
    assert records.lines.tolist() == [1, 2, 3, 4, 5, 7]
    assert records.faults.tolist() == [
        "",
        "wrong number of cells: 26, the dump has 25",
        "latitude is not a number: 'north'",
        "wrong number of cells: 3, the dump has 25",
        "longitude is not a number: '1,5'",
        "",
    ]
    assert np.isnan(records.rows["latitude"][[1, 2, 3]]).all()
    assert records.rows["image_path"].tolist()[1] == ""


def test_text_is_decoded_and_bad_bytes_stop_nothing(tmp_path: Path) -> None:
    path = dump(tmp_path, row(owner="J%C3%BCrgen+%22J%22%0AM%C3%BCller"), row(owner="100%25"), row(owner='"quoted'))
    with path.open("ab") as file:
        file.write(row(owner="XX", page_url="YY").encode().replace(b"XX", b"\xff\xfe").replace(b"YY", b"\xe4") + b"\n")
    (records,) = read(Yfcc100m(path))
    assert records.rows["owner"].tolist() == ['Jürgen "J" Müller', "100%", '"quoted', "��"]
    assert records.rows["page_url"].tolist()[3] == "�"
    assert records.faults.tolist() == [""] * 4


def test_a_photographer_at_one_place_and_day_is_a_group(tmp_path: Path) -> None:
    other = row(taken="2012-02-16 23:00:00.0", latitude="24.5599", longitude="-81.8001")
    elsewhere, later, somebody = row(latitude="24.57"), row(taken="2012-02-17 00:00:00.0"), row(owner_id="1@N00")
    groups = read(Yfcc100m(dump(tmp_path, row(), other, elsewhere, later, somebody)))[0].rows["group"].tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


def test_photos_are_below_the_folder_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (records,) = read(Yfcc100m(dump(tmp_path, row()), images_dir=Path("there")))
    assert records.rows["image_path"][0] == str(tmp_path / "there/4e2/f7a/4e2f7a26a1dfbf165a7e30bdabf7e72a.jpg")


def test_chunks_are_no_larger_than_asked_for_and_go_on_after_a_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dump(tmp_path, *(row(latitude=f"{n / 10}") for n in range(100)))
    monkeypatch.setattr(yfcc100m, "_BLOCK_BYTES", 10_000)
    source = Yfcc100m(path)
    chunks = read(source, 7)
    assert max(len(records.rows) for records in chunks) == 7
    assert np.concatenate([records.lines for records in chunks]).tolist() == list(range(1, 101))
    for skip in (1, 7, 33, 99, 100, 101):
        left = [line for records in read(source, 7, skip) for line in records.lines.tolist()]
        assert left == list(range(skip + 1, 101))
    assert 90 < source.total < 110


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.sampled_from(
            [row(), row(marker="1"), row(latitude=""), row(accuracy="3"), row(latitude="x"), "", "a\tb", row(owner="é")]
        ),
        max_size=40,
    ),
    block=st.integers(700, 5_000),
    last_line_ends=st.booleans(),
)
def test_every_line_is_a_record_or_left_out_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], block: int, last_line_ends: bool
) -> None:
    path = dump(tmp_path_factory.mktemp("dump"), row(), *rows)
    if not last_line_ends:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yfcc100m, "_BLOCK_BYTES", block)
        source = Yfcc100m(path)
        chunks = read(source, 5)
    lines = [line for records in chunks for line in records.lines.tolist()]
    expected = [
        n
        for n, each in enumerate([row(), *rows], start=1)
        if each in (row(), row(latitude="x"), "a\tb", row(owner="é"))
    ]
    assert lines == expected
    blank_at_the_end = not last_line_ends and rows[-1:] == [""]
    assert len(lines) + source.left_out.total() == len(rows) + 1 - blank_at_the_end


def test_a_dump_of_videos_gives_nothing(tmp_path: Path) -> None:
    source = Yfcc100m(dump(tmp_path, row(marker="1")))
    assert read(source) == []
    assert source.total == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,b,c\n1,2,3\n", "its first line has 1 tab-separated cells, the dump's have 25, or 23"),
        (b"x" * 3_000, "one of its lines has 2,000 bytes"),
    ],
)
def test_what_is_no_dump_is_said_to_be_none(
    tmp_path: Path, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yfcc100m, "_BLOCK_BYTES", 2_000)
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        Yfcc100m(path)


def test_a_missing_dump(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Cannot read .*no such file"):
        Yfcc100m(tmp_path / "dump")


@pytest.mark.parametrize("ending", [".bz2", ".gz"])
@pytest.mark.parametrize("damage", ["cut", "no such format"])
def test_a_damaged_dump_is_an_error_and_not_a_short_reading(
    tmp_path: Path, ending: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [row(title=rng.bytes(40).hex(), description=rng.bytes(400).hex()) for _ in range(800)]
    content = {".bz2": bz2.compress, ".gz": gzip.compress}[ending]("\n".join(rows).encode() + b"\n")
    path = tmp_path / f"dump{ending}"
    path.write_bytes(content[: len(content) - 1_000] if damage == "cut" else b"plain text\n")
    monkeypatch.setattr(yfcc100m, "_BLOCK_BYTES", 100_000)
    with pytest.raises(ManifestError, match=r"dump\.(bz2|gz)"):
        read(Yfcc100m(path))


def test_the_fingerprint_tells_other_wishes_apart(tmp_path: Path) -> None:
    path = dump(tmp_path, row())
    wishes = ({}, {"min_accuracy": 3}, {"licenses": frozenset({"by"})}, {"images_dir": tmp_path / "x"})
    assert len({Yfcc100m(path, **wish).fingerprint for wish in wishes}) == 4  # type: ignore[arg-type]
    assert Yfcc100m(path).fingerprint == Yfcc100m(path).fingerprint


def test_no_spreadsheet_runs_an_owners_name(tmp_path: Path) -> None:
    """Anybody's nickname went into the manifest as it was, formulas too."""
    (records,) = read(Yfcc100m(dump(tmp_path, row(owner="%3Dcmd%7Cx"), row(owner="%27s+Gravenhage"))))
    assert records.rows["owner"].tolist() == ["'=cmd|x", "'s Gravenhage"]
