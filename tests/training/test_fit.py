from __future__ import annotations

import csv
import logging
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_fit import CONFIG, SIZE, PlainNetwork, draw_photos, train
from torch import nn

from geomind.checkpoints import load_checkpoint, load_state
from geomind.config import AUGMENT_POLICIES, DirectorConfig
from geomind.data.dataset import Draw, PhotoDataset
from geomind.errors import CheckpointError, ConfigError, TrainingError
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing
from geomind.training import fit as fit_module
from geomind.training.augment import build_augment
from geomind.training.runs import Run

Photos = tuple[list[Path], np.ndarray]


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return draw_photos(tmp_path)


def change(**settings: Any) -> DirectorConfig:
    return DirectorConfig.model_validate({**CONFIG.model_dump(), **settings})


def rows(run: Run) -> list[dict[str, float]]:
    with (run.folder / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_it_learns_and_leaves_a_run_folder(photos: Photos, tmp_path: Path) -> None:
    result, run = train(photos, tmp_path / "runs")
    assert result.metrics["val_accuracy"] == 1
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "best-accuracy.safetensors", "best-loss.safetensors", "config.yaml", "last.safetensors", "metrics.csv",
        "run.json", "snapshot.safetensors",
    ]  # fmt: skip
    epochs = rows(run)
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    best = min(row["val_loss"] for row in epochs)
    _, description = load_checkpoint(run.weights("loss"), "director")
    assert description.metrics["val_loss"] == result.metrics["val_loss"] == pytest.approx(best, rel=1e-4)
    run.finish(result.epochs)
    assert not run.snapshot.exists()
    with Image.open(run.folder / "curves.png") as curves:
        assert curves.width > 600


