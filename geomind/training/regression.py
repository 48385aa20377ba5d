"""Train a one-network regression: from a manifest to weights in the models folder. It knows no regions' boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geomind.baselines import GLOBE
from geomind.checkpoints import Description, regression_path
from geomind.config import ExpertConfig, RegressionConfig
from geomind.files import refuse_existing
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import from_unit_vectors, unit_vectors
from geomind.networks import EncoderWithHead, ExpertNetwork, VectorNetwork
from geomind.progress import SILENT, Progress
from geomind.training.answers import PlaceAnswers, answers_in_box, judge_places
from geomind.training.photos import TrainingPhotos
from geomind.training.stage import Stage, Trained, check_machine, describe_weights, start_from, train_stage


def train_regression(
    data: Path | str,
    config: RegressionConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    resume: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train one network to place the photos of the whole world, and put its weights into the models folder.

    Args:
        data: The manifest.
        config: The settings.
        regions: The table of regions, which the weights' description carries; nothing is learned of it.
        models: The folder of models.
        runs: The folder of runs; a new one is made there.
        resume: The run folder of an interrupted training, which is gone on with instead.
        overwrite: Replace a regression that is there.
        progress: Shows epochs, loss and median distance.

    Raises:
        GeoMindError: the manifest, the settings, the starting weights or the output cannot be used.
    """
    weights = regression_path(models)
    refuse_existing(weights, overwrite=overwrite)
    check_machine(config)
    photos = TrainingPhotos.read(data, regions, config.seed)
    train, validation = photos.train, photos.validation
    photos.require_validation()
    torch.manual_seed(config.seed)
    network: EncoderWithHead
    if config.output == "square":
        network = ExpertNetwork(config.backbone.name, config.image_size, config.dropout, pooling=config.pooling)
        # The Experts' answers and their loss: what differs from them is the box, and nothing else.
        answers = answers_in_box(GLOBE, ExpertConfig(loss="smooth_l1"))
    else:
        network = VectorNetwork(config.backbone.name, config.image_size, config.dropout, pooling=config.pooling)
        answers = PlaceAnswers(
            encode=lambda points: unit_vectors(points).astype(np.float32),
            judge=lambda vectors, truth: judge_places(from_unit_vectors(vectors), truth),
            loss=squared_chord,
            validation_loss=squared_chord,
            described={},
        )
    start_from(config, network)

    def describe(metrics: Mapping[str, float]) -> Description:
        return describe_weights("regression", config, regions, metrics, len(train), **answers.described)

    task = answers.task("one network's regression", network, validation.points)
    stage = Stage(
        called="Regression",
        run_name=f"regression-{config.output}",
        network=network,
        photos=photos,
        targets=answers.encode(train.points),
        validation_targets=answers.encode(validation.points),
        task=task,
        describe=describe,
        weights=weights,
    )
    return train_stage(stage, config, regions, Path(runs), resume, progress)


def squared_chord(vectors: Tensor, targets: Tensor) -> Tensor:
    """Measure the squared straight line between unit vectors: (N, 3), (N, 3) -> (N,), 0 to 4.

    It grows with the great-circle distance everywhere and has a slope of 0 at none and at the antipode, so that the
    answer to a photo that could be anywhere is the direction of the mean vector.
    """
    return (vectors.float() - targets).square().sum(dim=1)
