from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from PIL import Image
from torch import nn

from geomind.checkpoints import Description, load_checkpoint
from geomind.config import DirectorConfig
from geomind.data.dataset import PhotoDataset
from geomind.director import DirectorNetwork
from geomind.errors import TrainingError
from geomind.geography.regions import RegionTable
from geomind.photos import Preprocessing
from geomind.training.augment import build_augment
from geomind.training.fit import FitResult, Task, fit
from geomind.training.runs import Run

PREPROCESSING = Preprocessing(image_size=SIZE)
CONFIG = DirectorConfig(image_size=SIZE, batch_size=8, max_epochs=4, workers=0, learning_rate=3e-3, device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> tuple[list[Path], np.ndarray]:
    """Red photos of region 0 and blue ones of region 1, with noise."""
    rng = np.random.default_rng(0)
    paths, ids = [], np.arange(32) % 2
    for number, region_id in enumerate(ids):
        noise = rng.integers(0, 90, (40, 50, 3), dtype=np.uint8)
        noise[..., 2 * region_id] += 120
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(noise).save(paths[-1])
    return paths, ids


def train(
    photos: tuple[list[Path], np.ndarray], runs: Path, regions: RegionTable, config: DirectorConfig = CONFIG,
    network: nn.Module | None = None,
) -> tuple[FitResult, Run]:  # fmt: skip
    paths, ids = photos
    torch.manual_seed(0)
    network = network or DirectorNetwork("scene_net", SIZE, 2)

    def accuracy(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        return {"accuracy": float((logits.argmax(1) == targets).mean())}

    def describe_director(metrics: Mapping[str, float]) -> Description:
        return describe("director", regions, metrics=dict(metrics))

    augment = build_augment(config.augment, PREPROCESSING)
    run = Run.start(runs, "test", config, photos=len(paths))
    task = Task("a test", network, nn.CrossEntropyLoss(), accuracy, shown="accuracy")
    learned = PhotoDataset(paths[:24], ids[:24], PREPROCESSING, augment=augment, cache=config.cache_photos)
    held_out = PhotoDataset(paths[24:], ids[24:], PREPROCESSING)
    return fit(task, learned, held_out, config, run, describe_director), run


def test_it_learns_and_leaves_a_run_folder(photos, tmp_path: Path, two_regions: RegionTable) -> None:  # type: ignore[no-untyped-def]
    result, run = train(photos, tmp_path / "runs", two_regions)
    assert result.metrics["val_accuracy"] == 1
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "best.safetensors", "config.yaml", "curves.png", "metrics.csv", "run.json"
    ]  # fmt: skip
    with (run.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    best = min(float(row["val_loss"]) for row in rows)
    _, description = load_checkpoint(run.weights, "director")
    assert description.metrics["val_loss"] == result.metrics["val_loss"] == pytest.approx(best, rel=1e-4)
    with Image.open(run.folder / "curves.png") as curves:
        assert curves.width > 600


def test_the_same_seed_gives_the_same_weights(photos, tmp_path: Path, two_regions: RegionTable) -> None:  # type: ignore[no-untyped-def]
    states = [
        load_checkpoint(train(photos, tmp_path / "runs", two_regions)[1].weights, "director")[0] for _ in range(2)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("change", [{"schedule": "one_cycle"}, {"cache_photos": True}, {"workers": 1}])
def test_options_of_the_loop_work(photos, tmp_path: Path, two_regions: RegionTable, change: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    config = CONFIG.model_copy(update={**change, "max_epochs": 2})
    result, _ = train(photos, tmp_path / "runs", two_regions, config)
    assert result.epochs == 2


def test_it_stops_when_nothing_is_learned_any_more(photos, tmp_path: Path, two_regions: RegionTable) -> None:  # type: ignore[no-untyped-def]
    config = CONFIG.model_copy(update={"learning_rate": 1e-12, "max_epochs": 50, "early_stopping_patience": 2})

    class Frozen(DirectorNetwork):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)  # not even the running means of its normalisation move

    result, run = train(photos, tmp_path / "runs", two_regions, config, Frozen("scene_net", SIZE, 2))
    assert result.epochs < 20
    assert (run.folder / "curves.png").exists()


def test_a_loss_that_is_no_number_stops_at_once(photos, tmp_path: Path, two_regions: RegionTable) -> None:  # type: ignore[no-untyped-def]
    network = DirectorNetwork("scene_net", SIZE, 2)
    with torch.no_grad():
        network.head[1].bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"nan in epoch 1.*--set learning_rate=0\.0003"):
        train(photos, tmp_path / "runs", two_regions, network=network)


def test_unreadable_photos_are_left_out_and_named(  # type: ignore[no-untyped-def]
    photos, tmp_path: Path, two_regions: RegionTable, heard: pytest.LogCaptureFixture
) -> None:
    paths, _ = photos
    paths[3].write_bytes(b"not a photo")
    paths[30].unlink()
    result, _ = train(photos, tmp_path / "runs", two_regions, CONFIG.model_copy(update={"max_epochs": 1}))
    assert result.epochs == 1
    assert {paths[3].name, paths[30].name} <= {name for name in (p.name for p in paths) if name in heard.text}
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match="could be read"):
        train(photos, tmp_path / "runs", two_regions)
