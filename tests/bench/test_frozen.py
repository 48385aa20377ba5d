from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from geomind.bench import frozen
from geomind.bench.drawn_photos import draw_photos
from geomind.bench.training import LEAST_PHOTOS, PHOTO_SIZE, REGIONS
from geomind.config import BackboneConfig, DirectorConfig
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing

TINY = DirectorConfig(
    backbone=BackboneConfig(name="scene_net", weights="none"), image_size=32, batch_size=4, workers=0, device="cpu"
)


def network_of(config: DirectorConfig) -> DirectorNetwork:
    return DirectorNetwork(config.backbone.name, config.image_size, REGIONS)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return draw_photos(tmp_path / "photos", 4, PHOTO_SIZE)


def test_places_are_spread_over_all_regions(photos: list[Path], tmp_path: Path) -> None:
    paths = [tmp_path / "photos" / f"{number}.jpg" for number in range(LEAST_PHOTOS)]
    rows = pd.read_csv(frozen.write_places(paths, tmp_path / "manifest.csv"), keep_default_na=False)
    assert rows["image_path"].tolist() == [f"photos/{number}.jpg" for number in range(LEAST_PHOTOS)]
    assert set(rows["split"]) == {"train", "validation"}
    assert set(rows["region_id"][rows["split"] == "train"]) == set(range(REGIONS))


def test_a_settled_network_emits_no_denormal_numbers(photos: list[Path]) -> None:
    """An EfficientNet with random weights and untouched statistics fades away: ten times slower on a CPU."""
    config = TINY.model_copy(update={"backbone": BackboneConfig(name="efficientnet_b0", weights="none")})
    preprocessing = Preprocessing(image_size=config.image_size)
    pixels = torch.from_numpy(np.stack([preprocessing.read(path) for path in photos[:4]]))
    with torch.inference_mode():
        network = network_of(config)
        assert network.eval().backbone(pixels).abs().max() < 1e-6
        frozen.settle(network.train(), config, photos)
        assert network.eval().backbone(pixels).abs().max() > 0.01


def test_a_trunk_of_random_weights_is_trained_upon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomind.training.runs.draw_curves", lambda *_, **__: None)
    paths = draw_photos(tmp_path / "photos", LEAST_PHOTOS, PHOTO_SIZE)
    config = TINY.model_copy(update={"workers": 0})
    network = network_of(config)
    frozen.settle(network, config, paths)
    frozen.save_trunk(network, config, tmp_path / "trunk.safetensors")
    manifest = frozen.write_places(paths, tmp_path / "manifest.csv")
    assert frozen.frozen_seconds(config, manifest, tmp_path / "trunk.safetensors") > 0
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "manifest.csv", "trunk.safetensors"}
