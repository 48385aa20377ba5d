from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geomind.data import journal as journal_module
from geomind.data import prepare as prepare_module
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.prepare import Seen, prepare
from geomind.data.sources import Format, ReadOptions
from geomind.errors import ManifestError, OutputError, PhotoError
from geomind.geography.regions import Region, RegionTable, default_regions
from geomind.photos import open_photo
from geomind.progress import Advance

PARIS, WINDHOEK, SUVA = (48.8534, 2.3488), (-22.5609, 17.0658), (-18.1416, 178.4419)
"""In France, in Namibia (NA), and in Fiji beside the date line."""


def save_photo(path: Path, place: tuple[float, float] | None = None) -> Path:
    exif = Image.Exif()
    if place is not None:
        latitude, longitude = place
        north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
        exif[0x8825] = {1: north, 2: (abs(latitude), 0.0, 0.0), 3: east, 4: (abs(longitude), 0.0, 0.0)}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "green").save(path, exif=exif.tobytes())
    return path


def write_table(path: Path, rows: Sequence[tuple[object, ...]], header: str = "image_path,lat,lon") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def rejected(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Watched:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0.0

    @contextlib.contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        self.total = total

        def advance(steps: float = 1, note: str = "") -> None:
            self.done += steps

        yield advance


def test_a_folder_of_photos_becomes_a_manifest(tmp_path: Path) -> None:
    for name, place in {"a/paris.jpg": PARIS, "b.jpg": WINDHOEK, "c.png": SUVA}.items():
        save_photo(tmp_path / "photos" / name, place)
    save_photo(tmp_path / "photos" / "d.jpg")
    watched = Watched()
    output = tmp_path / "manifest.csv"
    summary = prepare([tmp_path / "photos"], output, regions=default_regions(), progress=watched)
    assert (summary.found, summary.used, summary.rejected) == (4, 3, 1)
    assert (watched.total, watched.done) == (4, 4)
    manifest = read_manifest(output)
    assert manifest["image_path"].tolist() == ["photos/a/paris.jpg", "photos/b.jpg", "photos/c.png"]
    np.testing.assert_allclose(manifest[["latitude", "longitude"]], [PARIS, WINDHOEK, SUVA], atol=1e-6)
    assert manifest["country"].tolist() == ["FR", "NA", "FJ"]
    assert manifest["city"].tolist() == ["Paris", "Windhoek", "Suva"]
    assert manifest["region_id"].tolist() == default_regions().region_ids(["FR", "NA", "FJ"]).tolist()
    assert manifest[["group", "split", "source"]].to_numpy().tolist() == [["", "", "exif"]] * 3
    assert rejected(summary.rejected_path) == [
        {"image_path": "photos/d.jpg", "source": "exif", "line": "", "reason": "no EXIF GPS"}
    ]


def test_the_folder_can_be_moved_with_its_manifest(tmp_path: Path) -> None:
    save_photo(tmp_path / "trip" / "photos" / "a.jpg", PARIS)
    outside = save_photo(tmp_path / "outside.jpg", PARIS)
    table = write_table(tmp_path / "more.csv", [("outside.jpg", *PARIS)])
    prepare([tmp_path / "trip", table], tmp_path / "trip" / "manifest.csv", regions=default_regions())
    shutil.move(tmp_path / "trip", tmp_path / "moved")
    manifest = tmp_path / "moved" / "manifest.csv"
    photos = [photo_path(manifest, path) for path in read_manifest(manifest)["image_path"]]
    assert photos == [tmp_path / "moved" / "photos" / "a.jpg", outside]
    assert all(photo.is_file() for photo in photos)


def test_relative_sources_and_outputs_mean_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    prepare([Path("../photos")], Path("../manifest.csv"), regions=default_regions())
    assert read_manifest(tmp_path / "manifest.csv")["image_path"].tolist() == ["photos/a.jpg"]


def test_every_row_is_used_or_rejected_with_its_reason(tmp_path: Path) -> None:
    good = save_photo(tmp_path / "good.jpg")
    save_photo(tmp_path / "other.jpg")
    (tmp_path / "link.jpg").symlink_to(good)
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "text.jpg").write_text("no photo", encoding="utf-8")
    rows: list[tuple[object, ...]] = [
        ("good.jpg", 97.3, 0),
        ("good.jpg", *PARIS),
        ("./sub/../good.jpg", *PARIS),
        ("link.jpg", *PARIS),
        ("missing.jpg", *PARIS),
        ("cut.jpg", *PARIS),
        ("text.jpg", *PARIS),
        ("other.jpg", 0, 0),
        ("other.jpg", "x", 0),
        ("other.jpg", 1, 2, 3),
        ("other.jpg", "nan", 2),
        ("", *PARIS),
        ("nul\0.jpg", *PARIS),
    ]
    summary = prepare([write_table(tmp_path / "t.csv", rows)], tmp_path / "m.csv", regions=default_regions())
    assert read_manifest(tmp_path / "m.csv")["image_path"].tolist() == ["good.jpg"]
    reasons = {int(row["line"]): row["reason"] for row in rejected(summary.rejected_path)}
    assert reasons == {
        2: "latitude is out of range: 97.3",
        4: "the same file as an earlier row",
        5: "the same file as an earlier row",
        6: "no such file or directory",
        7: "cannot decode: image file is truncated",
        8: "not an image, or broken at its beginning",
        9: "latitude and longitude are both 0",
        10: "latitude is not a number: 'x'",
        11: "wrong number of cells: 4, the header has 3",
        12: "latitude is not a number: 'nan'",
        13: "no path",
        14: "cannot decode: embedded null byte",
    }
    assert summary.found == summary.used + summary.rejected == len(rows)
    assert dict(summary.reasons) == Counter(reason.partition(": ")[0] for reason in reasons.values())
    assert list(summary.reasons.values()) == sorted(summary.reasons.values(), reverse=True)


