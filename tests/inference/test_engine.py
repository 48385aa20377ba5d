from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind.cascade import REGION_MEDIAN
from geomind.errors import OutputError, PhotoError
from geomind.inference import engine, partial
from geomind.inference.photo_list import ListOfPhotos
from geomind.photos import Preprocessing
from geomind.predictions import CANDIDATE_COLUMNS, Prediction, read_predictions
from geomind.progress import Advance


class ByColour:
    """Reads the latitude off the red of a photo; blue ones get a fallback."""

    preprocessing = Preprocessing(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    extra_columns = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
        self.batches.append(len(pixels))
        red, blue = pixels[:, 0].mean(axis=(1, 2)), pixels[:, 2].mean(axis=(1, 2))
        return [
            Prediction(image_path=name, latitude=float(r) * 50, longitude=1.0, error=REGION_MEDIAN if b > 0.5 else None)
            for name, r, b in zip(image_paths, red, blue, strict=True)
        ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (20, 16), (number * 20, 0, 0)).save(folder / f"{number}.png")
    Image.new("RGB", (20, 16), (0, 0, 255)).save(folder / "sub" / 'blue, "quoted".PNG')
    (folder / "5b.jpg").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no photo")
    return folder


NAMES = [*(f"{n}.png" for n in range(6)), "5b.jpg", *(f"{n}.png" for n in range(6, 10)), 'sub/blue, "quoted".PNG']


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("workers", [None, 1, 3])
def test_every_photo_gets_a_row_in_order(folder: Path, tmp_path: Path, batch_size: int, workers: int | None) -> None:
    output = tmp_path / "predictions.csv"
    done = engine.infer(folder, output, ByColour(), batch_size=batch_size, workers=workers)
    assert (done.photos, done.located, done.failed, done.fallbacks) == (12, 11, 1, 1)
    rows = read_predictions(output)
    assert [row.image_path for row in rows] == NAMES
    assert [row.latitude for row in rows[:3]] == pytest.approx([0, 20 / 255 * 50, 40 / 255 * 50], abs=1e-4)
    assert rows[6].latitude is None
    assert rows[6].error
    assert rows[-1].error == REGION_MEDIAN
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "predictions.csv"]


def test_windows_are_fixed_whatever_can_be_read(folder: Path) -> None:
    geolocator = ByColour()
    list(engine.locate_photos([folder / name for name in NAMES], NAMES, geolocator, batch_size=5))
    assert sorted(geolocator.batches) == [2, 4, 5]


def test_a_slow_photo_delays_its_row_and_stalls_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All photos behind a slow one waited for it, while the other threads had nothing to do."""
    go_on = threading.Event()
    read = engine._read

    def slow(path: Path | str, preprocessing: Preprocessing) -> object:
        if "0.png" in str(path):
            assert go_on.wait(20)
        return read(path, preprocessing)

    monkeypatch.setattr(engine, "_read", slow)
    seen: list[str] = []

    class Watched(ByColour):
        def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
            seen.extend(image_paths)
            if "last" in image_paths:
                go_on.set()
            return super().locate(pixels, image_paths)

    names = ["slow", *(f"{i}" for i in range(98)), "last"]
    photos = [folder / "0.png", *[folder / "1.png"] * 99]
    rows = list(engine.locate_photos(photos, names, Watched(), batch_size=2, workers=2))
    assert [row.image_path for row in rows] == names
    assert sorted(seen[-2:]) == ["0", "slow"]


def test_a_photo_that_hangs_is_named_and_keeps_nobody_from_ending(
    folder: Path, monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "SLOW_SECONDS", 0.05)

    def hang(*_: object) -> PhotoError:
        time.sleep(0.5)
        return PhotoError("gone")

    monkeypatch.setattr(engine, "_read", hang)
    rows = list(engine.locate_photos([folder / "1.png"], ["1"], ByColour()))
    assert rows[0].error == "gone"
    assert "1.png takes more than" in heard.text
    assert heard.text.count("takes more than") == 1


def test_a_fault_of_ours_shows_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a decoding thread must not leave the engine waiting for ever."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "_read", broken)
    with pytest.raises(ZeroDivisionError):
        list(engine.locate_photos([folder / "1.png"] * 9, list("abcdefghi"), ByColour(), batch_size=2))


def test_memory_is_bounded_whatever_the_number_of_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All photos were decoded before the first was answered, and 50,000 of them filled the memory."""
    alive, most, lock = 0, 0, threading.Lock()
    read = engine._read

    def counted(path: Path | str, preprocessing: Preprocessing) -> object:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return read(path, preprocessing)

    class Counting(ByColour):
        def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
            nonlocal alive
            answers = super().locate(pixels, image_paths)
            with lock:
                alive -= len(pixels)
            return answers

    monkeypatch.setattr(engine, "_read", counted)
    photos, names = [folder / "1.png"] * 500, [str(i) for i in range(500)]
    assert len(list(engine.locate_photos(photos, names, Counting(), batch_size=5, workers=3))) == 500
    assert 5 < most <= 5 * engine.DECODED_WINDOWS


