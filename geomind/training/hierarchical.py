"""Train the hierarchical network: from a manifest to weights in the models folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from geomind.checkpoints import Description, hierarchical_path
from geomind.config import HierarchicalConfig
from geomind.data.regions_fit import PhotoPlaces, fit_cells
from geomind.errors import ConfigError
from geomind.files import refuse_existing
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.regions import RegionTable
from geomind.networks import CellsNetwork
from geomind.progress import SILENT, Progress
from geomind.training.answers import answers_in_cells
from geomind.training.photos import PhotoRows, TrainingPhotos
from geomind.training.stage import Stage, Trained, check_machine, describe_weights, start_from, train_stage


def train_hierarchical(
    data: Path | str,
    config: HierarchicalConfig,
    *,
    regions: RegionTable,
    cells: Path | str | None = None,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    resume: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train the hierarchical network on a manifest and put its weights into the models folder.

    Args:
        data: The manifest.
        config: The settings.
        regions: The table of regions whose ids its answers carry.
        cells: A tree of cells that `geomind regions fit --levels` wrote; fitted to the training photos if left out.
        models: The folder of models.
        runs: The folder of runs; a new one is made there.
        resume: The run folder of an interrupted training, which is gone on with instead.
        overwrite: Replace a hierarchical network that is there.
        progress: Shows epochs, loss and median distance.

    Raises:
        GeoMindError: the manifest, the cells, the settings, the starting weights or the output cannot be used.
    """
    weights = hierarchical_path(models)
    refuse_existing(weights, overwrite=overwrite)
    check_machine(config)
    photos = TrainingPhotos.read(data, regions, config.seed)
    train, validation = photos.train, photos.validation
    photos.require_validation()
    tree = _fit(train, config) if cells is None else _read(cells, config)
    code = CellCode.fit(tree, train.points)
    level_weights = [config.level_weights[level.name] for level in tree.levels]  # type: ignore[index]
    answers = answers_in_cells(code, level_weights, config.cells)
    torch.manual_seed(config.seed)
    network = CellsNetwork(config.backbone.name, config.image_size, code.sizes, config.dropout, pooling=config.pooling)
    start_from(config, network)

    def describe(metrics: Mapping[str, float]) -> Description:
        return describe_weights("hierarchical", config, regions, metrics, len(train), **answers.described)

    task = answers.task("the hierarchical network", network, validation.points)
    stage = Stage(
        called="hierarchical network",
        run_name="hierarchical",
        network=network,
        photos=photos,
        targets=answers.encode(train.points),
        validation_targets=answers.encode(validation.points),
        task=task,
        describe=describe,
        weights=weights,
        cells=tree.fingerprint,
    )
    return train_stage(stage, config, regions, Path(runs), resume, progress)


def _fit(train: PhotoRows, config: HierarchicalConfig) -> CellTree:
    """Fit the cells to the training photos, and name them."""
    countries = train.rows["country"].to_numpy(dtype=object)
    places = PhotoPlaces(train.points, countries, f"{len(train):,} training photos")
    cells = {str(level): count for level, count in config.levels.items()}
    min_photos = min(config.cells.min_photos, len(train))
    by_country = config.tree == "administrative"
    return fit_cells(places, cells, min_photos=min_photos, seed=config.seed, by_country=by_country)


def _read(path: Path | str, config: HierarchicalConfig) -> CellTree:
    """Read a tree of cells.

    Raises:
        ConfigError: it cannot be read, or has levels that no column of the predictions is for.
    """
    tree = CellTree.read(path)
    if unknown := [level.name for level in tree.levels if level.name not in config.level_weights]:
        raise ConfigError(
            f"{path} has a level '{unknown[0]}'; the hierarchical network knows {', '.join(config.level_weights)}. Fit "
            "it anew: geomind regions fit --levels country=16,region=64,city=256."
        )
    return tree
