"""A manifest of a few small photos in three regions, and settings that learn from it in a moment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig
from geomind.data.manifest import write_manifest
from geomind.geography.regions import default_regions
from geomind.progress import Advance
from geomind.training import runs

REGIONS = default_regions()

TINY: dict[str, Any] = {
    "backbone": BackboneConfig(name="scene_net", weights="none"),
    "augment": "none",
    "image_size": 32,
    "max_epochs": 1,
    "workers": 0,
    "device": "cpu",
}
DIRECTOR, EXPERT = DirectorConfig(**TINY), ExpertConfig(**TINY)

PLACES = {2: (60.0, 10.0), 6: (36.0, 138.0), 9: (-2.0, 36.0)}
"""Region -> where its photos lie; the red of a photo is its step to the north."""

COUNTRY = {2: "NO", 6: "JP", 9: "KE"}


def write_photos(folder: Path, steps: int = 8) -> Path:
    """Write ``steps`` photos a region, `6-0.png` and so on, and their manifest; every fourth is for validation."""
    rows = []
    for region_id, (latitude, longitude) in PLACES.items():
        for step in range(steps):
            path = folder / f"{region_id}-{step}.png"
            Image.new("RGB", (40, 40), (step * 255 // max(steps - 1, 1), region_id * 20, 0)).save(path)
            split = "validation" if step % 4 == 3 else "train"
            rows.append((path.name, latitude + step, longitude, COUNTRY[region_id], region_id, "", split, "test"))
    frame = pd.DataFrame(
        rows, columns=["image_path", "latitude", "longitude", "country", "region_id", "group", "split", "source"]
    )
    write_manifest(frame, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give the manifest of a few photos."""
    return write_photos(tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """Say where weights and runs go, as a training is told it."""
    return {"regions": REGIONS, "models": tmp_path / "saved_models", "runs": tmp_path / "runs"}


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare half of the time of trainings this short."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_, **__: None)


def edit(data: Path, **columns: Any) -> None:
    """Change columns of a manifest."""
    frame = pd.read_csv(data, keep_default_na=False).assign(**columns)
    frame.to_csv(data, index=False)


class Interrupted:
    """Shows no bar, but presses Ctrl-C at some batch."""

    def __init__(self, at_batch: int) -> None:
        self._left = at_batch

    @contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        def advance(steps: float = 1, note: str = "") -> None:
            if what.startswith("Training") and what != "Training all Experts":
                self._left -= int(steps)
                if self._left == 0:
                    signal.raise_signal(signal.SIGINT)

        yield advance
