from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind.cascade import REGION_MEDIAN
from geomind.errors import OutputError, PhotoError
from geomind.inference import engine
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, read_predictions


class ByColour:
    """Reads the latitude off the red of a photo; blue ones get a fallback."""

    preprocessing = Preprocessing(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))

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


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_photo_gets_a_row_in_order(folder: Path, tmp_path: Path, batch_size: int, workers: int) -> None:
    output = tmp_path / "predictions.csv"
    done = engine.infer(folder, output, ByColour(), batch_size=batch_size, workers=workers)
    assert (done.photos, done.located, done.failed, done.fallbacks) == (12, 11, 1, 1)
    rows = read_predictions(output)
    names = [row.image_path for row in rows]
    assert names == [
        *(f"{n}.png" for n in range(6)),
        "5b.jpg",
        *(f"{n}.png" for n in range(6, 10)),
        'sub/blue, "quoted".PNG',
    ]
    assert [row.latitude for row in rows[:3]] == pytest.approx([0, 20 / 255 * 50, 40 / 255 * 50], abs=1e-4)
    assert rows[6].latitude is None
    assert rows[6].error
    assert rows[-1].error == REGION_MEDIAN


def test_batches_are_full_where_photos_can_be_read(folder: Path) -> None:
    geolocator = ByColour()
    photos = sorted(folder.rglob("*.png"))
    list(engine.locate_photos(photos, [p.name for p in photos], geolocator, batch_size=4))
    assert geolocator.batches == [4, 4, 2]


def test_memory_is_bounded_whatever_the_number_of_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All photos were decoded before the first was answered, and 50,000 of them filled the memory."""
    alive, most, lock = 0, 0, threading.Lock()
    read = engine._read

    def counted(path: Path, preprocessing: Preprocessing) -> object:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return read(path, preprocessing)

    monkeypatch.setattr(engine, "_read", counted)
    photos = [folder / "1.png"] * 500
    for answered, _ in enumerate(engine.locate_photos(photos, [str(i) for i in range(500)], ByColour(), batch_size=5)):
        if answered % 5 == 4:
            alive -= 5
    assert most <= 5 * (engine.BATCHES_AHEAD + 2)


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
    assert not (tmp_path / "other.csv").exists()
    engine.infer(folder, output, ByColour(), overwrite=True)
    assert len(read_predictions(output)) == 12
