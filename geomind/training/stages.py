"""The two stages: train the Director, train the Experts. From a manifest to weights in the models folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.backbones import load_backbone_weights
from geomind.checkpoints import Description, check_regions, director_path, expert_path, read_description
from geomind.config import DirectorConfig, ExpertConfig, TrainingConfig
from geomind.data.dataset import PhotoDataset
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.splits import split_by_place
from geomind.director import DirectorNetwork
from geomind.errors import ConfigError, ManifestError, TrainingError
from geomind.expert import ExpertNetwork
from geomind.files import atomic_path, refuse_existing
from geomind.geography.boxes import Box
from geomind.geography.places import cities
from geomind.geography.regions import Region, RegionTable
from geomind.geography.sphere import geodesic_median, haversine_km
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.training.augment import build_augment
from geomind.training.fit import Task, fit
from geomind.training.losses import director_loss, director_sampler, expert_loss
from geomind.training.runs import Run

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
"""Held out by place where the manifest has no split, as in the original project (90/10)."""


@dataclass(frozen=True)
class Trained:
    """What a training ended with."""

    name: str
    photos: int
    validation_photos: int
    epochs: int
    metrics: dict[str, float]
    weights: Path
    """The weights that `geomind infer` will use."""
    run: Path
    """The run folder: settings, metrics, curves."""


@dataclass(frozen=True)
class Skipped:
    """A region whose Expert was not trained, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class TrainingPhotos:
    """The photos of a manifest that a training uses, with the split settled."""

    manifest: Path
    rows: pd.DataFrame
    split_here: bool
    """The manifest had no split, so one by place was made."""

    @classmethod
    def read(cls, manifest: Path | str, regions: RegionTable, seed: int) -> TrainingPhotos:
        """Read a manifest's training and validation rows; without a split, hold out places.

        Raises:
            ManifestError: there is no such manifest, a region id is not in the table, or no row is for training.
        """
        rows = read_manifest(manifest)
        ids = rows["region_id"].to_numpy(dtype=np.int64, na_value=-1)
        if ((ids < 0) | (ids >= len(regions))).any():
            worst = rows["image_path"].iloc[int(np.argmax((ids < 0) | (ids >= len(regions))))]
            raise ManifestError(
                f"{manifest}: {worst} has no region of the table '{regions.name}' (0 to {len(regions) - 1}). "
                "Make the manifest again with `geomind prepare`."
            )
        told = regions.region_ids(rows["country"], rows[["latitude", "longitude"]].to_numpy())
        if (other := int((told != ids).sum())) > len(rows) // 2:
            raise ManifestError(
                f"{manifest}: {other:,} of {len(rows):,} photos have another region than the table '{regions.name}' "
                f"gives them. Name their table with --regions, or relabel them: `geomind regions assign {manifest}`."
            )
        split_here = bool((rows["split"] == "").all())
        if split_here:
            rows = rows.assign(split=_hold_out(rows, seed))
            logger.info("%s has no split: %.0f%% of its places are held out.", manifest, 100 * VALIDATION_SHARE)
        elif unsplit := int((rows["split"] == "").sum()):
            logger.warning("%s: %d photos have no split and are left out.", manifest, unsplit)
        rows = rows[rows["split"].isin(["train", "validation"])]
        if not (rows["split"] == "train").any():
            raise ManifestError(f"{manifest} has no row with split 'train'. Split it with `geomind split {manifest}`.")
        return cls(Path(manifest), rows, split_here)

    def of_split(self, split: str) -> pd.DataFrame:
        """Give the rows of one split."""
        return self.rows[self.rows["split"] == split]

    def of_expert(self, region: Region) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Give the training and validation rows of one region."""
        train, validation = (
            rows[rows["region_id"] == region.id] for rows in map(self.of_split, ("train", "validation"))
        )
        if self.split_here and len(train) == 0:
            train = validation  # the region's few places happened to be held out, by us
        return train, validation

    def dataset(
        self, rows: pd.DataFrame, targets: NDArray[Any], config: TrainingConfig, *, train: bool
    ) -> PhotoDataset:
        """Make the torch data set of some rows."""
        preprocessing = Preprocessing(image_size=config.image_size)
        return PhotoDataset(
            [photo_path(self.manifest, path) for path in rows["image_path"]],
            targets,
            preprocessing,
            augment=build_augment(config.augment, preprocessing) if train else None,
            cache=config.cache_photos,
        )


def train_director(
    data: Path | str,
    config: DirectorConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train the Director on a manifest and put its weights into the models folder.

    Raises:
        GeoMindError: the manifest, the settings, the starting weights or the output cannot be used.
    """
    weights = director_path(models)
    refuse_existing(weights, overwrite=overwrite)
    photos = TrainingPhotos.read(data, regions, config.seed)
    train, validation = photos.of_split("train"), photos.of_split("validation")
    if len(validation) == 0:
        raise ManifestError(f"{data} has no row with split 'validation'. Split it with `geomind split {data}`.")
    region_ids = train["region_id"].to_numpy(dtype=np.int64)
    if not validation["region_id"].isin(region_ids).any():
        raise ManifestError(
            f"{data}: no validation photo is of a region with training photos. Split it with `geomind split {data}`."
        )
    _seed(config.seed)
    network = DirectorNetwork(config.backbone.name, config.image_size, len(regions), config.dropout)
    load_backbone_weights(network.backbone, config.backbone.name, config.backbone.weights)
    medians = region_medians(train[["latitude", "longitude"]].to_numpy(), region_ids, regions)

    def describe(metrics: Mapping[str, float]) -> Description:
        return _describe("director", config, regions, metrics, len(train), region_medians=medians)

    run = Run.start(
        runs, "director", config, photos=len(train), validation_photos=len(validation), data=Path(data).name
    )
    result = fit(
        Task("the Director", network, director_loss(config, region_ids, len(regions)), _accuracy, shown="accuracy"),
        photos.dataset(train, region_ids, config, train=True),
        photos.dataset(validation, validation["region_id"].to_numpy(dtype=np.int64), config, train=False),
        config,
        run,
        describe,
        sampler=director_sampler(config, region_ids, len(regions)),
        progress=progress,
    )
    _install(run.weights, weights)
    return Trained("Director", len(train), len(validation), result.epochs, result.metrics, weights, run.folder)


