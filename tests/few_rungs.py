"""Fixtures of the tests of comparisons: a few photos in all three splits, and the truth of those that judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from few_photos import REGIONS, edit, write_photos

if TYPE_CHECKING:  # bring matplotlib and more, which other tests need not wait for
    from geomind.compare.ladder import Bench
    from geomind.evaluation.judging import Truth


@pytest.fixture
def three_splits(tmp_path: Path) -> Path:
    """Give a manifest of three regions, in each four photos to learn from, two to judge epochs, two to test."""
    folder = tmp_path / "photos"
    folder.mkdir()
    manifest = write_photos(folder)
    edit(manifest, split=["train", "train", "test", "validation"] * 6)
    return manifest


@pytest.fixture
def bench(three_splits: Path) -> Bench:
    from geomind.compare.ladder import Bench

    tiny = {"image_size": 32, "workers": 0, "device": "cpu", "augment": "none",
            "backbone": {"name": "scene_net", "weights": "none"}}  # fmt: skip
    return Bench(three_splits, REGIONS, tiny)


@pytest.fixture
def truth(three_splits: Path) -> Truth:
    from geomind.evaluation.judging import Truth

    return Truth.read(three_splits, REGIONS)


@pytest.fixture
def at_the_truth(truth: Truth) -> np.ndarray:
    return truth.points.copy()
