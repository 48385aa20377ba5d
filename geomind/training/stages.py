"""The two stages: train the Director, train an Expert. From a manifest to weights in the models folder."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geomind.backbones import load_backbone_weights
from geomind.checkpoints import (
    Description,
    check_regions,
    director_path,
    expert_path,
    read_description,
    state_checksum,
)
from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig, TrainingConfig
from geomind.director import Director
from geomind.errors import CheckpointError, ConfigError, ManifestError
from geomind.files import atomic_path, refuse_existing
from geomind.geography.boxes import Box
from geomind.geography.places import cities
from geomind.geography.regions import Region, RegionTable
from geomind.geography.sphere import geodesic_median, haversine_km
from geomind.metrics import geoscore
from geomind.networks import DirectorNetwork, ExpertNetwork
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.training.features import FeatureCache, FeatureDataset
from geomind.training.fit import Photos, Score, Task, fit
from geomind.training.freezing import freeze
from geomind.training.labels import label_distribution
from geomind.training.losses import (
    Loss,
    director_loss,
    double_corrections,
    expert_loss,
    photo_weights,
    plain_cross_entropy,
)
from geomind.training.mixing import Mix, build_mix
from geomind.training.photos import TrainingPhotos
from geomind.training.processes import start_fabric
from geomind.training.routing import route
from geomind.training.runs import Origin, Run
from geomind.training.tracking import require_tensorboard

logger = logging.getLogger(__name__)


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


def train_director(
    data: Path | str,
    config: DirectorConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    resume: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train the Director on a manifest and put its weights into the models folder.

    Args:
        data: The manifest.
        config: The settings.
        regions: The table of regions.
        models: The folder of models.
        runs: The folder of runs; a new one is made there.
        resume: The run folder of an interrupted training, which is gone on with instead.
        overwrite: Replace a Director that is there.
        progress: Shows epochs, loss and accuracy.

    Raises:
        GeoMindError: the manifest, the settings, the starting weights or the output cannot be used.
    """
    weights = director_path(models)
    refuse_existing(weights, overwrite=overwrite)
    check_machine(config)
    photos = TrainingPhotos.read(data, regions, config.seed)
    train, validation = photos.train, photos.validation
    if len(validation) == 0:
        raise ManifestError(f"{data} has no row with split 'validation'. Split it with `geomind split {data}`.")
    if not np.isin(validation.region_ids, train.region_ids).any():
        raise ManifestError(
            f"{data}: no validation photo is of a region with training photos. Split it with `geomind split {data}`."
        )
    if warning := double_corrections(config):
        logger.warning(warning)
    torch.manual_seed(config.seed)
    network = DirectorNetwork(config.backbone.name, config.image_size, len(regions), config.dropout)
    _start_from(config, network)
    medians = region_medians(train.points, train.region_ids, regions)
    places = np.array([medians[region.id] for region in regions.regions])

    def score(logits: NDArray[np.float32], rows: NDArray[np.int64]) -> dict[str, float]:
        chosen = logits.argmax(axis=1)
        accuracy = (chosen == validation.region_ids[rows]).mean()
        distance_km = haversine_km(places[chosen], validation.points[rows])
        return {"accuracy": float(accuracy), "geoscore": float(geoscore(distance_km).mean())}

    def describe(metrics: Mapping[str, float]) -> Description:
        trunk = state_checksum(network.backbone.state_dict())
        return _describe("director", config, regions, metrics, len(train), region_medians=medians, trunk=trunk)

    stage = _Stage(
        name="director",
        title="the Director",
        network=network,
        whole=network,
        photos=photos,
        targets=label_distribution(config, train.points, train.region_ids, len(regions)),
        validation_targets=validation.region_ids,
        loss=director_loss(config, train.region_ids, len(regions)),
        validation_loss=plain_cross_entropy,
        score=score,
        shown="accuracy",
        describe=describe,
        weights=weights,
        often=photo_weights(train.region_ids, len(regions)) if config.balanced_sampler else None,
        mix=build_mix(config),
    )
    return _train(stage, config, regions, Path(runs), resume, progress)