def test_what_prepare_lets_through_can_be_decoded(tmp_path: Path) -> None:
    """A photo cut short passed where only its header was read, and stopped the training later."""
    photo = save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    whole = photo.read_bytes()
    for length in range(len(whole) - 200, len(whole), 9):
        (tmp_path / "photos" / f"{length}.jpg").write_bytes(whole[:length])
    prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions())
    paths = read_manifest(tmp_path / "m.csv")["image_path"]
    assert "photos/a.jpg" in set(paths)
    for path in paths:
        open_photo(photo_path(tmp_path / "m.csv", path))


@pytest.mark.parametrize(
    "name", ['a,"b"\n.jpg', "cr\r.jpg", "=1+1.jpg", "@é 日本.jpg", " space .jpg", "NA", "'quote.jpg"]
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_strange_names_survive(tmp_path: Path, name: str, ending: str) -> None:
    photo = save_photo(tmp_path / "x.jpg", PARIS).rename(tmp_path / name)
    table = write_table(tmp_path / "t.csv", [(name, *PARIS)])
    output = tmp_path / f"m.{ending}"
    prepare([table], output, regions=default_regions())
    (stored,) = read_manifest(output)["image_path"]
    assert photo_path(output, stored) == photo
    assert not stored.startswith(("=", "+", "-", "@"))


def test_sources_are_joined_with_all_their_columns(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    long = "filename,latitude,longitude,pano_id,heading"
    panos = write_table(tmp_path / "panos.csv", [("b_0.jpg", *SUVA, "p1", "000")], long)
    notes = write_table(tmp_path / "notes.csv", [("c.jpg", *WINDHOEK, "reason", "7")], "path,lat,lng,reason,line")
    for name in ("b_0.jpg", "c.jpg"):
        save_photo(tmp_path / name)
    prepare([tmp_path / "photos", panos, notes], tmp_path / "m.csv", regions=default_regions())
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest["source"].tolist() == ["exif", "panos.csv", "notes.csv"]
    assert manifest["group"].tolist() == ["", "p1", ""]
    extra = ["pano_id", "heading", "reason", "line"]
    assert manifest[extra].to_numpy().tolist() == [[""] * 4, ["p1", "000", "", ""], ["", "", "reason", "7"]]


def test_a_manifest_can_be_prepared_again_and_keeps_its_split(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        save_photo(tmp_path / name)
    prepare(
        [write_table(tmp_path / "t.csv", [("a.jpg", *PARIS, "test"), ("b.jpg", *SUVA, "")], "file,lat,lon,split")],
        tmp_path / "m.csv",
        regions=default_regions(),
    )
    prepare([tmp_path / "m.csv"], tmp_path / "again.csv", regions=default_regions())
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "m.csv").read_bytes()
    assert read_manifest(tmp_path / "again.csv")["split"].tolist() == ["test", ""]


def test_without_checks_the_table_is_taken_at_its_word(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [("far/a.jpg", *PARIS), ("far/a.jpg", *SUVA), ("far/b.jpg", 91, 0)])
    summary = prepare([table], tmp_path / "m.csv", regions=default_regions(), check_files=False)
    assert (summary.used, dict(summary.reasons)) == (
        1,
        {"the same file as an earlier row": 1, "latitude is out of range": 1},
    )


def test_sources_of_every_kind_become_one_manifest(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    (tmp_path / "b.tsv").write_text("file\tlat\tlon\nb.jpg\t1\t36\n", encoding="utf-8")
    pd.DataFrame({"path": ["c.jpg"], "lat": [2.0], "lng": [36.0]}).to_parquet(tmp_path / "c.parquet")
    header = "id,latitude,longitude,thumb_original_url,sequence,unique_country"
    write_table(tmp_path / "train.csv", [(7, 3.0, 36.0, "", "s", "KE")], header)
    write_table(tmp_path / "im2gps_places365.csv", [("d.jpg", "x@N00", 4.0, 36.0)], "IMG_ID,AUTHOR,LAT,LON")
    (tmp_path / "mapillary.json").write_text(
        '[{"filename": "e.jpg", "MAPLatitude": 2.5, "MAPLongitude": 36, "MAPSequenceUUID": "t"}]', encoding="utf-8"
    )
    cells = [""] * 25
    cells[2], cells[12:15], cells[24] = "0" * 32, ["36", "0.5", "16"], "0"
    video = [*cells[:24], "1"]
    (tmp_path / "yfcc100m_dataset").write_text("\t".join(cells) + "\n" + "\t".join(video) + "\n", encoding="utf-8")
    sources = (
        "photos",
        "b.tsv",
        "c.parquet",
        "train.csv",
        "im2gps_places365.csv",
        "mapillary.json",
        "yfcc100m_dataset",
    )
    summary = prepare(
        [tmp_path / name for name in sources], tmp_path / "m.csv", regions=default_regions(), check_files=False
    )
    assert summary.kinds == (
        Format.PHOTOS, Format.TABLE, Format.TABLE, Format.OSV5M, Format.IM2GPS, Format.MAPILLARY, Format.YFCC100M
    )  # fmt: skip
    assert (summary.found, summary.used, dict(summary.left_out)) == (7, 7, {"video": 1})
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest["source"].tolist() == ["exif", "b.tsv", "c.parquet", "osv5m", "im2gps", "mapillary", "yfcc100m"]
    assert manifest["split"].tolist() == ["", "", "", "train", "test", "", ""]
    assert manifest["group"].tolist()[3:6] == ["s", "", "t"]
    assert manifest["country"].tolist()[1:] == ["KE"] * 6


def test_other_names_of_columns_are_for_tables(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [("a.jpg", *PARIS)], "image_path,Y,X")
    options = ReadOptions({"latitude": "Y", "longitude": "X"})
    prepare([table], tmp_path / "m.csv", regions=default_regions(), options=options, check_files=False)
    assert read_manifest(tmp_path / "m.csv")["city"].tolist() == ["Paris"]
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    with pytest.raises(
        ManifestError, match=r"--columns does nothing here: it is for sources of the format table, .* photos"
    ):
        prepare([tmp_path / "photos"], tmp_path / "n.csv", regions=default_regions(), options=options)
    assert not (tmp_path / "n.csv.unfinished").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ReadOptions(licenses=frozenset({"by"})), "--licenses does nothing here: it is for .* yfcc100m"),
        (ReadOptions(min_accuracy=12), "--min-accuracy does nothing here"),
        (ReadOptions(images_dir=Path("x")), "--images-dir does nothing here"),
    ],
)
def test_an_option_that_no_source_takes_is_refused(tmp_path: Path, options: ReadOptions, said: str) -> None:
    """`prepare flickr.csv --licenses by` kept photos of every licence without a word; so it was with other options."""
    table = write_table(tmp_path / "flickr.csv", [("a.jpg", *PARIS, "by-nc")], "image_path,lat,lon,license")
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    source = tmp_path / "photos" if options.images_dir else table
    arguments = {"regions": default_regions(), "options": options, "check_files": False}
    with pytest.raises(ManifestError, match=said):
        prepare([source], tmp_path / "m.csv", **arguments)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flickr.csv", "photos"]


