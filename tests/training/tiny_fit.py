"""A small training for tests of the loop; run by torchrun, it writes its metrics to the folder it is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn

from geomind.checkpoints import Description
from geomind.config import DirectorConfig
from geomind.data.dataset import PhotoDataset
from geomind.data.manifest import write_manifest
from geomind.geography.regions import default_regions
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing
from geomind.training.augment import build_augment
from geomind.training.fit import FitResult, Task, fit
from geomind.training.losses import director_loss, plain_cross_entropy
from geomind.training.mixing import build_mix
from geomind.training.processes import start_fabric
from geomind.training.runs import Origin, Run

SIZE = 32
PREPROCESSING = Preprocessing(image_size=SIZE)
CONFIG = DirectorConfig(
    image_size=SIZE, batch_size=8, max_epochs=4, workers=0, learning_rate=3e-3, device="cpu", dropout=0
)
ORIGIN = Origin(name="test", data="", data_hash="", regions="", trunk="", photos=24, validation_photos=8)


class PlainNetwork(nn.Module):
    """A network without batch normalisation and chance: a batch in two parts has the same gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.layers(pixels)
        return logits


def draw_photos(folder: Path, count: int = 32) -> tuple[list[Path], np.ndarray]:
    """Draw red photos of region 0 and blue ones of region 1, with noise."""
    rng = np.random.default_rng(0)
    paths, ids = [], np.arange(count) % 2
    for number, region_id in enumerate(ids):
        noise = rng.integers(0, 90, (40, 50, 3), dtype=np.uint8)
        noise[..., 2 * region_id] += 120
        paths.append(folder / f"{number}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths, ids


def draw_manifest(folder: Path, photos: int) -> Path:
    """Draw photos of Norway and of Japan, every fifth of them for validation."""
    paths, ids = draw_photos(folder, photos)
    rows = pd.DataFrame(
        {
            "image_path": [path.name for path in paths],
            "latitude": np.where(ids, 36.0, 60.0) + np.arange(photos) / 100,
            "longitude": np.where(ids, 138.0, 10.0),
            "country": np.where(ids, "JP", "NO"),
            "region_id": np.where(ids, 6, 2),
            "group": "",
            "split": np.where(np.arange(photos) % 5 == 4, "validation", "train"),
            "source": "test",
        }
    )
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


def train(
    photos: tuple[list[Path], np.ndarray], runs: Path, config: DirectorConfig = CONFIG,
    network: nn.Module | None = None, fabric: Fabric | None = None, run: Run | None = None, **more: Any,
) -> tuple[FitResult, Run]:  # fmt: skip
    """Train on all photos but the last eight, which it is judged by."""
    paths, ids = photos
    torch.manual_seed(0)
    network = network or DirectorNetwork("scene_net", SIZE, 2)

    def score(logits: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        return {"accuracy": float((logits.argmax(1) == ids[-8:][rows]).mean())}

    def describe(metrics: Mapping[str, float]) -> Description:
        regions = default_regions()
        return Description(
            kind="director", region_table=regions.to_dict(), preprocessing=PREPROCESSING, backbone="scene_net",
            config={}, metrics=dict(metrics), region_medians={region.id: (0.0, 0.0) for region in regions.regions},
        )  # fmt: skip

    fabric = fabric or start_fabric(config)
    run = run or (Run.start(runs, ORIGIN, config) if fabric.is_global_zero else Run(runs))
    loss = director_loss(config, ids, 2)
    task = Task("a test", network, loss, plain_cross_entropy, score, "accuracy", network, build_mix(config))
    augment = build_augment(config.augment, PREPROCESSING)
    targets = np.eye(2, dtype=np.float32)[ids[:-8]]
    learned = PhotoDataset(paths[:-8], targets, PREPROCESSING, augment=augment, cache=config.cache_photos)
    judged = PhotoDataset(paths[-8:], ids[-8:], PREPROCESSING)
    return fit(task, learned, judged, config, run, describe, fabric=fabric, **more), run


def alone(folder: Path, photos: int, batch_size: int, accumulate: int, name: str = "alone") -> tuple[FitResult, Run]:
    """Train a network without chance on so many of the photos in a folder, and on eight more to judge by."""
    torch.manual_seed(0)
    paths = [folder / f"{number}.png" for number in range(photos + 8)]
    config = CONFIG.model_copy(update={"batch_size": batch_size, "accumulate": accumulate})
    (folder / "runs" / name).mkdir(parents=True, exist_ok=True)
    return train((paths, np.arange(photos + 8) % 2), folder, config, PlainNetwork(), run=Run(folder / "runs" / name))


if __name__ == "__main__":
    alone(Path(sys.argv[1]), *map(int, sys.argv[2:]), name="test-together")