def test_the_best_by_loss_the_best_by_accuracy_and_the_last_are_all_kept(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original project kept the lowest loss only, and lost the epoch that was most often right (0.6397)."""
    losses = iter([0.9, 0.3, 0.5, 0.7])
    monkeypatch.setattr(
        "tiny_fit.plain_cross_entropy", lambda logits, _: logits.sum(1) * 0 + next(losses), raising=True
    )
    accuracies = iter([0.2, 0.4, 0.8, 0.6])
    original = fit_module.Task

    def task(title: str, network: nn.Module, loss: Any, validation_loss: Any, *rest: Any) -> Any:
        def score(logits: np.ndarray, rows: np.ndarray) -> dict[str, float]:
            return {"accuracy": next(accuracies)}

        return original(
            title, network, lambda logits, _: logits.sum(1) * 0.1, validation_loss, score, "accuracy", network
        )

    monkeypatch.setattr("tiny_fit.Task", task)
    result, run = train(photos, tmp_path / "runs", change(select="accuracy"))
    described = {name: load_checkpoint(run.weights(name), "director")[1] for name in ("loss", "accuracy", "last")}
    assert described["loss"].metrics["val_loss"] == pytest.approx(0.3)
    assert described["accuracy"].metrics == {"val_loss": pytest.approx(0.5), "val_accuracy": 0.8}
    assert described["last"].metrics["val_accuracy"] == 0.6
    assert result.metrics["val_accuracy"] == 0.8


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(photos: Photos, tmp_path: Path) -> None:
    """Random changes were drawn by whichever worker came first, so that one worker more gave other weights."""
    runs = [train(photos, tmp_path / "runs", change(workers=workers, max_epochs=2))[1] for workers in (0, 0, 2)]
    states = [load_checkpoint(run.weights("last"), "director")[0] for run in runs]
    for state in states[1:]:
        assert all(torch.equal(states[0][name], state[name]) for name in state)
    other = train(photos, tmp_path / "runs", change(seed=1, max_epochs=2))[1]
    assert any(
        not torch.equal(states[0][name], tensor)
        for name, tensor in load_checkpoint(other.weights("last"), "director")[0].items()
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "one_cycle"},
        {"cache_photos": True},
        {"workers": 1},
        {"precision": "bf16"},
        {"clip_norm": 0.1},
        {"accumulate": 2},
        {"mixup_alpha": 0.4, "cutmix_alpha": 0.4},
    ],
)
def test_options_of_the_loop_work(photos: Photos, tmp_path: Path, settings: dict[str, Any]) -> None:
    result, _ = train(photos, tmp_path / "runs", change(**settings, max_epochs=2))
    assert len(result.epochs) == 2
    assert all(math.isfinite(value) for row in result.epochs for value in row.values())


@pytest.mark.parametrize("count", [20, 21, 22])
def test_a_step_in_several_passes_is_that_of_one(photos: Photos, tmp_path: Path, count: int) -> None:
    """The last step has fewer photos, and its last pass fewer than its first; each weighed as much as a whole pass."""
    some = photos[0][: count + 8], photos[1][: count + 8]
    settings = {"augment": AUGMENT_POLICIES["none"], "max_epochs": 3}
    states = []
    for split in ({"batch_size": 8}, {"batch_size": 4, "accumulate": 2}):
        torch.manual_seed(0)
        _, run = train(some, tmp_path / "runs", change(**settings, **split), PlainNetwork())
        states.append(load_state(run.snapshot)["network"])
    for name, weights in states[0].items():
        assert torch.allclose(weights, states[1][name], atol=1e-5), name


def test_clipping_shortens_the_steps(photos: Photos, tmp_path: Path) -> None:
    moved = []
    for settings in ({}, {"clip_norm": 1e-6}):
        torch.manual_seed(0)
        network = PlainNetwork()
        before = [p.detach().clone() for p in network.parameters()]
        train(photos, tmp_path / "runs", change(max_epochs=1, weight_decay=0, **settings), network)
        moved.append(sum(float((a - b.detach()).norm()) for a, b in zip(before, network.parameters(), strict=True)))
    assert moved[1] < 0.95 * moved[0]  # Adam divides by the gradients' size, all but its epsilon


def test_it_stops_when_nothing_is_learned_any_more(photos: Photos, tmp_path: Path) -> None:
    class Frozen(DirectorNetwork):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)  # not even the running means of its normalisation move

    config = change(
        learning_rate=1e-30, max_epochs=50, early_stopping_patience=3, plateau_patience=0, plateau_factor=0.1
    )
    result, _ = train(photos, tmp_path / "runs", config, Frozen("scene_net", SIZE, 2))
    assert len(result.epochs) == 1 + 3
    rates = [row["learning_rate"] for row in result.epochs]
    assert rates == pytest.approx([1e-30, 1e-30, 1e-31, 1e-32], rel=1e-6)  # the one that an epoch was trained with


def test_one_cycle_rises_and_falls(photos: Photos, tmp_path: Path) -> None:
    result, _ = train(photos, tmp_path / "runs", change(schedule="one_cycle", max_epochs=6))
    rates = [row["learning_rate"] for row in result.epochs]
    assert max(rates) > 0.8 * CONFIG.learning_rate
    assert rates.index(max(rates)) in (1, 2)
    assert rates[-1] < CONFIG.learning_rate / 100


def test_weights_decay(photos: Photos, tmp_path: Path) -> None:
    norms = []
    for decay in (0, 50):
        torch.manual_seed(0)
        network = PlainNetwork()
        train(photos, tmp_path / "runs", change(max_epochs=2, weight_decay=decay), network)
        norms.append(float(network.layers[3].weight.detach().norm()))
    assert norms[1] < 0.7 * norms[0]


def test_a_loss_that_is_no_number_stops_at_once_and_names_the_photos(
    photos: Photos, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    class NoNumberForWhite(PlainNetwork):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            white = pixels.amin(dim=(1, 2, 3)) > 2
            return torch.where(white[:, None], torch.nan, super().forward(pixels))

    Image.new("RGB", (40, 40), "white").save(photos[0][5])
    with pytest.raises(TrainingError, match=r"nan in epoch 1.*--set learning_rate=0\.0003.*run\.log"):
        train(photos, tmp_path / "runs", change(augment="none"), NoNumberForWhite())
    said = [record.getMessage() for record in heard.records if record.levelno == logging.ERROR]
    assert said == [f"Photos whose loss is no number: {photos[0][5]}"]


@pytest.mark.parametrize(
    "said", ["CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: not enough memory"]
)
def test_out_of_memory_says_what_to_halve(photos: Photos, tmp_path: Path, said: str) -> None:
    class Hungry(PlainNetwork):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(said)

    with pytest.raises(TrainingError, match="--set batch_size=4 --set accumulate=2"):
        train(photos, tmp_path / "runs", network=Hungry())
    with pytest.raises(TrainingError, match="lower image_size=32"):
        train(photos, tmp_path / "runs", change(batch_size=1), Hungry())


def test_another_error_of_the_network_shows_itself(photos: Photos, tmp_path: Path) -> None:
    class Broken(PlainNetwork):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        train(photos, tmp_path / "runs", network=Broken())


def test_unreadable_photos_are_left_out_and_named(
    photos: Photos, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    paths, _ = photos
    paths[3].write_bytes(b"not a photo")
    paths[30].unlink()
    result, _ = train(photos, tmp_path / "runs", change(max_epochs=1))
    assert len(result.epochs) == 1
    assert {paths[3].name, paths[30].name} <= {name for name in (p.name for p in paths) if name in heard.text}
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match="could be read"):
        train(photos, tmp_path / "runs")


def test_a_batch_of_one_photo_and_one_of_none_are_learned_from(photos: Photos, tmp_path: Path) -> None:
    """A single photo has no statistics for batch normalisation, and 1x1 maps raised an error."""
    paths, ids = photos
    for path in paths[:4]:
        path.write_bytes(b"")
    some = [*paths[:5], *paths[-8:]], np.concatenate([ids[:5], ids[-8:]])
    result, _ = train(some, tmp_path / "runs", change(batch_size=1, max_epochs=1))
    assert math.isfinite(result.epochs[0]["train_loss"])


def test_fp16_is_refused_on_a_cpu(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision=fp16 needs a GPU"):
        train(photos, tmp_path / "runs", change(precision="fp16"))


def test_a_snapshot_of_another_network_is_refused(photos: Photos, tmp_path: Path) -> None:
    _, run = train(photos, tmp_path / "runs", change(max_epochs=1))
    with pytest.raises(CheckpointError, match="not of this training"):
        train(photos, tmp_path / "runs", network=PlainNetwork(), run=run)
    run.snapshot.write_bytes(run.snapshot.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        train(photos, tmp_path / "runs", run=run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_stopped_training_goes_on_and_ends_as_if_it_had_not(
    photos: Photos, tmp_path: Path, number: int, where: str, heard: pytest.LogCaptureFixture
) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    class Interrupted(DirectorNetwork):
        passes = 0

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            type(self).passes += self.training == (where == "training")
            if type(self).passes == 2:
                signal.raise_signal(number)
            return super().forward(pixels)

    def stop(*_: object) -> None:
        raise Stop

    settings = {"mixup_alpha": 0.3, "dropout": 0.3, "batch_size": 5, "max_epochs": 3}
    torch.manual_seed(0)
    whole, whole_run = train(photos, tmp_path / "runs", change(**settings), DirectorNetwork("scene_net", SIZE, 2, 0.3))
    before = signal.signal(number, stop)
    try:
        run = Run.start(tmp_path / "runs", fit_origin(), change(**settings))
        torch.manual_seed(0)
        with pytest.raises(Stop):
            train(photos, tmp_path, change(**settings), Interrupted("scene_net", SIZE, 2, 0.3), run=run)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert f"--resume {run.folder}" in heard.text
    again, _ = train(photos, tmp_path, change(**settings), DirectorNetwork("scene_net", SIZE, 2, 0.3), run=run)
    assert without_speed(again.epochs) == without_speed(whole.epochs)
    states = [load_checkpoint(each.weights("loss"), "director")[0] for each in (run, whole_run)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def fit_origin() -> Any:
    from tiny_fit import ORIGIN

    return ORIGIN


def without_speed(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "photos_per_s"} for row in epochs]


def test_a_photo_changes_by_its_draw_alone(photos: Photos) -> None:
    preprocessing = Preprocessing(image_size=SIZE)
    augment = build_augment(AUGMENT_POLICIES["original"], preprocessing)
    data = PhotoDataset(photos[0], photos[1], preprocessing, augment=augment)
    first, again, other = data[Draw(3, 7)], data[Draw(3, 7)], data[Draw(3, 8)]
    assert first is not None and again is not None and other is not None  # noqa: PT018
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[2] == 3
