"""From a manifest to weights: what reaches the networks, and what is refused before an hour is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from geomind.checkpoints import director_path, expert_path, load_checkpoint, read_description
from geomind.config import AugmentConfig, BackboneConfig, DirectorConfig, ExpertConfig
from geomind.data.manifest import write_manifest
from geomind.errors import CheckpointError, ConfigError, ManifestError, OutputError, TrainingError
from geomind.geography.boxes import Box
from geomind.geography.regions import default_regions
from geomind.geography.sphere import haversine_km
from geomind.training import stages
from geomind.training.stages import Skipped, Trained, TrainingPhotos, train_all_experts, train_director, train_expert

REGIONS = default_regions()

TINY: dict[str, Any] = {
    "backbone": BackboneConfig(name="scene_net", weights="none"),
    "augment": AugmentConfig(crop_scale_min=1, color_jitter=0, hue_jitter=0),
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
    return write_photos(tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    return {"regions": REGIONS, "models": tmp_path / "saved_models", "runs": tmp_path / "runs"}


def edit(data: Path, **columns: Any) -> None:
    frame = pd.read_csv(data, keep_default_na=False).assign(**columns)
    frame.to_csv(data, index=False)


def test_the_director_knows_its_regions_middles(data: Path, folders: dict[str, Any]) -> None:
    trained = train_director(data, DIRECTOR, **folders)
    assert (trained.photos, trained.validation_photos) == (18, 6)
    described = read_description(director_path(folders["models"]))
    assert described.regions == REGIONS
    assert described.preprocessing.image_size == 32
    assert described.training_photos == 18
    for region_id, (latitude, longitude) in PLACES.items():
        north, east = described.region_medians[region_id]
        assert latitude <= north <= latitude + 7
        assert east == pytest.approx(longitude, abs=0.1)
    assert described.region_medians[11][0] < 0  # Oceania, without photos: where its people live
    assert (trained.run / "run.json").is_file()


def test_an_expert_learns_where_in_its_box(data: Path, folders: dict[str, Any]) -> None:
    config = EXPERT.model_copy(
        update={"max_epochs": 60, "batch_size": 3, "learning_rate": 3e-3, "early_stopping_patience": 60}
    )
    trained = train_expert(data, 6, config, **folders)
    assert (trained.photos, trained.validation_photos) == (6, 2)
    assert trained.metrics["val_median_km"] < 200  # the box is 6 degrees high, and red tells the step
    described = read_description(expert_path(folders["models"], REGIONS[6]))
    learned = [(36.0 + step, 138.0) for step in range(8) if step % 4 != 3]
    assert described.fitted_box == Box.fit(learned, quantile=config.box_quantile, padding=config.box_padding)
    wider = EXPERT.model_copy(update={"box_padding": 0.5})
    train_expert(data, 6, wider, **folders, overwrite=True)
    assert read_description(expert_path(folders["models"], REGIONS[6])).fitted_box.lat_max > 44


def test_targets_and_metrics_are_in_the_order_of_latitude_and_longitude(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def watch(task: Any, photos: Any, validation: Any, *rest: Any, **more: Any) -> None:
        seen.update(task=task, photos=photos, validation=validation)
        raise TrainingError("stop here")

    monkeypatch.setattr(stages, "fit", watch)
    with pytest.raises(TrainingError):
        train_expert(data, 6, EXPERT, **folders)
    box = Box.fit([(36.0 + step, 138.0) for step in range(8) if step % 4 != 3], quantile=0.005, padding=0.02)
    places = box.denormalize(np.stack([target.numpy() for _, target in (seen["validation"][i] for i in range(2))]))
    assert haversine_km(places, [(39, 138), (43, 138)]) == pytest.approx([0, 0], abs=0.01)
    right = box.normalize([(39, 138), (43, 138)]).astype(np.float32)
    assert seen["task"].score(right, right)["median_km"] == pytest.approx(0, abs=0.01)
    off = box.normalize([(40, 138), (44, 138)]).astype(np.float32)
    assert seen["task"].score(off, right)["median_km"] == pytest.approx(111.2, abs=0.2)


def test_only_training_photos_are_changed_at_random(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = TrainingPhotos.read(data, REGIONS, seed=0)
    config = DIRECTOR.model_copy(update={"augment": AugmentConfig(color_jitter=0.9)})
    rows = photos.of_split("train")
    changed = photos.dataset(rows, np.zeros(len(rows)), config, train=True)
    assert not torch.equal(changed[4][0], changed[4][0])  # type: ignore[index]
    plain = photos.dataset(rows, np.zeros(len(rows)), config, train=False)
    assert torch.equal(plain[4][0], plain[4][0])  # type: ignore[index]


def test_an_expert_may_start_from_the_director(data: Path, folders: dict[str, Any]) -> None:
    train_director(data, DIRECTOR, **folders)
    weights = director_path(folders["models"])
    config = EXPERT.model_copy(
        update={"backbone": BackboneConfig(name="scene_net", weights=str(weights)), "learning_rate": 1e-9}
    )
    train_expert(data, 6, config, **folders)
    director, _ = load_checkpoint(weights, "director")
    expert, described = load_checkpoint(expert_path(folders["models"], REGIONS[6]), "expert")
    name = "backbone.layers.0.weight"
    assert torch.allclose(director[name], expert[name], atol=1e-5)
    assert described.config["backbone"]["weights"] == weights.name  # no path of this machine travels with the weights


def test_all_experts_skip_regions_without_photos_and_those_there_already(data: Path, folders: dict[str, Any]) -> None:
    first = train_expert(data, 6, EXPERT, **folders)
    before = first.weights.read_bytes()
    done = train_all_experts(data, EXPERT, **folders)
    assert [type(outcome) for outcome in done] == [Trained if r in (2, 9) else Skipped for r in range(13)]
    assert "there already" in done[6].reason  # type: ignore[union-attr]
    assert first.weights.read_bytes() == before
    with pytest.raises(TrainingError, match="has one already, or no photos"):
        train_all_experts(data, EXPERT, **folders)
    assert isinstance(train_all_experts(data, EXPERT, **folders, overwrite=True)[6], Trained)


def test_what_is_wrong_for_all_experts_is_said_once_and_at_once(data: Path, folders: dict[str, Any]) -> None:
    """`--region all` met a misspelt backbone 13 times and then named another reason."""
    typo = EXPERT.model_copy(update={"backbone": BackboneConfig(name="scene_nett", weights="none")})
    with pytest.raises(ConfigError, match="scene_nett"):
        train_all_experts(data, typo, **folders)
    nowhere = EXPERT.model_copy(update={"backbone": BackboneConfig(name="scene_net", weights="none.pth")})
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        train_all_experts(data, nowhere, **folders)


def test_without_a_split_places_are_held_out(data: Path, folders: dict[str, Any]) -> None:
    edit(data, split="")
    photos = TrainingPhotos.read(data, REGIONS, seed=0)
    assert photos.split_here
    assert set(photos.rows["split"]) == {"train", "validation"}
    trained = train_expert(data, 6, EXPERT, **folders)
    assert trained.photos + trained.validation_photos >= 8


def test_photos_without_a_split_among_others_are_told(data: Path, heard: pytest.LogCaptureFixture) -> None:
    edit(data, split=["train", "validation", *[""] * 22])
    assert len(TrainingPhotos.read(data, REGIONS, seed=0).rows) == 2
    assert "22 photos have no split" in heard.text


def test_manifests_that_cannot_be_learned_from_are_refused(data: Path, folders: dict[str, Any]) -> None:
    edit(data, split="train")
    with pytest.raises(ManifestError, match="no row with split 'validation'"):
        train_director(data, DIRECTOR, **folders)
    edit(data, split="test")
    with pytest.raises(ManifestError, match="no row with split 'train'"):
        train_director(data, DIRECTOR, **folders)
    edit(data, split=["train"] * 8 + ["validation"] * 16)
    edit(data, split=lambda frame: np.where(frame["region_id"] == 2, "train", "validation"))
    with pytest.raises(ManifestError, match="no validation photo is of a region with training photos"):
        edit(data, split=lambda frame: np.where(frame["region_id"] == 2, "train", "validation"))
        train_director(data, DIRECTOR, **folders)
    edit(data, region_id=13)
    with pytest.raises(ManifestError, match=r"has no region of the table 'geomind-13' \(0 to 12\)"):
        train_director(data, DIRECTOR, **folders)
    edit(data, region_id="")
    with pytest.raises(ManifestError, match="has no region"):
        train_director(data, DIRECTOR, **folders)
    assert not folders["models"].exists()


def test_a_manifest_of_another_table_is_refused(data: Path, folders: dict[str, Any]) -> None:
    """Ids of another table of the same size were learned without a word."""
    edit(data, region_id=lambda frame: (frame["region_id"] + 1) % 13)
    with pytest.raises(ManifestError, match="24 of 24 photos have another region"):
        train_director(data, DIRECTOR, **folders)


def test_a_gpu_that_is_not_there(data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        train_director(data, DIRECTOR.model_copy(update={"device": "cuda"}), **folders)


def test_one_photo_of_a_region_trains_efficientnet_too(data: Path, folders: dict[str, Any]) -> None:
    """Batch normalisation stopped at the 1x1 maps of a single photo: "Expected more than 1 value per channel"."""
    edit(data, split=lambda frame: np.where(frame["image_path"] == "6-0.png", "train", "validation"))
    config = EXPERT.model_copy(update={"backbone": BackboneConfig(name="efficientnet_b0", weights="none")})
    assert train_expert(data, 6, config, **folders).photos == 1


def test_existing_weights_are_kept(data: Path, folders: dict[str, Any]) -> None:
    train_director(data, DIRECTOR, **folders)
    with pytest.raises(OutputError, match="--overwrite"):
        train_director(data, DIRECTOR, **folders)
    train_director(data, DIRECTOR, **folders, overwrite=True)
