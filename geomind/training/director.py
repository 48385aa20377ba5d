"""Train the Director: from a manifest to weights in the models folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geomind.checkpoints import Description, director_path, state_checksum
from geomind.config import DirectorConfig
from geomind.errors import ManifestError
from geomind.files import refuse_existing
from geomind.geography.medians import region_medians
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import haversine_km
from geomind.metrics import geoscore
from geomind.networks import DirectorNetwork
from geomind.progress import SILENT, Progress
from geomind.training.fit import Task
from geomind.training.labels import label_distribution
from geomind.training.losses import director_loss, double_corrections, photo_weights, plain_cross_entropy
from geomind.training.mixing import build_mix
from geomind.training.photos import TrainingPhotos
from geomind.training.stage import Stage, Trained, check_machine, describe_weights, start_from, train_stage

logger = logging.getLogger(__name__)


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
    photos.require_validation()
    if not np.isin(validation.region_ids, train.region_ids).any():
        raise ManifestError(
            f"{data}: no validation photo is of a region with training photos. Split it with `geomind split {data}`."
        )
    if warning := double_corrections(config):
        logger.warning(warning)
    torch.manual_seed(config.seed)
    network = DirectorNetwork(
        config.backbone.name, config.image_size, len(regions), config.dropout, pooling=config.pooling
    )
    start_from(config, network)
    medians = region_medians(train.points, train.region_ids, regions)
    places = np.array([medians[region.id] for region in regions.regions])

    def score(logits: NDArray[np.float32], rows: NDArray[np.int64]) -> dict[str, float]:
        chosen = logits.argmax(axis=1)
        accuracy = (chosen == validation.region_ids[rows]).mean()
        distance_km = haversine_km(places[chosen], validation.points[rows])
        return {"accuracy": float(accuracy), "geoscore": float(geoscore(distance_km).mean())}

    def describe(metrics: Mapping[str, float]) -> Description:
        trunk = state_checksum(network.backbone.state_dict())
        return describe_weights("director", config, regions, metrics, len(train), region_medians=medians, trunk=trunk)

    task = Task(
        title="the Director",
        network=network,
        whole=network,
        loss=director_loss(config, train.region_ids, len(regions)),
        validation_loss=plain_cross_entropy,
        score=score,
        shown="accuracy",
        mix=build_mix(config),
    )
    stage = Stage(
        called="Director",
        run_name="director",
        network=network,
        photos=photos,
        targets=label_distribution(config, train.points, train.region_ids, len(regions)),
        validation_targets=validation.region_ids,
        task=task,
        describe=describe,
        weights=weights,
        often=photo_weights(train.region_ids, len(regions)) if config.balanced_sampler else None,
    )
    return train_stage(stage, config, regions, Path(runs), resume, progress)