def train_expert(
    data: Path | str,
    region_id: int,
    config: ExpertConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    resume: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train the Expert of one region on a manifest and put its weights into the models folder.

    Args:
        data: The manifest.
        region_id: The region.
        config: The settings.
        regions: The table of regions.
        models: The folder of models; a Director that is there must see the same pixels.
        runs: The folder of runs; a new one is made there.
        resume: The run folder of an interrupted training, which is gone on with instead.
        overwrite: Replace an Expert that is there.
        progress: Shows epochs, loss and median distance.

    Raises:
        GeoMindError: the region has no photos, or the manifest, settings, weights or output cannot be used.
    """
    region = regions[region_id]
    refuse_existing(expert_path(models, region), overwrite=overwrite)
    config = with_trunk(config, models)
    check_machine(config)
    check_director(models, config, regions)
    photos = TrainingPhotos.read(data, regions, config.seed)
    routed = routed_regions(photos, config, models, runs, progress)
    return train_on_region(
        photos.of_region(region, routed), region, config, regions=regions, models=models, runs=runs, resume=resume,
        progress=progress,
    )  # fmt: skip


def train_on_region(
    photos: TrainingPhotos,
    region: Region,
    config: ExpertConfig,
    *,
    regions: RegionTable,
    models: Path | str,
    runs: Path | str,
    resume: Path | str | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train an Expert on the photos that are its own, as `train_expert` does for those of a whole manifest."""
    train, validation = photos.train, photos.validation
    own = train.region_ids == region.id
    if not own.any():
        raise ManifestError(
            f"No photo of region {region.id} '{region.name}' for training in {photos.manifest}. Add some, or leave its "
            "photos to the region's median place."
        )
    if len(train) < config.batch_size:
        logger.warning(
            "Region %d '%s' has %d training photos, fewer than a batch of %d: every step sees them all.",
            region.id, region.name, len(train), config.batch_size,
        )  # fmt: skip
    if len(validation) == 0:
        logger.warning("Region %d '%s' has no validation photo: judged on its training photos.", region.id, region.name)
        photos = replace(photos, validation=train.of(own))
        validation = photos.validation
    box = Box.fit(train.points[own], quantile=config.box_quantile, padding=config.box_padding)
    loss = expert_loss(config, box)

    def score(square: NDArray[np.float32], rows: NDArray[np.int64]) -> dict[str, float]:
        distance_km = haversine_km(box.denormalize(square), validation.points[rows])
        return {"median_km": float(np.median(distance_km)), "geoscore": float(geoscore(distance_km).mean())}

    def describe(metrics: Mapping[str, float]) -> Description:
        sides = (box.lat_min, box.lat_max, box.lon_min, box.lon_max)
        return _describe("expert", config, regions, metrics, len(train), region_id=region.id, box=sides, trunk=trunk)

    network = start_network(config)
    trunk = state_checksum(network.backbone.state_dict()) if config.trunk == "director" else None
    stage = _Stage(
        name=expert_run_name(region),
        title=f"Expert {region.id} {region.name}",
        network=network,
        whole=network if trunk is None else nn.ModuleDict({"head": network.head}),
        photos=photos,
        targets=box.normalize(train.points).astype(np.float32),
        validation_targets=box.normalize(validation.points).astype(np.float32),
        loss=loss,
        validation_loss=loss,
        score=score,
        shown="median_km",
        describe=describe,
        weights=expert_path(models, region),
    )
    return replace(_train(stage, config, regions, Path(runs), resume, progress), name=region.name)


def with_trunk(config: ExpertConfig, models: Path | str) -> ExpertConfig:
    """Fill in what `trunk` says: the Director's image encoder, frozen.

    Raises:
        CheckpointError: there is no Director.
    """
    if config.trunk == "own":
        return config
    director = read_description(director_path(models))
    backbone = BackboneConfig(name=director.backbone, weights=str(director_path(models)))
    return config.model_copy(update={"backbone": backbone, "freeze": "backbone"})


def start_network(config: ExpertConfig) -> ExpertNetwork:
    """Build an Expert's network as it is before training.

    Raises:
        ConfigError: the settings name no encoder that there is, or freeze more than it has.
        CheckpointError: its starting weights cannot be had or do not fit.
    """
    torch.manual_seed(config.seed)
    network = ExpertNetwork(config.backbone.name, config.image_size, config.dropout)
    _start_from(config, network)
    return network


def _start_from(config: TrainingConfig, network: DirectorNetwork | ExpertNetwork) -> None:
    load_backbone_weights(network.backbone, config.backbone.name, config.backbone.weights)
    freeze(network.backbone, config.freeze)


def check_machine(config: TrainingConfig) -> None:
    """Make sure that this machine has what the settings ask for, before an hour is spent.

    Raises:
        ConfigError: it has no such device, or one that cannot do it.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    start_fabric(config)
    if config.tensorboard:
        require_tensorboard()


def check_director(models: Path | str, config: ExpertConfig, regions: RegionTable) -> None:
    """Make sure that an Expert will fit the Director that is there already, before an hour is spent on it.

    Raises:
        CheckpointError: it was trained on another table of regions.
        ConfigError: it sees other pixels.
    """
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


def routed_regions(
    photos: TrainingPhotos, config: ExpertConfig, models: Path | str, runs: Path | str, progress: Progress
) -> NDArray[np.int64] | None:
    """Ask the Director which region it sends each training photo to, where the settings want Experts to know.

    Raises:
        CheckpointError: there is no Director.
    """
    if not config.routed:
        return None
    path = director_path(models)
    if not path.is_file():
        raise CheckpointError(
            f"routed=true learns from the photos that the Director sends to each Expert, and {path} is not there. "
            "Train it first with `geomind train-director`."
        )
    fabric = start_fabric(config)
    director = Director.load(path, fabric.device)
    with fabric.rank_zero_first():  # the others find its features ready
        return route(director, photos.train.paths, _features(runs), workers=config.workers, progress=progress)


def expert_run_name(region: Region) -> str:
    """Say what the run folders of an Expert begin with."""
    return f"expert-{region.id:02d}"


def origin_of(
    name: str, photos: TrainingPhotos, regions: RegionTable, network: DirectorNetwork | ExpertNetwork
) -> Origin:
    """Say what a training is made of, as its run folder keeps it; the network is as it is before training."""
    return Origin(
        name=name,
        trunk=state_checksum(network.backbone.state_dict()),
        data=str(photos.manifest.absolute()),
        data_hash=photos.manifest_hash,
        regions=regions.fingerprint,
        photos=len(photos.train),
        validation_photos=len(photos.validation),
    )


def region_medians(
    points: NDArray[np.float64], region_ids: NDArray[np.int64], regions: RegionTable
) -> dict[int, tuple[float, float]]:
    """Find each region's median place; a region without photos takes the median of its city dwellers."""
    medians = {}
    table = cities()
    city_regions = regions.region_ids(table.country, table.points)
    for region in regions.regions:
        here = region_ids == region.id
        if here.any():
            median = geodesic_median(points[here])
        else:
            inside = city_regions == region.id
            median = geodesic_median(table.points[inside], table.population[inside]) if inside.any() else np.zeros(2)
        medians[region.id] = (float(median[0]), float(median[1]))
    return medians


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A network to train, and all that is its own about it."""

    name: str
    """What its run folders begin with."""
    title: str
    network: DirectorNetwork | ExpertNetwork
    whole: nn.Module
    """What is saved of it."""
    photos: TrainingPhotos
    targets: NDArray[np.float32]
    """(training photos, …)."""
    validation_targets: NDArray[Any]
    """(validation photos, …)."""
    loss: Loss
    validation_loss: Loss
    score: Score
    shown: str
    describe: Callable[[Mapping[str, float]], Description]
    weights: Path
    """Where the best weights go."""
    often: NDArray[np.float64] | None = None
    """(training photos,) how often each is drawn."""
    mix: Mix | None = None


def _train(
    stage: _Stage,
    config: TrainingConfig,
    regions: RegionTable,
    runs: Path,
    resume: Path | str | None,
    progress: Progress,
) -> Trained:
    """Train a network in a run folder, and put its best weights where they are used."""
    fabric = start_fabric(config)
    run = _open_run(stage, config, regions, runs, resume, fabric)
    with run.log() if fabric.is_global_zero else contextlib.nullcontext():
        learned, judged = _data(stage, config, _features(runs), fabric, progress)
        task = Task(
            title=stage.title,
            network=stage.network.head if config.freeze == "backbone" else stage.network,
            whole=stage.whole,
            loss=stage.loss,
            validation_loss=stage.validation_loss,
            score=stage.score,
            shown=stage.shown,
            mix=stage.mix,
        )
        result = fit(
            task, learned, judged, config, run, stage.describe, fabric=fabric, weights=stage.often,
            shards=None if learned.ready else stage.photos.train.shards, progress=progress,
        )  # fmt: skip
        if fabric.is_global_zero:
            with atomic_path(stage.weights) as temporary:
                shutil.copyfile(run.weights(config.select), temporary)
            run.finish(result.epochs)
    return Trained(
        name=stage.title.removeprefix("the "),
        photos=len(stage.photos.train),
        validation_photos=len(stage.photos.validation),
        epochs=len(result.epochs),
        metrics=result.metrics,
        weights=stage.weights,
        run=run.folder,
    )


def _open_run(
    stage: _Stage,
    config: TrainingConfig,
    regions: RegionTable,
    runs: Path,
    resume: Path | str | None,
    fabric: Fabric,
) -> Run:
    """Make the run folder, or open the one to resume; the first process does, for all."""
    folder = Path()
    if fabric.is_global_zero:
        origin = origin_of(stage.name, stage.photos, regions, stage.network)
        run = Run.start(runs, origin, config) if resume is None else Run.resume(resume, origin, config)
        folder = run.folder
    return Run(fabric.broadcast(folder))


def _data(
    stage: _Stage, config: TrainingConfig, features: Path, fabric: Fabric, progress: Progress
) -> tuple[Photos, Photos]:
    """Make the data sets to learn from and to be judged by: photos or, under a frozen trunk, their features."""
    train, validation = stage.photos.train, stage.photos.validation
    if config.freeze != "backbone":
        return (
            train.dataset(stage.targets, config, augment=True),
            validation.dataset(stage.validation_targets, config, augment=False),
        )
    trunk = stage.network.backbone.to(fabric.device)
    cache = FeatureCache(features, config.backbone.name, trunk, Preprocessing(image_size=config.image_size))
    sets: list[Photos] = []
    for rows, targets in ((train, stage.targets), (validation, stage.validation_targets)):
        with fabric.rank_zero_first():
            kept = cache.features(rows.paths, workers=config.workers, progress=progress)
        sets.append(FeatureDataset(rows.paths, targets, *kept))
    return sets[0], sets[1]


def _features(runs: Path | str) -> Path:
    """Say where features of photos are kept, for all runs."""
    return Path(runs) / "features"


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
