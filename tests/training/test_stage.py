"""From a manifest to weights: what reaches the networks, what is served, what is refused before an hour is spent."""

from __future__ import annotations

import csv
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_photos import DIRECTOR, EXPERT, PLACES, REGIONS, Interrupted, edit

from geomind.checkpoints import director_path, expert_path, load_checkpoint, read_description
from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig, TrainingConfig
from geomind.data.dataset import Draw
from geomind.errors import CheckpointError, ConfigError, ManifestError, MissingExtraError, OutputError, TrainingError
from geomind.geography.boxes import Box
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import haversine_km
from geomind.training import expert, stage
from geomind.training.director import train_director
from geomind.training.expert import train_expert
from geomind.training.losses import region_weights
from geomind.training.stage import Trained

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture
def handed_over(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Any:  # of settings: what `fit` is given for them
    def prepare(config: TrainingConfig) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def fit(task: Any, photos: Any, validation: Any, *_: Any, **more: Any) -> None:
            seen.update(task=task, photos=photos, validation=validation, **more)
            raise TrainingError("stop here")

        with monkeypatch.context() as patch, pytest.raises(TrainingError, match="stop here"):
            patch.setattr(stage, "fit", fit)
            if isinstance(config, DirectorConfig):
                train_director(data, config, **folders, overwrite=True)
            else:
                train_expert(data, 6, config, **folders, overwrite=True)  # type: ignore[arg-type]
        return seen

    return prepare


def changed(config: Any, **settings: Any) -> Any:
    """Give the settings with some others, checked like those of a user."""
    return type(config).model_validate({**config.model_dump(), **settings})


def labels(photos: Any) -> np.ndarray:
    return np.stack([photos[Draw(number, 0)][1].numpy() for number in range(len(photos))])


def epochs_of(trained: Trained) -> list[dict[str, float]]:
    with (trained.run / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


# ── what is trained, and what its weights say of themselves ──


def test_the_director_knows_its_regions_middles(data: Path, folders: dict[str, Any]) -> None:
    trained = train_director(data, DIRECTOR, **folders)
    assert (trained.photos, trained.validation_photos, trained.epochs) == (18, 6, 1)
    assert trained.metrics.keys() == {"val_loss", "val_accuracy", "val_geoscore"}
    described = read_description(director_path(folders["models"]))
    assert described.regions == REGIONS
    assert described.preprocessing.image_size == 32
    assert described.training_photos == 18
    for region_id, (latitude, longitude) in PLACES.items():
        north, east = described.region_medians[region_id]
        assert latitude <= north <= latitude + 7
        assert east == pytest.approx(longitude, abs=0.1)
    assert described.region_medians[11][0] < 0  # Oceania, without photos: where its people live
    assert sorted(path.name for path in trained.run.iterdir()) == [
        "best-accuracy.safetensors", "best-geoscore.safetensors", "best-loss.safetensors", "config.yaml",
        "last.safetensors", "metrics.csv", "run.json", "run.log",
    ]  # fmt: skip
    assert "the Director: epoch 1" in (trained.run / "run.log").read_text()


def test_an_expert_learns_where_in_its_box(data: Path, folders: dict[str, Any]) -> None:
    config = changed(EXPERT, max_epochs=60, batch_size=3, learning_rate=3e-3, early_stopping_patience=60)
    trained = train_expert(data, 6, config, **folders)
    assert (trained.photos, trained.validation_photos) == (6, 2)
    assert trained.metrics["val_median_km"] < 200  # the box is 6 degrees high, and red tells the step
    described = read_description(expert_path(folders["models"], REGIONS[6]))
    learned = [(36.0 + step, 138.0) for step in range(8) if step % 4 != 3]
    assert described.fitted_box == Box.fit(learned, quantile=config.box_quantile, padding=config.box_padding)
    train_expert(data, 6, changed(EXPERT, box_padding=0.5), **folders, overwrite=True)
    assert read_description(expert_path(folders["models"], REGIONS[6])).fitted_box.lat_max > 44


def test_an_experts_axes_are_latitude_and_longitude(handed_over: Any) -> None:
    seen = handed_over(EXPERT)
    box = Box.fit([(36.0 + step, 138.0) for step in range(8) if step % 4 != 3], quantile=0.005, padding=0.02)
    assert haversine_km(box.denormalize(labels(seen["validation"])), [(39, 138), (43, 138)]) == pytest.approx(
        [0, 0], abs=0.01
    )
    score = seen["task"].score
    right = box.normalize([(39, 138), (43, 138)]).astype(np.float32)
    assert score(right, np.array([0, 1]))["median_km"] == pytest.approx(0, abs=0.01)
    assert score(right[1:], np.array([1]))["median_km"] == pytest.approx(0, abs=0.01)  # where the first is unreadable
    off = box.normalize([(40, 138), (44, 138)]).astype(np.float32)
    assert score(off, np.array([0, 1]))["median_km"] == pytest.approx(111.2, abs=0.2)
    assert score(off, np.array([0, 1]))["geoscore"] < score(right, np.array([0, 1]))["geoscore"] <= 5000


def test_a_director_is_scored_by_region_and_by_its_middle(handed_over: Any) -> None:
    score = handed_over(DIRECTOR)["task"].score
    logits = np.full((6, 13), -9, dtype=np.float32)
    logits[np.arange(6), [2, 2, 6, 6, 9, 9]] = 9
    right = score(logits, np.arange(6))
    assert right["accuracy"] == 1
    assert 3000 < right["geoscore"] < 5000  # the middle of a region is some hundred km off
    assert score(np.roll(logits, 2, axis=0), np.arange(6))["accuracy"] == 0
    assert score(logits[4:], np.array([4, 5]))["accuracy"] == 1


def test_an_expert_may_start_from_the_director(data: Path, folders: dict[str, Any]) -> None:
    train_director(data, DIRECTOR, **folders)
    weights = director_path(folders["models"])
    config = changed(EXPERT, backbone={"name": "scene_net", "weights": str(weights)}, learning_rate=1e-9)
    train_expert(data, 6, config, **folders)
    director, _ = load_checkpoint(weights, "director")
    expert, described = load_checkpoint(expert_path(folders["models"], REGIONS[6]), "expert")
    name = "backbone.layers.0.weight"
    assert torch.allclose(director[name], expert[name], atol=1e-5)
    assert described.config["backbone"]["weights"] == weights.name  # no path of this machine travels with the weights


def test_one_photo_of_a_region_trains_efficientnet_too(data: Path, folders: dict[str, Any]) -> None:
    """Batch normalisation stopped at the 1x1 maps of a single photo: "Expected more than 1 value per channel"."""
    edit(data, split=lambda frame: np.where(frame["image_path"] == "6-0.png", "train", "validation"))
    config = EXPERT.model_copy(update={"backbone": BackboneConfig(name="efficientnet_b0", weights="none")})
    assert train_expert(data, 6, config, **folders).photos == 1


# ── every setting reaches what it is for ──


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The length of the gradient of each step of an optimizer."""
    lengths: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *rest: Any, **more: Any) -> Any:
        gradients = [weight.grad for group in self.param_groups for weight in group["params"]]
        lengths.append(math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None)))
        return step(self, *rest, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return lengths


@pytest.mark.parametrize(("accumulate", "made"), [(1, 6), (2, 3), (4, 2), (9, 1)])
def test_accumulated_passes_make_one_step(
    data: Path, folders: dict[str, Any], steps: list[float], accumulate: int, made: int
) -> None:
    trained = train_director(data, changed(DIRECTOR, batch_size=3, accumulate=accumulate), **folders)
    assert len(steps) == made
    assert trained.epochs == 1


def test_long_gradients_are_shortened(data: Path, folders: dict[str, Any], steps: list[float]) -> None:
    train_director(data, changed(DIRECTOR, batch_size=3), **folders)
    assert min(steps) > 0.02
    steps.clear()
    train_director(data, changed(DIRECTOR, batch_size=3, clip_norm=0.01), **folders, overwrite=True)
    assert steps == pytest.approx([0.01] * 6, rel=1e-3)


def test_half_precision_passes_learn_and_serve_float32(data: Path, folders: dict[str, Any], handed_over: Any) -> None:
    assert handed_over(DIRECTOR)["fabric"].strategy.precision.precision == "32-true"
    half = changed(DIRECTOR, precision="bf16")
    assert handed_over(half)["fabric"].strategy.precision.precision == "bf16-mixed"
    for kind, config in (("director", half), ("expert", changed(EXPERT, precision="bf16", loss="great_circle"))):
        trained = train_director(data, config, **folders) if kind == "director" else train_expert(
            data, 6, config, **folders
        )  # fmt: skip
        state, _ = load_checkpoint(trained.weights, kind)
        assert all(tensor.dtype != torch.bfloat16 and tensor.isfinite().all() for tensor in state.values())
        assert math.isfinite(trained.metrics["val_loss"])


def test_scaled_half_precision_needs_a_gpu(data: Path, folders: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="precision=bf16"):
        train_director(data, changed(DIRECTOR, precision="fp16"), **folders)
    assert not folders["runs"].exists()


@pytest.fixture
def learned(data: Path, folders: dict[str, Any]) -> Path:
    """A trunk worth freezing."""
    return train_director(data, DIRECTOR, **{**folders, "models": folders["models"] / "before"}).weights


def frozen(config: Any, what: str, weights: Path, **more: Any) -> Any:
    return changed(config, freeze=what, backbone={"name": "scene_net", "weights": str(weights)}, **more)


def moved(before: Path, after: Path, kind: str) -> set[str]:
    """Name what differs between two networks' trunks."""
    old, _ = load_checkpoint(before, "director")
    new, _ = load_checkpoint(after, kind)
    return {name for name in old if name.startswith("backbone.") and not torch.equal(old[name], new[name])}


@pytest.mark.parametrize("kind", ["director", "expert"])
@pytest.mark.parametrize(("what", "kept"), [("none", 0), ("stem", 1), ("blocks:1", 2), ("backbone", 6)])
def test_what_is_frozen_is_served_as_it_was(
    data: Path, folders: dict[str, Any], learned: Path, kind: str, what: str, kept: int
) -> None:
    if kind == "director":
        trained = train_director(data, frozen(DIRECTOR, what, learned), **folders)
    else:
        trained = train_expert(data, 6, frozen(EXPERT, what, learned), **folders)
    moving = {f"backbone.layers.{layer}" for part in range(kept, 6) for layer in (3 * part, 3 * part + 1)}
    assert {name.rpartition(".")[0] for name in moved(learned, trained.weights, kind)} == moving


def test_more_blocks_than_there_are(data: Path, folders: dict[str, Any], learned: Path) -> None:
    with pytest.raises(ConfigError, match=r"freeze=blocks:99: this backbone has \d+ blocks"):
        train_expert(data, 6, frozen(EXPERT, "blocks:99", learned), **folders)


def test_under_a_frozen_trunk_each_photo_is_computed_once_for_all(
    data: Path, folders: dict[str, Any], learned: Path
) -> None:
    def parts() -> set[Path]:
        return set((folders["runs"] / "features").rglob("part-*.npy"))

    trained = train_director(data, frozen(DIRECTOR, "backbone", learned, max_epochs=3), **folders)
    computed = parts()
    assert computed
    assert trained.epochs == 3
    assert len(epochs_of(trained)) == 3
    for region_id in PLACES:
        train_expert(data, region_id, frozen(EXPERT, "backbone", learned, max_epochs=3), **folders)
    assert parts() == computed
    (data.parent / "6-0.png").write_bytes((data.parent / "2-0.png").read_bytes() + b" ")  # another photo
    train_expert(data, 6, frozen(EXPERT, "backbone", learned), **folders, overwrite=True)
    assert len(parts()) == len(computed) + 1


def test_a_frozen_trunk_sees_unreadable_photos_too(data: Path, folders: dict[str, Any], learned: Path) -> None:
    for name in ("6-0.png", "6-3.png"):
        (data.parent / name).write_bytes(b"no photo")
    trained = train_expert(data, 6, frozen(EXPERT, "backbone", learned), **folders)
    assert math.isfinite(trained.metrics["val_median_km"])


def rarer(data: Path) -> None:
    """Leave one training photo of Japan and two of Kenya, beside six of Norway."""
    gone = [f"6-{step}.png" for step in (1, 2, 4, 5, 6)] + [f"9-{step}.png" for step in (2, 4, 5, 6)]
    edit(data, split=lambda frame: np.where(frame["image_path"].isin(gone), "test", frame["split"]))


def test_a_balanced_sampler_shows_regions_equally_often(data: Path, handed_over: Any) -> None:
    rarer(data)
    assert handed_over(DIRECTOR)["weights"] is None
    often = handed_over(changed(DIRECTOR, balanced_sampler=True, class_weights="none"))["weights"]
    assert often == pytest.approx([1 / 18] * 6 + [1 / 3] + [1 / 6] * 2)


@pytest.mark.parametrize("how", ["none", "inverse", "effective_number"])
def test_class_weights_make_rare_regions_count(data: Path, handed_over: Any, how: Any) -> None:
    rarer(data)
    seen = handed_over(changed(DIRECTOR, class_weights=how, class_weight_cap=1.5))
    losses = seen["task"].loss(torch.zeros(9, 13), torch.from_numpy(labels(seen["photos"])))
    ids = np.array([2] * 6 + [6] + [9] * 2)
    weights = np.ones(13) if how == "none" else region_weights(ids, 13, how, 1.5)
    assert losses.numpy() == pytest.approx(weights[ids] * math.log(13), rel=1e-5)
    judged = seen["task"].validation_loss(torch.zeros(3, 13), torch.tensor([2, 6, 9]))
    assert judged.numpy() == pytest.approx([math.log(13)] * 3, rel=1e-5)  # whatever is trained with


def test_focal_loss_is_trained_with_and_not_judged_by(handed_over: Any) -> None:
    seen = handed_over(changed(DIRECTOR, focal_gamma=2, class_weights="none"))
    target = torch.eye(13)[:1]
    assert float(seen["task"].loss(torch.zeros(1, 13), target)) == pytest.approx((12 / 13) ** 2 * math.log(13))
    assert float(seen["task"].validation_loss(torch.zeros(1, 13), torch.tensor([0]))) == pytest.approx(math.log(13))


def test_labels_are_smoothed_as_asked(handed_over: Any) -> None:
    plain = labels(handed_over(DIRECTOR)["photos"])
    assert plain.max(axis=1).tolist() == [1] * 18
    own = plain.argmax(axis=1)
    assert own.tolist() == [2] * 6 + [6] * 6 + [9] * 6
    even = labels(handed_over(changed(DIRECTOR, label_smoothing=0.26))["photos"])
    assert even == pytest.approx(0.74 * plain + 0.02, abs=1e-6)
    near = handed_over(changed(DIRECTOR, label_smoothing_km=3000))
    shares = labels(near["photos"])
    assert shares.sum(axis=1) == pytest.approx(np.ones(18), abs=1e-5)
    assert (shares.argmax(axis=1) == own).all()
    assert set(np.flatnonzero(shares.sum(axis=0))) == set(PLACES)
    assert (shares[:6, 9] > shares[:6, 6]).all()  # from Norway, Kenya is nearer than Japan
    judged = labels(near["validation"])
    assert judged.tolist() == [2, 2, 6, 6, 9, 9]  # what it is judged by is the plain region


@pytest.mark.parametrize("mix", ["mixup_alpha", "cutmix_alpha"])
def test_photos_are_blended_if_asked(data: Path, folders: dict[str, Any], handed_over: Any, mix: str) -> None:
    assert handed_over(DIRECTOR)["task"].mix is None
    config = changed(DIRECTOR, **{mix: 1.0})
    task = handed_over(config)["task"]
    torch.manual_seed(0)
    shares = torch.cat([task.mix(torch.rand(13, 3, 32, 32), torch.eye(13))[1] for _ in range(4)])
    assert ((shares > 0) & (shares < 1)).any()
    assert shares.sum(dim=1).numpy() == pytest.approx(np.ones(52), abs=1e-5)
    assert math.isfinite(train_director(data, config, **folders).metrics["val_loss"])


@pytest.mark.parametrize("loss", ["mse", "smooth_l1", "great_circle"])
def test_an_expert_minimises_what_is_asked(data: Path, folders: dict[str, Any], handed_over: Any, loss: str) -> None:
    config = changed(EXPERT, loss=loss)
    seen = handed_over(config)
    targets = torch.from_numpy(labels(seen["photos"]))
    box = Box.fit([(36.0 + step, 138.0) for step in range(8) if step % 4 != 3], quantile=0.005, padding=0.02)
    one_north = torch.from_numpy(box.normalize([(37.0 + step, 138.0) for step in (0, 1, 2, 4, 5, 6)])).float()
    losses = seen["task"].loss(one_north, targets)
    if loss == "great_circle":
        assert losses.numpy() == pytest.approx([0.1112] * 6, abs=2e-4)
    else:
        off = 1 / (box.lat_max - box.lat_min)
        each = off**2 / 2 if loss == "mse" else (off - 0.05) / 2
        inside = losses[:5].numpy()  # the last one's target lies beyond the box
        assert inside[1:] == pytest.approx([each] * 4, rel=0.02)
    assert math.isfinite(train_expert(data, 6, config, **folders).metrics["val_loss"])


@pytest.mark.parametrize("select", ["loss", "accuracy", "geoscore"])
def test_the_chosen_epoch_is_served(data: Path, folders: dict[str, Any], select: str) -> None:
    config = changed(DIRECTOR, select=select, max_epochs=6, batch_size=3, learning_rate=0.05)
    trained = train_director(data, config, **folders)
    assert trained.weights.read_bytes() == (trained.run / f"best-{select}.safetensors").read_bytes()
    epochs = epochs_of(trained)
    sign = -1 if select == "loss" else 1
    best = max(epochs, key=lambda epoch: sign * epoch[f"val_{select}"])  # the first of equals
    assert trained.metrics == {name: pytest.approx(best[name], rel=1e-4) for name in trained.metrics}
    assert read_description(trained.weights).metrics == trained.metrics
    last = read_description(trained.run / "last.safetensors").metrics
    assert last["val_loss"] == pytest.approx(epochs[-1]["val_loss"], rel=1e-4)
    lowest = min(epochs, key=lambda epoch: epoch["val_loss"])
    assert (best is lowest) == (select == "loss")


@pytest.mark.parametrize("select", ["loss", "geoscore"])
def test_an_experts_chosen_epoch_is_served(data: Path, folders: dict[str, Any], select: str) -> None:
    trained = train_expert(data, 6, changed(EXPERT, select=select, max_epochs=3), **folders)
    assert trained.weights.read_bytes() == (trained.run / f"best-{select}.safetensors").read_bytes()
    assert not (trained.run / "best-accuracy.safetensors").exists()


def test_an_expert_has_no_accuracy_to_choose_by() -> None:
    with pytest.raises(ValueError, match="an Expert has no accuracy"):
        ExpertConfig(select="accuracy")


def test_photos_sent_to_an_expert_move_neither_its_box_nor_its_judges(
    data: Path, folders: dict[str, Any], handed_over: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_director(data, DIRECTOR, **folders)
    alone = train_expert(data, 6, EXPERT, **folders)
    box = read_description(alone.weights).fitted_box
    monkeypatch.setattr(expert, "route", lambda *_, **__: np.full(18, 6))
    routed = changed(EXPERT, routed=True)
    seen = handed_over(routed)
    assert len(seen["photos"]) == 18
    assert [path.name for path in seen["validation"].paths] == ["6-3.png", "6-7.png"]
    targets = labels(seen["photos"])
    assert haversine_km(box.denormalize(targets[6:12]), seen_points(6)) == pytest.approx(np.zeros(6), abs=0.01)
    assert ((targets[6:12] > -0.1) & (targets[6:12] < 1.1)).all()
    assert (np.abs(targets[:6] - 0.5).max(axis=1) > 0.5).all()  # Norway is no place in Japan's box
    trained = train_expert(data, 6, routed, **folders, overwrite=True)
    assert (trained.photos, trained.validation_photos) == (18, 2)
    assert read_description(trained.weights).fitted_box == box


def seen_points(region_id: int) -> list[tuple[float, float]]:
    latitude, longitude = PLACES[region_id]
    return [(latitude + step, longitude) for step in range(8) if step % 4 != 3]


# ── what is warned of, and what is refused ──


def test_a_double_correction_is_warned_of(handed_over: Any, heard: pytest.LogCaptureFixture) -> None:
    handed_over(changed(DIRECTOR, balanced_sampler=True, class_weights="none"))
    assert "rare regions" not in heard.text
    handed_over(changed(DIRECTOR, balanced_sampler=True, class_weights="inverse"))
    assert "balanced_sampler and class_weights=inverse both make up for rare regions" in heard.text


def test_a_region_with_fewer_photos_than_a_batch_is_warned_of(
    handed_over: Any, heard: pytest.LogCaptureFixture
) -> None:
    handed_over(changed(EXPERT, batch_size=6))
    assert not heard.records
    handed_over(changed(EXPERT, batch_size=7))
    assert "Region 6 'East Asia' has 6 training photos, fewer than a batch of 7" in heard.text


def test_a_region_without_validation_photos_is_judged_on_its_own(
    data: Path, handed_over: Any, heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(data, split=lambda frame: np.where(frame["region_id"] == 6, "train", frame["split"]))
    assert len(handed_over(EXPERT)["validation"]) == 8
    assert "no validation photo: judged on its training photos" in heard.text


def test_manifests_that_cannot_be_learned_from_are_refused(data: Path, folders: dict[str, Any]) -> None:
    edit(data, split="train")
    with pytest.raises(ManifestError, match="no row with split 'validation'"):
        train_director(data, DIRECTOR, **folders)
    edit(data, split=lambda frame: np.where(frame["region_id"] == 2, "train", "validation"))
    with pytest.raises(ManifestError, match="no validation photo is of a region with training photos"):
        train_director(data, DIRECTOR, **folders)
    with pytest.raises(ManifestError, match="No photo of region 6 'East Asia' for training"):
        train_expert(data, 6, EXPERT, **folders)
    assert not folders["models"].exists()
    assert not folders["runs"].exists()


def test_routing_needs_a_director(data: Path, folders: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"routed=true .* `geomind train-director`"):
        train_expert(data, 6, changed(EXPERT, routed=True), **folders)
    assert not folders["runs"].exists()


def test_an_expert_must_fit_its_director(data: Path, folders: dict[str, Any], two_regions: RegionTable) -> None:
    train_director(data, DIRECTOR, **folders)
    with pytest.raises(ConfigError, match="--set image_size=32"):
        train_expert(data, 6, changed(EXPERT, image_size=64), **folders)
    with pytest.raises(CheckpointError, match="region table"):
        train_expert(data, 1, EXPERT, **{**folders, "regions": two_regions})


def test_what_this_machine_has_not_is_said_before_anything_is_read(
    folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    nowhere = Path("none.csv")
    for train in (
        lambda config: train_director(nowhere, changed(DIRECTOR, **config), **folders),
        lambda config: train_expert(nowhere, 6, changed(EXPERT, **config), **folders),
    ):
        with pytest.raises(ConfigError, match="no CUDA GPU"):
            train({"device": "cuda"})
        with pytest.raises(MissingExtraError, match=r"geomind\[track\]"):
            train({"tensorboard": True})


def test_a_temporary_folder_of_too_long_a_name_is_said(
    folders: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training waited for ever for photos: the process that decoded them could not open its socket there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 80)))
    with pytest.raises(ConfigError, match=r"too long for a socket: set TMPDIR .* or --set workers=0"):
        train_director("none.csv", changed(DIRECTOR, workers=1), **folders)


def test_existing_weights_are_kept(data: Path, folders: dict[str, Any]) -> None:
    train_director(data, DIRECTOR, **folders)
    with pytest.raises(OutputError, match="--overwrite"):
        train_director(data, DIRECTOR, **folders)
    train_director(data, DIRECTOR, **folders, overwrite=True)


# ── going on after an interruption ──

LONGER = changed(DIRECTOR, max_epochs=3, batch_size=4, augment="light")
"""Fifteen batches."""


def interrupted(data: Path, folders: dict[str, Any], config: Any = LONGER, at_batch: int = 7) -> Path:
    with pytest.raises(KeyboardInterrupt):
        if isinstance(config, DirectorConfig):
            train_director(data, config, **folders, progress=Interrupted(at_batch))
        else:
            train_expert(data, 6, config, **folders, progress=Interrupted(at_batch))
    (run,) = (path for path in folders["runs"].iterdir() if path.name != "features")
    assert (run / "snapshot.safetensors").is_file()
    return run


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    data: Path, folders: dict[str, Any], learned: Path, freeze: str
) -> None:
    config = frozen(LONGER, freeze, learned)
    whole = train_director(data, config, **{**folders, "runs": data.parent / "elsewhere"})
    expected, _ = load_checkpoint(whole.weights, "director")
    whole.weights.unlink()
    for path in folders["runs"].glob("director-*"):  # that of the trunk
        path.rename(data.parent / path.name)
    run = interrupted(data, folders, config)
    assert not whole.weights.exists()
    gone_on = train_director(data, config, **folders, resume=run)
    assert gone_on.run == run
    state, _ = load_checkpoint(gone_on.weights, "director")
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert not (run / "snapshot.safetensors").exists()
    assert (gone_on.epochs, gone_on.metrics) == (whole.epochs, whole.metrics)
    with pytest.raises(ConfigError, match=r"is finished: there is nothing to resume"):
        train_director(data, config, **folders, resume=run, overwrite=True)


def test_a_machines_own_settings_may_change_on_the_way(data: Path, folders: dict[str, Any]) -> None:
    run = interrupted(data, folders)
    other = changed(LONGER, snapshot_seconds=1, device="auto", workers=1)
    assert train_director(data, other, **folders, resume=run).epochs == 3


def test_another_training_is_not_gone_on_with(data: Path, folders: dict[str, Any], two_regions: RegionTable) -> None:
    run = interrupted(data, folders)
    with pytest.raises(ConfigError, match=r"no run folder: it holds no readable run\.json"):
        train_director(data, LONGER, **folders, resume=data.parent)
    with pytest.raises(ConfigError, match=r"it was started with batch_size=4, not 5"):
        train_director(data, changed(LONGER, batch_size=5), **folders, resume=run)
    with pytest.raises(ConfigError, match=r"it was started with augment\.vertical_flip=False, not True"):
        train_director(data, changed(LONGER, augment={"vertical_flip": True}), **folders, resume=run)
    with pytest.raises(ConfigError, match="it trains director, not expert-06"):
        train_expert(data, 6, EXPERT, **folders, resume=run)
    edit(data, longitude=lambda frame: frame["longitude"] + 0.5)
    with pytest.raises(ConfigError, match=r"its manifest was another, or .*manifest\.csv has changed since"):
        train_director(data, LONGER, **folders, resume=run)


def test_a_training_of_other_regions_is_not_gone_on_with(
    data: Path, folders: dict[str, Any], two_regions: RegionTable
) -> None:
    edit(data, region_id=1)
    run = interrupted(data, {**folders, "regions": two_regions})
    other = RegionTable("two", (replace(two_regions[0], name="Sunset"), two_regions[1]))
    with pytest.raises(ConfigError, match="it knows another table of regions"):
        train_director(data, LONGER, **{**folders, "regions": other}, resume=run)


def test_an_expert_is_not_gone_on_with_once_other_photos_are_routed_to_it(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot's order of photos was applied to others, after the Director had been trained anew."""
    train_director(data, DIRECTOR, **folders)
    (done,) = folders["runs"].glob("director-*")
    done.rename(data.parent / done.name)
    config = changed(EXPERT, routed=True, max_epochs=3, batch_size=4)
    monkeypatch.setattr(expert, "route", lambda *_, **__: np.full(18, 6))
    run = interrupted(data, folders, config)
    monkeypatch.setattr(expert, "route", lambda *_, **__: np.full(18, 9))
    with pytest.raises(ConfigError, match="it learned from 18 photos, not 6"):
        train_expert(data, 6, config, **folders, resume=run)