def test_street_level_sequences_have_their_own_folders(tmp_path: Path) -> None:
    """`--images-dir` was ignored for them, and is still no fault where another source takes it."""
    half = tmp_path / "msls" / "query"
    half.mkdir(parents=True)
    write_table(half / "raw.csv", [("k", *PARIS)], "key,lat,lon")
    write_table(half / "seq_info.csv", [("k", "s")], "key,sequence_key")
    table = write_table(tmp_path / "t.csv", [("a.jpg", *PARIS)])
    arguments = {"regions": default_regions(), "options": ReadOptions(images_dir=tmp_path / "x"), "check_files": False}
    with pytest.raises(ManifestError, match="--images-dir does nothing here"):
        prepare([tmp_path / "msls"], tmp_path / "m.csv", **arguments)  # type: ignore[arg-type]
    prepare([tmp_path / "msls", table], tmp_path / "m.csv", **arguments)  # type: ignore[arg-type]
    assert read_manifest(tmp_path / "m.csv")["image_path"].tolist() == ["msls/query/images/k.jpg", "x/a.jpg"]


def test_a_folder_of_images_is_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--images-dir photos` went into the fingerprint as written: another folder's `photos` passed for the same."""
    whole = ReadOptions(images_dir=tmp_path / "one" / "photos").fingerprint
    for name, is_same in (("one", True), ("two", False)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert (ReadOptions(images_dir=Path("photos")).fingerprint == whole) is is_same


def test_a_source_without_a_row_says_so(tmp_path: Path) -> None:
    """A table with a header alone gave "None of the 0 photos can be used: ."."""
    table = write_table(tmp_path / "t.csv", [])
    with pytest.raises(ManifestError, match=r"There is no row in .*t\.csv\. No manifest was written"):
        prepare([table], tmp_path / "m.csv", regions=default_regions())
    assert not (tmp_path / "m.csv").exists()


def test_a_source_of_which_no_row_is_wanted_says_why(tmp_path: Path) -> None:
    """A dump of which a filter left nothing gave the same empty reason."""
    cells = [""] * 25
    cells[2], cells[12:15], cells[18], cells[24] = "0" * 32, ["2.3488", "48.8534", "16"], "by-nc", "0"
    (tmp_path / "yfcc100m_dataset").write_text("\t".join(cells) + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"No row of .*yfcc100m_dataset is wanted: another licence \(1\)"):
        prepare(
            [tmp_path / "yfcc100m_dataset"],
            tmp_path / "m.csv",
            regions=default_regions(),
            options=ReadOptions(licenses=frozenset({"by"})),
            check_files=False,
        )


def test_a_sidecar_gives_a_photo_its_place(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "a.jpg.xmp").write_text(
        '<x xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,51.204N" exif:GPSLongitude="2,20.928E"/>',
        encoding="utf-8",
    )
    prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions())
    np.testing.assert_allclose(read_manifest(tmp_path / "m.csv")[["latitude", "longitude"]], [PARIS], atol=1e-9)


class Stopping(Watched):
    """Is stopped by Ctrl-C when it shows so many chunks, the first one being what an earlier run did."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    @contextlib.contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        with super().track(what, total) as advance:

            def stop(steps: float = 1, note: str = "") -> None:
                advance(steps)
                self.after -= 1
                if self.after < 0:
                    raise KeyboardInterrupt

            yield stop


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after every chunk, and make a chunk of few rows."""
    monkeypatch.setattr(journal_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(prepare_module, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(prepare_module, "_CHECKED_CHUNK_ROWS", 2)


def two_tables(folder: Path, rows: int) -> list[Path]:
    """Write tables with all that makes a row another than the one before it."""
    tables = []
    for name, first in (("a", 0), ("b", rows // 2)):  # half of the second is in the first
        body: list[tuple[object, ...]] = []
        for number in range(first, first + rows):
            note = {0: "a\rb", 1: 'c,"d"', 2: "e\nf"}.get(number % 11, "NA")
            latitude = {5: "x", 8: 97, 9: 0}.get(number % 23, -22.5 + number / 1e4)
            body.append((f"{number}.jpg", latitude, 0 if latitude == 0 else 17 + number / 1e4, f"p{number // 5}", note))
        tables.append(write_table(folder / f"{name}.csv", body, "file,lat,lon,pano_id,note"))
    return tables


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("stops", [(1,), (3, 1, 2), (1,) * 10, (12,), (14, 2)])
def test_a_stopped_prepare_goes_on_to_the_same_bytes(tmp_path: Path, ending: str, stops: tuple[int, ...]) -> None:
    tables = two_tables(tmp_path, 60)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = prepare(tables, whole / f"m.{ending}", regions=default_regions(), check_files=False)
    assert (expected.found, len(expected.reasons)) == (120, 4)
    for after in stops:
        with pytest.raises(KeyboardInterrupt):
            prepare(
                tables, parts / f"m.{ending}", regions=default_regions(), check_files=False, resume=True,
                progress=Stopping(after),
            )  # fmt: skip
        assert [path.name for path in parts.iterdir()] == [f"m.{ending}.unfinished"]
    watched = Watched()
    found = prepare(
        tables, parts / f"m.{ending}", regions=default_regions(), check_files=False, resume=True, progress=watched
    )
    assert contents(parts) == contents(whole)
    assert watched.done == 120
    assert dataclasses.replace(found, rejected_path=expected.rejected_path) == expected
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())


KILLED = """
import sys, time
from pathlib import Path
from geomind.data import journal, prepare
from geomind.geography.regions import default_regions

class Slow:
    def track(self, what, total): return self
    def __enter__(self): return lambda steps=1, note="": time.sleep(0.01)
    def __exit__(self, *_): pass

journal.SAVE_SECONDS, prepare._CHUNK_ROWS = 0.0, 7
*tables, output = map(Path, sys.argv[1:])
prepare.prepare(tables, output, regions=default_regions(), check_files=False, resume=True, progress=Slow())
"""


@pytest.mark.usefixtures("small_steps")
def test_a_killed_prepare_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    tables = two_tables(tmp_path, 400)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    prepare(tables, whole / "m.csv", regions=default_regions(), check_files=False)
    command = [sys.executable, "-c", KILLED, *map(str, tables), str(parts / "m.csv")]
    state = parts / "m.csv.unfinished" / "state.json"
    for rows in (50, 250, 600):
        process = subprocess.Popen(command)
        while not state.exists() or sum(json.loads(state.read_text())["done"]["read"]) < rows:
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()  # SIGKILL: it cleans up nothing
        process.wait()
        assert [path.name for path in parts.iterdir()] == ["m.csv.unfinished"]
    subprocess.run(command, check=True)
    assert contents(parts) == contents(whole)
    assert sorted(path.name for path in parts.iterdir()) == ["m.csv", "m.rejected.csv"]


@pytest.mark.usefixtures("small_steps")
def test_photos_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdef":
        save_photo(tmp_path / "photos" / f"{name}.jpg", PARIS)
    opened: list[str] = []
    monkeypatch.setattr(prepare_module, "_unreadable", lambda path: opened.append(Path(path).stem) or "")
    with pytest.raises(KeyboardInterrupt):
        prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions(), progress=Stopping(2))
    prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions(), resume=True)
    assert sorted(opened) == list("abcdef")
    assert len(read_manifest(tmp_path / "m.csv")) == 6


@pytest.mark.usefixtures("small_steps")
def test_unfinished_work_is_not_thrown_away_by_accident(tmp_path: Path) -> None:
    (table,) = two_tables(tmp_path, 40)[:1]
    arguments = {"regions": default_regions(), "check_files": False}
    with pytest.raises(KeyboardInterrupt):
        prepare([table], tmp_path / "m.csv", progress=Stopping(2), **arguments)
    with pytest.raises(OutputError, match=r"m\.csv\.unfinished holds an unfinished manifest.*--resume.*--overwrite"):
        prepare([table], tmp_path / "m.csv", **arguments)
    watched = Watched()
    prepare([table], tmp_path / "m.csv", overwrite=True, progress=watched, **arguments)
    assert watched.done == 40
    with pytest.raises(OutputError, match="exists already"):
        prepare([table], tmp_path / "m.csv", resume=True, **arguments)
    assert not (tmp_path / "m.csv.unfinished").exists()


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"sources": 2}, "another list of sources"),
        ({"touch": True}, r"another source, or one that has changed since \(.*a\.csv\)"),
        ({"regions": RegionTable("two", (Region(0, "a", "A", ("NA",)), Region(1, "b", "B", ("*",))))}, "region table"),
        ({"check_files": True}, "choice of --check-files"),
        ({"options": ReadOptions({"group": "note"})}, "another --columns, --images-dir"),
    ],
)
def test_unfinished_work_of_another_run_is_not_gone_on_with(
    tmp_path: Path, changed: dict[str, object], what: str
) -> None:
    tables = two_tables(tmp_path, 40)
    arguments: dict[str, object] = {"regions": default_regions(), "check_files": False}
    with pytest.raises(KeyboardInterrupt):
        prepare(tables[:1], tmp_path / "m.csv", progress=Stopping(2), **arguments)  # type: ignore[arg-type]
    sources = tables[: changed.pop("sources", 1)]  # type: ignore[misc]
    if changed.pop("touch", False):
        tables[0].write_text(tables[0].read_text(encoding="utf-8") + "z.jpg,1,2,,\n", encoding="utf-8")
    with pytest.raises(OutputError, match=f"was begun with .*{what}.*--overwrite"):
        prepare(sources, tmp_path / "m.csv", resume=True, **(arguments | changed))  # type: ignore[arg-type]
    assert (tmp_path / "m.csv.unfinished" / "state.json").exists()


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_stop_between_the_last_row_and_the_last_name(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = two_tables(tmp_path, 40)
    arguments = {"regions": default_regions(), "check_files": False}
    expected = prepare(tables, tmp_path / "whole" / f"m.{ending}", **arguments)
    output = tmp_path / "parts" / f"m.{ending}"

    def stop(rows: Path, path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, "convert_manifest", stop)
        prepare(tables, output, **arguments)
    assert not output.exists()
    found = prepare(tables, output, resume=True, **arguments)  # m.rejected.csv is there already, and is ours
    assert (found.found, found.used, found.reasons) == (expected.found, expected.used, expected.reasons)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_country_of_no_region_is_a_reason(tmp_path: Path) -> None:
    table = RegionTable("two", (Region(0, "a", "A", ("FR",)), Region(1, "b", "B", ("US",))))
    rows = [("a.jpg", *PARIS), ("b.jpg", *WINDHOEK), ("c.jpg", -40.0, -120.0)]
    summary = prepare([write_table(tmp_path / "t.csv", rows)], tmp_path / "m.csv", regions=table, check_files=False)
    assert read_manifest(tmp_path / "m.csv")["region_id"].tolist() == [0]
    assert [row["reason"] for row in rejected(summary.rejected_path)] == [
        "no region has its country: NA",
        "no region has its country: the high seas",
    ]


def test_nothing_usable_leaves_the_reasons_and_no_manifest(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg")
    with pytest.raises(ManifestError, match=r"None of the 1 photos.*no EXIF GPS \(1\).*m\.rejected\.csv"):
        prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.rejected.csv", "photos"]
    assert rejected(tmp_path / "m.rejected.csv")[0]["reason"] == "no EXIF GPS"


def test_an_existing_output_stays_without_overwrite(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg", PARIS)
    for name in ("m.csv", "m.rejected.csv"):
        (tmp_path / name).write_text("precious", encoding="utf-8")
        with pytest.raises(OutputError, match="exists already"):
            prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions())
        assert (tmp_path / name).read_text(encoding="utf-8") == "precious"
    prepare([tmp_path / "photos"], tmp_path / "m.csv", regions=default_regions(), overwrite=True)
    assert len(read_manifest(tmp_path / "m.csv")) == 1
    assert rejected(tmp_path / "m.rejected.csv") == []


def test_a_table_that_breaks_halfway_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"file,lat,lon\n" + b"a.jpg,1,2\n" * 300 + b"caf\xe9.jpg,1,2\n")
    with pytest.raises(ManifestError, match=r"t\.csv, line 302: not UTF-8"):
        prepare([tmp_path / "t.csv"], tmp_path / "m.csv", regions=default_regions(), check_files=False)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_sources_that_are_none_say_so_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos.zip").touch()
    for name, error, reason in (
        ("gone", ManifestError, "There is no .*gone"),
        ("photos.zip", ManifestError, r"photos\.zip is neither a folder of photos nor a table .*--format"),
        ("empty", PhotoError, "No photo in"),
    ):
        with pytest.raises(error, match=reason):
            prepare([tmp_path / name], tmp_path / "m.csv", regions=default_regions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos.zip"]


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12))
def test_seen_remembers_every_key(chunks: list[list[int]]) -> None:
    seen, known = Seen(), set[int]()
    for chunk in chunks:
        expected = []
        for key in chunk:
            expected.append(key in known)
            known.add(key)
        assert seen.before(np.array(chunk, dtype=np.uint64)).tolist() == expected


def test_summary_is_a_value(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg", PARIS)
    summary = prepare([tmp_path], tmp_path / "m.csv", regions=default_regions())
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.found = 7  # type: ignore[misc]


def test_every_real_photo_comes_through(shared: Path, tmp_path: Path) -> None:
    summary = prepare([shared / "photos"], tmp_path / "m.csv", regions=default_regions())
    assert (summary.found, summary.used) == (72, 72)
    truth = pd.read_csv(shared / "photos" / "manifest.csv", keep_default_na=False).set_index("image_path")
    manifest = read_manifest(tmp_path / "m.csv")
    photos = (shared / "photos").absolute()
    names = [Path(path).relative_to(photos).as_posix() for path in manifest["image_path"]]
    assert manifest["country"].tolist() == truth.loc[names, "country"].tolist()


def test_every_odd_file_is_used_or_has_a_reason(shared: Path, tmp_path: Path) -> None:
    summary = prepare([shared / "odd"], tmp_path / "m.csv", regions=default_regions())
    assert summary.found == summary.used + summary.rejected == 253
    assert len(rejected(summary.rejected_path)) == summary.rejected
    assert all(row["reason"] for row in rejected(summary.rejected_path))
