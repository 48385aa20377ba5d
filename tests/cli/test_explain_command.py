"""`geomind explain` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from PIL import Image


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo[1].jpg")
    return tmp_path / "photo[1].jpg"


def test_a_picture_a_table_and_numbers(geomind: Run, models: Path, photo: Path) -> None:
    code, said, _ = geomind("explain", photo, "--json", "why.json", "--top-k", 3)
    assert code == 0
    with Image.open("explain.png") as picture:
        assert picture.width == 1560
    numbers = json.loads(Path("why.json").read_text())
    assert numbers["google_maps_url"] in said
    assert len(numbers["choices"]) == 13
    best = numbers["choices"][0]
    assert f"{best['probability']:.1%}" in said
    assert len(numbers["candidates"]) == 3
    assert "what drove" in said
    assert said.endswith("Numbers: why.json\nPicture: explain.png\n")


def test_nothing_is_replaced_unasked(geomind: Run, models: Path, photo: Path) -> None:
    assert geomind("explain", photo, "--output", "why.png", "--json", "why.json")[0] == 0
    for words in (("--output", "why.png"), ("--output", "other.png", "--json", "why.json")):
        code, _, said = geomind("explain", photo, *words)
        assert code == 1
        assert "--overwrite" in said
    assert not Path("other.png").exists()
    assert geomind("explain", photo, "--output", "why.png", "--json", "why.json", "--overwrite")[0] == 0


def test_bad_input_is_one_line(geomind: Run, models: Path, photo: Path) -> None:
    Path("broken.jpg").write_bytes(photo.read_bytes()[:200])
    for words, expected in (
        (("none.jpg",), "Cannot read the photo none.jpg: no such file"),
        (("broken.jpg",), "Cannot read the photo broken.jpg: "),
        ((photo, "--models", "nowhere"), "No weights at nowhere"),
        ((photo, "--output", "why.txt"), "choose a name that ends in .png"),
        ((photo, "--data", "none.csv"), "none.csv"),
    ):
        code, _, said = geomind("explain", *words)
        assert code == 1
        lines = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1
        assert expected in lines[0]
        assert "Traceback" not in said
    assert not Path("explain.png").exists()
