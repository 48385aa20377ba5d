from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind.errors import OutputError, PhotoError
from geomind.inference import engine, watch
from geomind.photos import Preprocessing
from geomind.predictions import CANDIDATE_COLUMNS, COLUMNS, Prediction, read_predictions


class Anywhere:
    """Answers every photo with the same place, and counts."""

    preprocessing = Preprocessing(image_size=8)
    extra_columns = ()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
        assert len(pixels) == len(image_paths)
        self.asked += image_paths
        return [Prediction(image_path=name, latitude=1, longitude=2) for name in image_paths]


def save(path: Path, *, seconds_old: float = 3600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path)
    when = time.time() - seconds_old
    os.utime(path, (when, when))
    return path


def run(folder: Path, output: Path, *between: Callable[[], object], batch_size: int = 4) -> Anywhere:
    """Watch, and do something at each pause; Ctrl-C comes with the last."""
    geolocator, pauses = Anywhere(), iter(between)

    def sleep(_: float) -> None:
        act = next(pauses, None)
        if act is None:
            raise KeyboardInterrupt
        act()

    with pytest.raises(KeyboardInterrupt):
        watch.watch(folder, output, geolocator, batch_size=batch_size, sleep=sleep)
    return geolocator


def names(output: Path) -> list[str]:
    return [row.image_path for row in read_predictions(output)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(6):
        save(folder / f"{number}.png")
    return folder


def test_new_photos_get_a_row_and_none_two(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows" / "p.csv"
    geolocator = run(folder, output, lambda: save(folder / "a" / "=0.png"), lambda: save(folder / "0.png"))
    assert names(output) == [*(f"{i}.png" for i in range(6)), "a/=0.png"]
    assert geolocator.asked == names(output)
    again = run(folder, output, lambda: save(folder / "=b.png"))
    assert again.asked == ["=b.png"]
    assert run(folder, output).asked == []
    assert len(names(output)) == 8


def test_it_goes_on_behind_an_inference(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    engine.infer(folder, output, Anywhere())
    whole = output.read_bytes()
    assert run(folder, output).asked == []
    assert output.read_bytes() == whole
    assert run(folder, output, lambda: save(folder / "new.png")).asked == ["new.png"]


def test_a_photo_waits_until_it_is_whole(folder: Path, tmp_path: Path) -> None:
    """A photo was answered while it was being copied, and its row said that it is broken."""
    output = tmp_path / "p.csv"
    content = save(tmp_path / "whole.png").read_bytes()
    new = folder / "new.png"

    def grow(share: float) -> Callable[[], object]:
        return lambda: new.write_bytes(content[: int(len(content) * share)])

    geolocator = run(folder, output, grow(0.3), grow(0.6), grow(1), lambda: None)
    assert geolocator.asked[-1] == "new.png"
    assert read_predictions(output)[-1].error is None
    assert len(names(output)) == 7


def test_an_empty_folder_is_waited_for_and_a_missing_one_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    geolocator = run(tmp_path / "empty", tmp_path / "p.csv", lambda: save(tmp_path / "empty" / "a.png"))
    assert geolocator.asked == ["a.png"]
    with pytest.raises(PhotoError, match="no folder"):
        watch.watch(tmp_path / "none", tmp_path / "q.csv", geolocator)


def test_a_broken_photo_gets_its_row_once(folder: Path, tmp_path: Path) -> None:
    (folder / "b.jpg").write_bytes(b"broken")
    os.utime(folder / "b.jpg", (0, 0))
    run(folder, tmp_path / "p.csv", lambda: None)
    run(folder, tmp_path / "p.csv")
    rows = read_predictions(tmp_path / "p.csv")
    assert [row.image_path for row in rows if row.error] == ["b.jpg"]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_row_is_answered_again(folder: Path, tmp_path: Path, cut: int, heard: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "p.csv"
    run(folder, output)
    whole = output.read_bytes()
    output.write_bytes(whole[:-cut])
    assert run(folder, output).asked == ["5.png"]
    assert output.read_bytes() == whole
    assert "ended within a row" in heard.text


def test_half_a_header_is_written_again(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    output.write_text(",".join(COLUMNS)[:30])
    assert len(run(folder, output).asked) == 6
    assert len(names(output)) == 6


def test_what_is_somebody_elses_is_not_touched(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    run(folder, output)
    damaged = output.read_bytes().replace(b"2.png", b'"2.png', 1)
    for content, said in (
        (b"image_path,latitude\na,1\n", "its columns are not"),
        (damaged, "makes no sense"),
        (output.read_bytes().replace(b"\n3.png", b"\n3.png\n"), "makes no sense"),
    ):
        output.write_bytes(content)
        with pytest.raises(OutputError, match=said):
            watch.watch(folder, output, Anywhere())
        assert output.read_bytes() == content
    with pytest.raises(OutputError, match=r"ends in \.csv"):
        watch.watch(folder, tmp_path / "p.parquet", Anywhere())
    (tmp_path / "q.csv.unfinished").mkdir()
    with pytest.raises(OutputError, match="--resume"):
        watch.watch(folder, tmp_path / "q.csv", Anywhere())


def test_a_second_watch_of_one_output_is_refused(folder: Path, tmp_path: Path) -> None:
    def second() -> None:
        with pytest.raises(OutputError, match="Another process"):
            watch.watch(folder, tmp_path / "p.csv", Anywhere())

    run(folder, tmp_path / "p.csv", second)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of size")
def test_a_full_disk_leaves_whole_rows(folder: Path, tmp_path: Path) -> None:
    import resource

    output = tmp_path / "p.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OutputError, match="file too large"):
            watch.watch(folder, output, Anywhere(), batch_size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    there = names(output)
    assert there == ["0.png", "1.png", "2.png", "3.png"][: len(there)]
    run(folder, output)
    assert names(output) == [f"{i}.png" for i in range(6)]


def test_columns_of_its_own_are_those_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "p.csv"
    run(folder, output)
    monkeypatch.setattr(Anywhere, "extra_columns", CANDIDATE_COLUMNS)
    with pytest.raises(OutputError, match="its columns are not"):  # they begin with others
        watch.watch(folder, output, Anywhere())
    run(folder, tmp_path / "q.csv")
    header = (tmp_path / "q.csv").read_text().splitlines()[0]
    assert header == ",".join(COLUMNS + CANDIDATE_COLUMNS)
    assert run(folder, tmp_path / "q.csv").asked == []
