from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geomind.bench.drawn_photos import draw_photos, size_of
from geomind.bench.random_models import BOX, make_models
from geomind.cascade import Cascade
from geomind.checkpoints import director_path, expert_path, read_checksum, read_description
from geomind.geography.boxes import Box
from geomind.geography.regions import default_regions
from geomind.photos import Preprocessing


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    preprocessing = Preprocessing(image_size=32)
    return np.stack([preprocessing.read(path) for path in draw_photos(tmp_path / "photos", 13, size_of(0.1))])


def test_photos_are_spread_over_all_regions_and_over_the_boxes(pixels: np.ndarray, tmp_path: Path) -> None:
    make_models(tmp_path / "own", tmp_path / "shared", "scene_net", pixels)
    names = [str(number) for number in range(13)]
    for models in (tmp_path / "own", tmp_path / "shared"):
        rows = Cascade.load(models, runtime="torch").locate(pixels, names)
        assert [row.region_id for row in rows] == list(range(13))
        assert all(row.error is None for row in rows)
        assert all(row.region_probability > 0.9 for row in rows)
        square = Box(*BOX).normalize([(row.latitude, row.longitude) for row in rows])
        assert np.all(np.ptp(square, axis=0) > 0.2)


def test_a_shared_trunk_is_one_encoder_for_all(pixels: np.ndarray, tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    make_models(own, shared, "scene_net", pixels)
    assert read_checksum(director_path(own)) == read_checksum(director_path(shared))
    for region in default_regions().regions:
        assert read_description(expert_path(own, region)).trunk is None
        assert expert_path(shared, region).stat().st_size < expert_path(own, region).stat().st_size / 2


def test_nobody_elses_random_numbers_change(pixels: np.ndarray, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    make_models(tmp_path / "own", tmp_path / "shared", "scene_net", pixels)
    assert torch.equal(torch.rand(1), expected)