def train_expert(
    data: Path | str,
    region_id: int,
    config: ExpertConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train the Expert of one region on a manifest and put its weights into the models folder.

    Raises:
        GeoMindError: the region has no photos, or the manifest, settings, weights or output cannot be used.
    """
    region = regions[region_id]
    refuse_existing(expert_path(models, region), overwrite=overwrite)
    _check_director(models, config, regions)
    photos = TrainingPhotos.read(data, regions, config.seed)
    return _train_expert(photos, region, config, regions, Path(models), Path(runs), progress)


def train_all_experts(
    data: Path | str,
    config: ExpertConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[Trained | Skipped]:
    """Train the Expert of every region; one without photos is skipped, and so is one that is there already.

    An interrupted training of all thus goes on with the first Expert that is missing; ``overwrite`` trains all anew.

    Raises:
        GeoMindError: the manifest, the settings, the starting weights or the output cannot be used, or no Expert could
            be trained.
    """
    refuse_existing(expert_path(models, regions[0]), overwrite=True)
    _check_director(models, config, regions)
    photos = TrainingPhotos.read(data, regions, config.seed)
    done: list[Trained | Skipped] = []
    with progress.track("Training all Experts", len(regions)) as advance:
        for region in regions.regions:
            weights = expert_path(models, region)
            if weights.is_file() and not overwrite:
                done.append(Skipped(region.name, f"{weights} is there already; --overwrite trains it anew"))
            elif len(photos.of_expert(region)[0]) == 0:
                logger.warning("No photo of region %d '%s' for training: no Expert for it.", region.id, region.name)
                done.append(Skipped(region.name, "no photo for training"))
            else:
                done.append(_train_expert(photos, region, config, regions, Path(models), Path(runs), progress))
            advance(1, note=region.name)
    if not any(isinstance(outcome, Trained) for outcome in done):
        raise TrainingError(
            f"No Expert was trained: every region of {data} has one already, or no photos. See --overwrite."
        )
    return done


def _check_director(models: Path | str, config: ExpertConfig, regions: RegionTable) -> None:
    """Make sure that an Expert will fit the Director that is there already, before an hour is spent on it."""
    path = director_path(models)
    if not path.is_file():
        return
    director = read_description(path)
    check_regions(path, director, regions)
    if director.preprocessing != Preprocessing(image_size=config.image_size):
        raise ConfigError(
            f"The Director {path} sees {director.preprocessing.image_size} pixels, this Expert would see "
            f"{config.image_size}. Train it with --set image_size={director.preprocessing.image_size}."
        )


def _train_expert(
    photos: TrainingPhotos,
    region: Region,
    config: ExpertConfig,
    regions: RegionTable,
    models: Path,
    runs: Path,
    progress: Progress,
) -> Trained:
    train, validation = photos.of_expert(region)
    if len(train) == 0:
        raise ManifestError(
            f"No photo of region {region.id} '{region.name}' for training in {photos.manifest}. Add some, or leave its "
            "photos to the region's median place."
        )
    if len(validation) == 0:
        logger.warning("Region %d '%s' has no validation photo: judged on its training photos.", region.id, region.name)
        validation = train
    train_places, places = (rows[["latitude", "longitude"]].to_numpy() for rows in (train, validation))
    box = Box.fit(train_places, quantile=config.box_quantile, padding=config.box_padding)
    _seed(config.seed)
    network = ExpertNetwork(config.backbone.name, config.image_size, config.dropout)
    load_backbone_weights(network.backbone, config.backbone.name, config.backbone.weights)

    def median_km(square: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, float]:
        distance_km = haversine_km(box.denormalize(square), box.denormalize(targets))
        return {"median_km": float(np.median(distance_km))}

    def describe(metrics: Mapping[str, float]) -> Description:
        sides = (box.lat_min, box.lat_max, box.lon_min, box.lon_max)
        return _describe("expert", config, regions, metrics, len(train), region_id=region.id, box=sides)

    name = f"expert-{region.id:02d}"
    run = Run.start(runs, name, config, photos=len(train), validation_photos=len(validation), data=photos.manifest.name)
    result = fit(
        Task(f"Expert {region.id} {region.name}", network, expert_loss(config), median_km, shown="median_km"),
        photos.dataset(train, box.normalize(train_places).astype(np.float32), config, train=True),
        photos.dataset(validation, box.normalize(places).astype(np.float32), config, train=False),
        config,
        run,
        describe,
        progress=progress,
    )
    weights = expert_path(models, region)
    _install(run.weights, weights)
    return Trained(region.name, len(train), len(validation), result.epochs, result.metrics, weights, run.folder)


def region_medians(
    points: NDArray[np.float64], region_ids: NDArray[np.int64], regions: RegionTable
) -> dict[int, tuple[float, float]]:
    """Find each region's median place; a region without photos takes the median of its city dwellers."""
    medians = {}
    for region in regions.regions:
        here = region_ids == region.id
        if here.any():
            median = geodesic_median(points[here])
        else:
            table = cities()
            inside = regions.region_ids(table.country, table.points) == region.id
            median = geodesic_median(table.points[inside], table.population[inside]) if inside.any() else np.zeros(2)
        medians[region.id] = (float(median[0]), float(median[1]))
    return medians


def _hold_out(rows: pd.DataFrame, seed: int) -> NDArray[np.str_]:
    return split_by_place(
        rows[["latitude", "longitude"]].to_numpy(),
        shares={"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE},
        groups=rows["group"].to_numpy(),
        strata=rows["region_id"].to_numpy(dtype=np.int64),
        seed=seed,
    )


def _accuracy(logits: NDArray[np.float32], region_ids: NDArray[Any]) -> dict[str, float]:
    return {"accuracy": float((logits.argmax(axis=1) == region_ids).mean())}


def _describe(
    kind: Literal["director", "expert"],
    config: TrainingConfig,
    regions: RegionTable,
    metrics: Mapping[str, float],
    photos: int,
    **own: Any,
) -> Description:
    """Say what weights are; their file may go anywhere, so no path of this machine goes with it."""
    settings = config.model_dump()
    settings["backbone"]["weights"] = Path(config.backbone.weights).name
    return Description(
        kind=kind,
        region_table=regions.to_dict(),
        preprocessing=Preprocessing(image_size=config.image_size),
        backbone=config.backbone.name,
        config=settings,
        metrics=dict(metrics),
        training_photos=photos,
        **own,
    )


def _seed(seed: int) -> None:
    import pytorch_lightning as lightning

    lightning.seed_everything(seed, workers=True, verbose=False)


def _install(best: Path, weights: Path) -> None:
    with atomic_path(weights) as temporary:
        shutil.copyfile(best, temporary)
