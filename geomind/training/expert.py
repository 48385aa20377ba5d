"""Train one Expert: from a manifest, or the photos of a region, to weights in the models folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geomind.checkpoints import (
    Description,
    check_regions,
    director_path,
    expert_path,
    read_description,
    state_checksum,
)
from geomind.config import BackboneConfig, ExpertConfig
from geomind.director import Director
from geomind.errors import CheckpointError, ConfigError, ManifestError
from geomind.files import refuse_existing
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.regions import Region, RegionTable
from geomind.geography.sphere import Points
from geomind.networks import CellsNetwork, ExpertNetwork
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.training.answers import answers_in_box, answers_in_cells
from geomind.training.photos import TrainingPhotos
from geomind.training.processes import start_fabric
from geomind.training.routing import route
from geomind.training.stage import (
    Stage,
    Trained,
    check_machine,
    describe_weights,
    features_folder,
    start_from,
    train_stage,
)

logger = logging.getLogger(__name__)


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
    code = fit_cells(config, train.points[own]) if config.head == "cells" else None
    answers = (
        answers_in_cells(code, [1.0], config.cells)
        if code is not None
        else answers_in_box(
            Box.fit(train.points[own], quantile=config.box_quantile, padding=config.box_padding), config
        )
    )
    network = start_network(config, code)
    trunk = state_checksum(network.backbone.state_dict()) if config.trunk == "director" else None

    def describe(metrics: Mapping[str, float]) -> Description:
        return describe_weights(
            "expert", config, regions, metrics, len(train), region_id=region.id, trunk=trunk, **answers.described
        )

    whole = None if trunk is None else nn.ModuleDict({"head": network.head})
    task = answers.task(f"Expert {region.id} {region.name}", network, validation.points, whole=whole)
    stage = Stage(
        called=region.name,
        run_name=expert_run_name(region),
        network=network,
        photos=photos,
        targets=answers.encode(train.points),
        validation_targets=answers.encode(validation.points),
        task=task,
        describe=describe,
        weights=expert_path(models, region),
    )
    return train_stage(stage, config, regions, Path(runs), resume, progress)


def with_trunk(config: ExpertConfig, models: Path | str) -> ExpertConfig:
    """Fill in what `trunk` says: the Director's image encoder, frozen.

    Raises:
        CheckpointError: there is no Director.
    """
    if config.trunk == "own":
        return config
    director = read_description(director_path(models))
    backbone = BackboneConfig(name=director.backbone, weights=str(director_path(models)))
    return config.model_copy(update={"backbone": backbone, "freeze": "backbone", "pooling": director.pooling})


def fit_cells(config: ExpertConfig, points: Points) -> CellCode:
    """Fit an Expert's cells to the training places of its region: (n, 2) degrees."""
    cells = {"city": config.cells_count}
    tree = CellTree.fit(points, cells, min_photos=min(config.cells.min_photos, len(points)), seed=config.seed)
    return CellCode.fit(tree, points)


def start_network(config: ExpertConfig, code: CellCode | None = None) -> ExpertNetwork | CellsNetwork:
    """Build an Expert's network as it is before training, to answer in a box or in cells.

    Raises:
        ConfigError: the settings name no encoder that there is, or freeze more than it has.
        CheckpointError: its starting weights cannot be had or do not fit.
    """
    torch.manual_seed(config.seed)
    network: ExpertNetwork | CellsNetwork
    if code is None:
        network = ExpertNetwork(config.backbone.name, config.image_size, config.dropout, pooling=config.pooling)
    else:
        network = CellsNetwork(
            config.backbone.name, config.image_size, code.sizes, config.dropout, pooling=config.pooling
        )
    start_from(config, network)
    return network


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
        return route(director, photos.train.paths, features_folder(runs), workers=config.workers, progress=progress)


def expert_run_name(region: Region) -> str:
    """Say what the run folders of an Expert begin with."""
    return f"expert-{region.id:02d}"
