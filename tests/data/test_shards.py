from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geomind.data.dataset import PhotoDataset
from geomind.data.inspection.file_checks import check_files
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.prepare import prepare
from geomind.data.shards import ShardWriter, shard_of
from geomind.errors import OutputError
from geomind.geography.regions import default_regions
from geomind.photos import Preprocessing, find_photos, open_photo, read_gps, read_photo_bytes


def save_photos(folder: Path, count: int = 5) -> list[Path]:
    """Save photos that differ, with GPS in the north of France."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (48.0 + number / 10, 0.0, 0.0), 3: "E", 4: (2.5, 0.0, 0.0)}
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.x.{'JPG' if number % 2 else 'png'}")
        Image.fromarray(pixels).save(paths[-1], exif=exif)
    return paths


def write(folder: Path, photos: list[Path], *, max_bytes: int = 6000) -> list[Path]:
    with ShardWriter(folder) as writer:
        writer._max_bytes = max_bytes  # a shard of the command line holds at least a megabyte
        return [writer.add(photo, {"latitude": 1.5, "city": "Åå"}) for photo in photos]


def test_photos_keep_their_bytes_and_shards_their_size(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos")
    copies = write(tmp_path / "shards", photos)
    assert [read_photo_bytes(copy) for copy in copies] == [photo.read_bytes() for photo in photos]
    shards = sorted((tmp_path / "shards").iterdir())
    assert [shard.name for shard in shards] == [f"photos-{number:06d}.tar" for number in range(len(shards))]
    assert len(shards) > 1
    assert all(shard.stat().st_size <= 6000 and shard.stat().st_size % 512 == 0 for shard in shards)
    assert find_photos(tmp_path / "shards") == copies
    for photo, copy in zip(photos, copies, strict=True):
        assert read_gps(copy) == pytest.approx(read_gps(photo))
        assert np.array_equal(open_photo(copy), open_photo(photo))


def test_shards_are_as_webdataset_wants_them(tmp_path: Path) -> None:
    """Files of one sample stand side by side, with one name up to its first dot; ends are in lower case."""
    photos = save_photos(tmp_path / "photos")
    write(tmp_path / "shards", photos)
    samples = []
    for shard in sorted((tmp_path / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            infos = tar.getmembers()
            assert {(each.mtime, each.uid, each.gid, each.uname, each.mode) for each in infos} == {(0, 0, 0, "", 0o644)}
            for photo, row in zip(infos[::2], infos[1::2], strict=True):
                key, _, suffix = photo.name.partition(".")
                assert suffix in ("png", "jpg")
                assert row.name == f"{key}.json"
                file = tar.extractfile(row)
                assert file is not None
                samples.append((key, suffix, json.load(file)))
    assert len({key for key, _, _ in samples}) == len(photos)
    assert [suffix for _, suffix, _ in samples] == ["png", "jpg", "png", "jpg", "png"]
    assert all(row == {"latitude": 1.5, "city": "Åå"} for _, _, row in samples)


def test_the_same_photos_give_the_same_bytes(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos")
    for name in ("a", "b"):
        write(tmp_path / name, photos)
        os.utime(photos[0], (1, 1))
    a, b = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert [shard.read_bytes() for shard in a] == [shard.read_bytes() for shard in b]


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12), max_bytes=st.integers(1, 9000))
def test_every_photo_is_in_one_shard_in_order(sizes: list[int], max_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, size in enumerate(sizes):
            (folder / f"{number}.jpg").write_bytes(bytes([number]) * size)
        copies = write(folder / "shards", [folder / f"{n}.jpg" for n in range(len(sizes))], max_bytes=max_bytes)
        assert find_photos(folder / "shards") == copies
        assert [read_photo_bytes(copy) for copy in copies] == [bytes([n]) * size for n, size in enumerate(sizes)]
        shards = shard_of([copy.as_posix() for copy in copies])
        assert set(np.diff(shards)) <= {0, 1}
        for shard in (folder / "shards").iterdir():
            with tarfile.open(shard) as tar:
                assert shard.stat().st_size <= max_bytes or len(tar.getnames()) == 2


def test_what_is_no_ending_of_a_photo_becomes_jpg(tmp_path: Path) -> None:
    (tmp_path / "photo.php").write_bytes(b"x")
    (tmp_path / "photo").write_bytes(b"y")
    copies = write(tmp_path / "shards", [tmp_path / "photo.php", tmp_path / "photo"])
    assert [copy.suffix for copy in copies] == [".jpg", ".jpg"]
    assert find_photos(tmp_path / "shards") == copies


def test_shards_can_be_put_into_other_shards_but_not_into_themselves(tmp_path: Path) -> None:
    copies = write(tmp_path / "shards", save_photos(tmp_path / "photos"))
    again = write(tmp_path / "again", copies, max_bytes=10**6)
    assert [read_photo_bytes(copy) for copy in again] == [read_photo_bytes(copy) for copy in copies]
    (tmp_path / "link").symlink_to(tmp_path / "shards")
    with pytest.raises(OutputError, match=r"lies in .*link, whose shards are replaced"):
        write(tmp_path / "link", copies)
    assert find_photos(tmp_path / "shards") == copies


def test_what_earlier_runs_left_goes_and_strangers_stay(tmp_path: Path) -> None:
    folder, photos = tmp_path / "shards", save_photos(tmp_path / "photos")
    write(folder, photos)
    for name in (".photos-000000.12345678.99.partial.tar", "photos-000017.tar", "photos-mine.tar", "notes.txt"):
        (folder / name).touch()
    write(folder, photos[:1])
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "photos-000000.tar", "photos-mine.tar"]


def test_a_failure_leaves_no_half_shard(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos")
    with pytest.raises(OutputError, match=r"gone\.jpg cannot be put into a shard: no such file or directory\. Bring"):
        write(tmp_path / "shards", [*photos, tmp_path / "gone.jpg"])
    shards = sorted((tmp_path / "shards").iterdir())
    whole = sorted(shard.name for shard in shards if re.fullmatch(r"photos-\d{6}\.tar", shard.name))
    assert [shard.name for shard in shards] == whole
    write(tmp_path / "whole", photos)
    assert 0 < len(whole) < len(list((tmp_path / "whole").iterdir()))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of size")
@pytest.mark.parametrize("limit", [300, 2000, 4000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    import resource

    photos = save_photos(tmp_path / "photos", 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*photos-000000\.tar: file too large"):
            write(tmp_path / "shards", photos, max_bytes=10**6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "shards").iterdir()) == []


def test_shards_are_numbered_as_they_appear() -> None:
    paths = [
        "s/b.tar/1.jpg",
        "s/a.tar/2.jpg",
        "s/b.tar/x/3.jpg",
        "loose.jpg",
        "a.tar/2.jpg",
        "far/loose.tar",
        "s/a.tar/9",
    ]
    assert shard_of(paths).tolist() == [0, 1, 0, 2, 3, 2, 1]
    assert shard_of(["a.jpg", "b/c.jpg"]).tolist() == [0, 0]
    assert shard_of([]).shape == (0,)
    assert shard_of(["a.jpg"]).dtype == np.int64


def prepared(tmp_path: Path, **options: object) -> Path:
    manifest = tmp_path / "manifest.csv"
    prepare([tmp_path / "photos"], manifest, regions=default_regions(), **options)  # type: ignore[arg-type]
    return manifest


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_the_manifest_of_shards_differs_in_its_paths_alone(tmp_path: Path, name: str) -> None:
    save_photos(tmp_path / "photos")
    sources, regions = [tmp_path / "photos"], default_regions()
    prepare(sources, tmp_path / f"plain-{name}", regions=regions)
    summary = prepare(sources, tmp_path / name, regions=regions, shards=tmp_path / "shards")
    assert (summary.used, summary.shards) == (5, 1)
    plain, rows = read_manifest(tmp_path / f"plain-{name}"), read_manifest(tmp_path / name)
    assert rows.drop(columns="image_path").equals(plain.drop(columns="image_path"))
    assert rows["image_path"][0] == "shards/photos-000000.tar/000000-00000000.png"
    for before, after in zip(plain["image_path"], rows["image_path"], strict=True):
        photo = photo_path(tmp_path / name, after)
        assert read_photo_bytes(photo) == (tmp_path / before).read_bytes()
        said = json.loads(read_photo_bytes(photo.with_suffix(".json")))
        assert (said["image_path"], said["country"], said["region_id"]) == (before, "FR", plain["region_id"][0])
    assert not list(tmp_path.glob("*.unfinished"))


def test_training_and_inspection_read_shards(tmp_path: Path) -> None:
    save_photos(tmp_path / "photos")
    manifest = prepared(tmp_path, shards=tmp_path / "shards")
    paths = [photo_path(manifest, path) for path in read_manifest(manifest)["image_path"]]
    photos = PhotoDataset(paths, np.arange(5), Preprocessing(image_size=16))
    assert all(photos._photo(index) is not None for index in range(5))
    gone = str(paths[0].with_name("gone.jpg"))
    checks = check_files([*map(str, paths), gone, str(tmp_path / "photos" / "0.x.png")])
    assert checks.faults.tolist() == ["", "", "", "", "", "missing", ""]
    assert checks.missing.tolist() == [False] * 5 + [True, False]
    assert checks.contents.tolist() == [0, 1, 2, 3, 4, -1, 0]  # the copy in the tar and the original


def test_shards_are_not_replaced_unasked(tmp_path: Path) -> None:
    save_photos(tmp_path / "photos")
    first = prepared(tmp_path, shards=tmp_path / "shards").read_bytes()
    with pytest.raises(OutputError, match=r"shards holds shards already"):
        prepare([tmp_path / "photos"], tmp_path / "b.csv", regions=default_regions(), shards=tmp_path / "shards")
    with pytest.raises(OutputError, match=r"shards holds shards already"):
        prepare(
            [tmp_path / "photos"],
            tmp_path / "b.csv",
            regions=default_regions(),
            shards=tmp_path / "shards",
            resume=True,
        )
    assert prepared(tmp_path, shards=tmp_path / "shards", overwrite=True).read_bytes() == first
    assert not (tmp_path / "b.csv").exists()
    with pytest.raises(OutputError, match=r"The folder .*in lies in .*photos, whose photos go into it"):
        prepared(tmp_path, shards=tmp_path / "photos" / "in", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        prepared(tmp_path, shards=tmp_path / "file", overwrite=True)


def test_a_photo_that_went_away_stops_the_run_and_can_be_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = save_photos(tmp_path / "photos")
    add = ShardWriter.add

    def lose(self: ShardWriter, photo: Path, row: dict[str, object]) -> Path:
        if photo.name == photos[3].name:
            photo.rename(tmp_path / "hidden")
        return add(self, photo, row)

    monkeypatch.setattr(ShardWriter, "add", lose)
    with pytest.raises(OutputError, match=r"3\.x\.JPG cannot be put into a shard: no such file"):
        prepared(tmp_path, shards=tmp_path / "shards")
    assert not (tmp_path / "manifest.csv").exists()
    assert list((tmp_path / "shards").iterdir()) == []
    monkeypatch.setattr(ShardWriter, "add", add)
    (tmp_path / "hidden").rename(photos[3])
    manifest = prepared(tmp_path, shards=tmp_path / "shards", resume=True)
    assert len(read_manifest(manifest)) == len(find_photos(tmp_path / "shards")) == 5


def test_a_run_killed_while_it_writes_shards_goes_on(tmp_path: Path) -> None:
    save_photos(tmp_path / "photos")
    whole = prepared(tmp_path, shards=tmp_path / "whole")
    expected = whole.read_bytes().replace(b"whole/", b"shards/")
    shard = (tmp_path / "whole" / "photos-000000.tar").read_bytes()
    whole.unlink()
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom geomind.data.prepare import prepare\n"
        "from geomind.data.shards import ShardWriter\nfrom geomind.geography.regions import default_regions\n"
        "add = ShardWriter.add\n"
        "def slow(self, photo, row):\n"
        "    done = add(self, photo, row)\n"
        "    if photo.name.startswith('2'):\n        print('here', flush=True); time.sleep(60)\n"
        "    return done\n"
        "ShardWriter.add = slow\nhere = Path(sys.argv[1])\n"
        "prepare([here / 'photos'], here / 'manifest.csv', regions=default_regions(), shards=here / 'shards',"
        " overwrite=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
    assert not whole.exists()
    assert not list((tmp_path / "shards").glob("photos-*.tar"))
    with pytest.raises(OutputError, match="another --shards or --shard-size"):
        prepared(tmp_path, shards=tmp_path / "elsewhere", resume=True, overwrite=True)
    assert prepared(tmp_path, shards=tmp_path / "shards", resume=True, overwrite=True).read_bytes() == expected
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["photos-000000.tar"]
    assert len(shard) == (tmp_path / "shards" / "photos-000000.tar").stat().st_size
