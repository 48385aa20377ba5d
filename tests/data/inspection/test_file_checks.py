from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from inspected import scene
from PIL import Image

from geomind.data.inspection.file_checks import check_files, difference_hash
from geomind.errors import PhotoError
from geomind.photos import find_photos, open_photo


def test_every_file_is_judged(tmp_path: Path) -> None:
    good = scene(tmp_path / "good.jpg", 1)
    (tmp_path / "copy.jpg").write_bytes(good.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-900])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    scene(tmp_path / "tiny.png", 2, size=(63, 200))
    Image.new("RGB", (300, 200), (9, 99, 199)).save(tmp_path / "blank.png")
    names = [
        "good.jpg",
        "copy.jpg",
        "cut.jpg",
        "text.jpg",
        "empty.jpg",
        "folder.jpg",
        "pipe.jpg",
        "tiny.png",
        "blank.png",
    ]
    checks = check_files([str(tmp_path / name) for name in [*names, "none.jpg", "nul\0.jpg"]])
    assert checks.faults[:2].tolist() == ["", ""]
    assert [fault.partition(":")[0] for fault in checks.faults[2:7]] == [
        "cannot decode", "not an image, or broken at its beginning", "empty file", "not a file", "not a file",
    ]  # fmt: skip
    assert checks.faults[9] == "missing"
    assert np.flatnonzero(checks.missing).tolist() == [9]
    assert "null" in checks.faults[10]
    assert np.flatnonzero(checks.tiny).tolist() == [7]
    assert np.flatnonzero(checks.blank).tolist() == [8]
    assert checks.contents[0] == checks.contents[1]
    assert len(set(checks.contents[checks.readable].tolist())) == 3
    assert (checks.contents[~checks.readable] == -1).all()


def test_files_of_equal_size_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    for name, colour in (("a.bmp", 10), ("b.bmp", 20), ("c.bmp", 10)):
        Image.new("RGB", (80, 80), (colour, 0, 0)).save(tmp_path / name)
    contents = check_files([str(tmp_path / f"{name}.bmp") for name in "abc"]).contents
    assert contents[0] == contents[2] != contents[1]


def test_a_picture_is_known_again_and_others_are_not(tmp_path: Path) -> None:
    def bits(path: Path) -> np.ndarray:
        (one, other), blank = difference_hash(open_photo(path, min_side=64))
        assert not blank
        return np.unpackbits(np.array([one, other], dtype=np.uint64).view(np.uint8))

    looks = []
    for seed in range(20):
        look = bits(scene(tmp_path / "a.jpg", seed))
        looks.append(look)
        for change in ({"quality": 20}, {"size": (160, 120)}, {"size": (640, 480)}):
            assert (look != bits(scene(tmp_path / "b.jpg", seed, **change))).sum() <= 7  # type: ignore[arg-type]
    apart = [(looks[i] != looks[j]).sum() for i in range(20) for j in range(i)]
    assert min(apart) > 20


def test_real_photos_saved_again_are_known_again(shared: Path, tmp_path: Path) -> None:
    changed, seen = [], 0
    for path in find_photos(shared / "photos")[::3]:  # decoding them all takes long
        image = open_photo(path, min_side=64)
        look, blank = difference_hash(image)
        if blank:
            continue
        seen += 1
        image.save(tmp_path / "again.jpg", quality=50)
        again, _ = difference_hash(open_photo(tmp_path / "again.jpg", min_side=64))
        changed.append(sum(int.bit_count(a ^ b) for a, b in zip(look, again, strict=True)))
    assert seen > 20
    assert np.quantile(changed, 0.9) <= 7


def test_the_odd_files_are_judged_as_opening_them_does(shared: Path) -> None:
    listed = pd.read_csv(shared / "odd" / "manifest.csv", dtype=str, keep_default_na=False)["file"]
    paths = [str(shared / "odd" / name) for name in listed]
    checks = check_files(paths)
    assert len(checks.faults) == 253
    for path, fault in zip(paths, checks.faults, strict=True):
        if fault:
            with pytest.raises(PhotoError) as reason:
                open_photo(path, min_side=64)
            assert str(reason.value) == fault
    assert 0 < (~checks.readable).sum() < 60
