"""One stage of training: a network, its photos and its settings → a run folder, and weights in the models folder.

It knows no regions, boxes or heads; what is trained brings its own losses, targets and description.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from geomind.backbones import load_backbone_weights
from geomind.checkpoints import Description, state_checksum
from geomind.config import TrainingConfig
from geomind.errors import ConfigError
from geomind.files import atomic_path
from geomind.geography.regions import RegionTable
from geomind.networks import EncoderWithHead
from geomind.photos import Preprocessing
from geomind.progress import Progress
from geomind.training.features import FeatureCache, FeatureDataset
from geomind.training.fit import Photos, Task, fit
from geomind.training.freezing import freeze
from geomind.training.photos import TrainingPhotos
from geomind.training.processes import start_fabric
from geomind.training.runs import Origin, Run
from geomind.training.tracking import require_tensorboard


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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A network to train, and all that is its own about it."""

    called: str
    """What its user knows it by, as in `Director` or a region's name."""
    run_name: str
    """What its run folders begin with."""
    network: EncoderWithHead
    photos: TrainingPhotos
    targets: NDArray[np.float32]
    """(training photos, …)."""
    validation_targets: NDArray[Any]
    """(validation photos, …)."""
    task: Task
    """What to minimise, and how it is judged; it trains the network, or its head where the rest is frozen."""
    describe: Callable[[Mapping[str, float]], Description]
    weights: Path
    """Where the best weights go."""
    cells: str = ""
    """Fingerprint of the cells that it answers with, where these do not follow from manifest and settings."""
    often: NDArray[np.float64] | None = None
    """(training photos,) how often each is drawn."""


def check_machine(config: TrainingConfig) -> None:
    """Make sure that this machine has what the settings ask for, before an hour is spent.

    Raises:
        ConfigError: it has no such device, or one that cannot do it, or decoding processes could not be spoken to.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    start_fabric(config)
    temporary = tempfile.gettempdir()
    if config.workers and len(os.fsencode(temporary)) > _LONGEST_TEMPORARY and sys.platform != "win32":
        raise ConfigError(
            f"Processes that decode photos cannot be spoken to through {temporary}, whose name is too long for a "
            f"socket: set TMPDIR to a folder of at most {_LONGEST_TEMPORARY} characters, or --set workers=0."
        )
    if config.tensorboard:
        require_tensorboard()


_LONGEST_TEMPORARY = 70
"""Bytes of the temporary folder's name that leave room for a socket's, which has 104 in all on macOS and 108 on Linux:
torch would wait for ever for photos that cannot be sent. Python's `multiprocessing` appends up to 32."""


def start_from(config: TrainingConfig, network: EncoderWithHead) -> None:
    """Give a network's encoder the weights that it starts from, and freeze of it what the settings say.

    Raises:
        ConfigError: the settings freeze more than it has.
        CheckpointError: the weights cannot be had or do not fit.
    """
    load_backbone_weights(network.backbone, config.backbone.name, config.backbone.weights)
    freeze(network.backbone, config.freeze)


def train_stage(
    stage: Stage,
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
        learned, judged = _data(stage, config, features_folder(runs), fabric, progress)
        task = replace(stage.task, network=stage.network.head) if config.freeze == "backbone" else stage.task
        result = fit(
            task, learned, judged, config, run, stage.describe, fabric=fabric, weights=stage.often,
            shards=None if learned.ready else stage.photos.train.shards, progress=progress,
        )  # fmt: skip
        if fabric.is_global_zero:
            with atomic_path(stage.weights) as temporary:
                shutil.copyfile(run.weights(config.select), temporary)
            run.finish(result.epochs)
    return Trained(
        name=stage.called,
        photos=len(stage.photos.train),
        validation_photos=len(stage.photos.validation),
        epochs=len(result.epochs),
        metrics=result.metrics,
        weights=stage.weights,
        run=run.folder,
    )


def origin_of(
    name: str, photos: TrainingPhotos, regions: RegionTable, network: EncoderWithHead, cells: str = ""
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
        cells=cells,
    )


def features_folder(runs: Path | str) -> Path:
    """Say where features of photos are kept, for all runs."""
    return Path(runs) / "features"


def describe_weights(
    kind: Literal["director", "expert", "hierarchical", "regression"],
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
        pooling=config.pooling,
        config=settings,
        metrics=dict(metrics),
        training_photos=photos,
        **own,
    )


def _open_run(
    stage: Stage,
    config: TrainingConfig,
    regions: RegionTable,
    runs: Path,
    resume: Path | str | None,
    fabric: Fabric,
) -> Run:
    """Make the run folder, or open the one to resume; the first process does, for all."""
    folder = Path()
    if fabric.is_global_zero:
        origin = origin_of(stage.run_name, stage.photos, regions, stage.network, stage.cells)
        run = Run.start(runs, origin, config) if resume is None else Run.resume(resume, origin, config)
        folder = run.folder
    return Run(fabric.broadcast(folder))


def _data(
    stage: Stage, config: TrainingConfig, features: Path, fabric: Fabric, progress: Progress
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