def test_stopping_early_does_not_read_the_rest(folder: Path) -> None:
    photos = [folder / "1.png"] * 10_000
    answers = engine.locate_photos(photos, ["x"] * 10_000, ByColour(), batch_size=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_existing_output_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.csv"
    output.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        engine.infer(folder, output, ByColour())
    assert output.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="No photo"):
        engine.infer(tmp_path / "empty", tmp_path / "other.csv", ByColour())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos", "predictions.csv"]
    engine.infer(folder, output, ByColour(), overwrite=True)
    assert len(read_predictions(output)) == 12


@pytest.mark.parametrize("ending", ["parquet", "geojson"])
def test_other_formats(folder: Path, tmp_path: Path, ending: str) -> None:
    engine.infer(folder, tmp_path / f"p.{ending}", ByColour())
    engine.infer(folder, tmp_path / "named-otherwise", ByColour(), format=ending)  # type: ignore[arg-type]
    assert (tmp_path / f"p.{ending}").read_bytes() == (tmp_path / "named-otherwise").read_bytes()


def test_a_list_of_photos(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("photos/3.png\n\nphotos/1.png\nphotos/gone.png\n")
    done = engine.infer(ListOfPhotos(tmp_path / "list.txt"), tmp_path / "p.csv", ByColour())
    rows = read_predictions(tmp_path / "p.csv")
    assert [row.image_path for row in rows] == ["photos/3.png", "photos/1.png", "photos/gone.png"]
    assert (done.located, rows[2].error) == (2, "no such file or directory")


def test_what_else_becomes_of_the_rows(folder: Path, tmp_path: Path) -> None:
    seen: list[Prediction] = []
    engine.infer(folder, tmp_path / "p.csv", ByColour(), also=[seen.extend, seen.extend])
    assert seen == read_predictions(tmp_path / "p.csv") * 2


# ── stopped, killed, full ────────────────────────────────────────────────────────────────────────────────────────────


class Stopping(ByColour):
    """Raises what a Ctrl-C or a full disk raises, at the given window."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self._left, self._error = at, error

    def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return super().locate(pixels, image_paths)


@pytest.mark.parametrize("stops", [[1], [0, 2], [1, 1, 1, 1]])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, stops: list[int], heard: pytest.LogCaptureFixture
) -> None:
    engine.infer(folder, tmp_path / "whole.csv", ByColour(), batch_size=2)
    output = tmp_path / "p.csv"
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            engine.infer(folder, output, Stopping(stop, KeyboardInterrupt()), batch_size=2, workers=1, resume=True)
        assert not output.exists()
    assert "Go on with --resume." in heard.text
    geolocator = ByColour()
    done = engine.infer(folder, output, geolocator, batch_size=2, resume=True)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (done.photos, done.located, done.failed, done.fallbacks) == (12, 11, 1, 1)
    assert sum(geolocator.batches) + 2 * sum(stops) in (11, 12)  # none twice; the broken photo is in some window
    assert not list(tmp_path.glob("*.unfinished"))


class Naming(Stopping):
    """Names candidates besides."""

    extra_columns = CANDIDATE_COLUMNS

    def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
        found = super().locate(pixels, image_paths)
        return [dataclasses.replace(each, candidates=f'[{{"latitude":{each.latitude}}}]') for each in found]


def test_columns_of_its_own_survive_a_stop_and_a_broken_first_photo(folder: Path, tmp_path: Path) -> None:
    (folder / "0.png").write_bytes(b"broken")
    whole, output = tmp_path / "whole.csv", tmp_path / "p.csv"
    engine.infer(folder, whole, Naming(99, KeyboardInterrupt()), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        engine.infer(folder, output, Naming(2, KeyboardInterrupt()), batch_size=2, workers=1)
    engine.infer(folder, output, Naming(99, KeyboardInterrupt()), batch_size=2, resume=True)
    assert output.read_bytes() == whole.read_bytes()
    rows = read_predictions(output)
    assert [row.candidates is None for row in rows] == [row.latitude is None for row in rows]
    assert any(row.candidates for row in rows)


def test_a_stop_before_the_first_row_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine.infer(folder, tmp_path / "p.csv", Stopping(0, KeyboardInterrupt()))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_run_is_gone_on_with_on_the_photos_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine.infer(folder, tmp_path / "p.csv", Stopping(2, KeyboardInterrupt()), batch_size=2, workers=1)
    Image.new("RGB", (9, 9)).save(folder / "00.png")
    (folder / "9.png").unlink()
    engine.infer(folder, tmp_path / "p.csv", ByColour(), batch_size=2, resume=True)
    rows = read_predictions(tmp_path / "p.csv")
    assert [row.image_path for row in rows] == NAMES
    assert rows[-2].error == "no such file or directory"


def test_unfinished_rows_are_not_mixed_nor_thrown_away(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"

    def begin() -> None:
        with pytest.raises(KeyboardInterrupt):
            engine.infer(
                folder, output, Stopping(1, KeyboardInterrupt()), batch_size=2, workers=1, overwrite=True,
                made_with={"set of weights": "a"},
            )  # fmt: skip

    begin()
    with pytest.raises(OutputError, match=r"p\.csv\.unfinished holds an unfinished inference.*--resume.*--overwrite"):
        engine.infer(folder, output, ByColour(), made_with={"set of weights": "a"})
    with pytest.raises(OutputError, match="begun with another set of weights"):
        engine.infer(folder, output, ByColour(), made_with={"set of weights": "b"}, resume=True)
    with pytest.raises(OutputError, match="begun with another set of photos"):
        engine.infer(folder / "sub", output, ByColour(), made_with={"set of weights": "a"}, resume=True)
    larger = ByColour()
    larger.preprocessing = Preprocessing(image_size=16)
    with pytest.raises(OutputError, match="begun with another preprocessing"):
        engine.infer(folder, output, larger, made_with={"set of weights": "a"}, resume=True)
    assert (tmp_path / "p.csv.unfinished" / "begun.json").exists()
    geolocator = ByColour()
    engine.infer(folder, output, geolocator, overwrite=True)
    assert sum(geolocator.batches) == 11


def test_damage_is_said(folder: Path, tmp_path: Path) -> None:
    output, unfinished = tmp_path / "p.csv", tmp_path / "p.csv.unfinished"

    def begin() -> Path:
        with pytest.raises(KeyboardInterrupt):
            engine.infer(folder, output, Stopping(2, KeyboardInterrupt()), batch_size=2, workers=1, overwrite=True)
        (rows,) = unfinished.glob("rows-*.csv")
        return rows

    begin()
    (unfinished / "begun.json").write_text("{")
    with pytest.raises(OutputError, match="makes no sense"):
        engine.infer(folder, output, ByColour(), resume=True)
    rows = begin()
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(OutputError, match="too short"):
        engine.infer(folder, output, ByColour(), resume=True)
    rows = begin()
    rows.write_bytes(b"\0" * 100)
    with pytest.raises(OutputError, match="is damaged"):
        engine.infer(folder, output, ByColour(), resume=True)
    rows = begin()
    rows.unlink()  # a lost file is answered again
    engine.infer(folder, output, ByColour(), resume=True)
    assert [row.image_path for row in read_predictions(output)] == NAMES


class At:
    """Shows no bar, and does something at some step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._left, self._act = step, act

    @contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        def advance(steps: float = 1, note: str = "") -> None:
            before, self._left = self._left, self._left - int(steps)
            if before > 0 >= self._left:
                self._act()

        yield advance


def test_two_runs_do_not_write_one_output(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"

    def second() -> None:
        with pytest.raises(OutputError, match="Another process is writing"):
            engine.infer(folder, output, ByColour(), resume=True)

    engine.infer(folder, output, ByColour(), batch_size=2, progress=At(4, second))
    assert [row.image_path for row in read_predictions(output)] == NAMES


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of size")
@pytest.mark.parametrize("limit", [50, 400, 900])
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    folder: Path, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    engine.infer(folder, tmp_path / "whole.csv", ByColour(), batch_size=2)
    monkeypatch.setattr(partial, "SAVE_SECONDS", 0.0)
    output = tmp_path / "p.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match="file too large"):
            engine.infer(folder, output, ByColour(), batch_size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not output.exists()
    engine.infer(folder, output, ByColour(), batch_size=2, resume=True)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "photos", "whole.csv"]


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_engine import ByColour
from geomind.inference import engine, partial

class Slow(ByColour):
    def locate(self, pixels, image_paths):
        time.sleep(0.02)
        return super().locate(pixels, image_paths)

partial.SAVE_SECONDS = 0.0
engine.infer(sys.argv[2], sys.argv[3], Slow(), batch_size=7, resume=True)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(200):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number}.png")
    engine.infer(folder, tmp_path / "whole.csv", ByColour(), batch_size=7)
    output = tmp_path / "p.csv"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder), str(output)]
    unfinished = tmp_path / "p.csv.unfinished"
    for files in (2, 9, 20):
        process = subprocess.Popen(command)
        while len(list(unfinished.glob("rows-*.csv"))) < files:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists()
    subprocess.run(command, check=True)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "photos", "whole.csv"]  # noqa: PTH208
    with output.open(newline="") as file:
        assert len({row["image_path"] for row in csv.DictReader(file)}) == 200
