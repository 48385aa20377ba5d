"""The hierarchical network, from a manifest to weights that answer with country, region, city and a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from few_photos import COUNTRY, PLACES, TINY, Interrupted, edit

from geomind.backbones import AttentionPooled
from geomind.checkpoints import hierarchical_path, load_checkpoint, read_description
from geomind.config import DirectorConfig, ExpertConfig, HierarchicalConfig
from geomind.errors import CheckpointError, ConfigError, ManifestError, OutputError
from geomind.geography.cells import NO_PARENT, CellLevel, CellTree
from geomind.geography.sphere import haversine_km
from geomind.hierarchical import Hierarchical, load_hierarchical_network
from geomind.training.director import train_director
from geomind.training.expert import train_expert
from geomind.training.hierarchical import train_hierarchical

pytestmark = pytest.mark.usefixtures("no_curves")

LEVELS = {"country": 3, "region": 4, "city": 6}


def config(**settings: Any) -> HierarchicalConfig:
    small = {"levels": LEVELS, "cells": {"min_photos": 1}, "batch_size": 4, "pooling": "average"}
    return HierarchicalConfig.model_validate({**TINY, **small, **settings})


LEARNING: dict[str, Any] = {"max_epochs": 25, "learning_rate": 1e-2, "schedule": "one_cycle", "dropout": 0.0}


def answers(data: Path, models: Path) -> list[Any]:
    network = Hierarchical.load(hierarchical_path(models))
    paths = pd.read_csv(data, keep_default_na=False)["image_path"].tolist()
    return network.locate(np.stack([network.preprocessing.read(data.parent / path) for path in paths]), paths)


def places(data: Path) -> np.ndarray:
    return pd.read_csv(data, keep_default_na=False)[["latitude", "longitude"]].to_numpy()


@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_it_learns_where_photos_were_taken(pooling: str, data: Path, folders: dict[str, Any]) -> None:
    trained = train_hierarchical(data, config(**LEARNING, pooling=pooling), **folders)
    assert (trained.photos, trained.validation_photos, trained.epochs) == (18, 6, 25)
    assert trained.metrics["val_median_km"] > 0
    assert {"val_geoscore", "val_loss"} <= set(trained.metrics)
    about = read_description(trained.weights, "hierarchical")
    assert (about.pooling, about.box, about.region_id) == (pooling, None, None)
    assert [len(level) for level in about.cell_code.tree.levels] == [3, 4, 6]
    found = answers(data, folders["models"])
    distance_km = haversine_km([row.place for row in found], places(data))
    assert np.median(distance_km) < 1000  # photos of three continents
    for row in found:
        assert 1 >= row.country_cell_probability >= row.region_cell_probability >= row.city_cell_probability > 0
        assert row.country_cell
        assert row.region_cell
        assert row.city_cell
        assert row.region_name == folders["regions"][row.region_id].name


@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_the_file_says_how_its_encoder_pools(pooling: str, data: Path, folders: dict[str, Any]) -> None:
    trained = train_hierarchical(data, config(pooling=pooling), **folders)
    network = load_hierarchical_network(trained.weights).network
    assert isinstance(network.backbone, AttentionPooled) == (pooling == "attention")
    state, _ = load_checkpoint(trained.weights, "hierarchical")
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_countries_as_they_are_may_be_the_first_level(data: Path, folders: dict[str, Any]) -> None:
    frame = pd.read_csv(data, keep_default_na=False)
    frame.loc[frame["image_path"] == "2-0.png", "country"] = "SE"
    frame.to_csv(data, index=False)
    trained = train_hierarchical(data, config(tree="administrative", levels={"country": 1, "city": 8}), **folders)
    tree = read_description(trained.weights).cell_code.tree
    assert len(tree.levels[0]) == 4  # of its number of countries, 1, nothing is left
    countries = dict(zip(tree.assign(places(data))[:, 0].tolist(), frame["country"], strict=True))
    assert len(countries) == 4
    for region_id, place in PLACES.items():  # a country's cells hold its photos, and no other's
        assert countries[int(tree.assign([(place[0] + 2, place[1])])[0, 0])] == COUNTRY[region_id]


def foreign_cells(path: Path, names: tuple[str, ...] = ("country", "city")) -> Path:
    """Write a tree of the three places of the photos."""
    centres = np.array(list(PLACES.values()))
    top = CellLevel(names[0], centres, np.full(3, NO_PARENT), np.ones(3, dtype=np.int64), ("NO", "JP", "KE"))
    below = CellLevel(names[1], centres, np.arange(3), np.ones(3, dtype=np.int64), ("", "", ""))
    CellTree((top, below)).write(path, overwrite=True)
    return path


def test_cells_may_come_from_a_file(data: Path, folders: dict[str, Any], tmp_path: Path) -> None:
    cells = foreign_cells(tmp_path / "cells.parquet")
    trained = train_hierarchical(data, config(), cells=cells, **folders)
    assert read_description(trained.weights).cell_code.tree.fingerprint == CellTree.read(cells).fingerprint
    network = Hierarchical.load(trained.weights)
    assert network.extra_columns == (
        "country_cell",
        "country_cell_probability",
        "city_cell",
        "city_cell_probability",
    )
    row = answers(data, folders["models"])[0]
    assert row.country_cell in ("NO", "JP", "KE")
    assert row.region_cell is None
    assert row.city_cell in ("0", "1", "2")  # cells without a name have their number


def test_cells_of_other_levels_are_refused(data: Path, folders: dict[str, Any], tmp_path: Path) -> None:
    cells = foreign_cells(tmp_path / "cells.parquet", ("continent", "city"))
    with pytest.raises(ConfigError, match="has a level 'continent'; the hierarchical network knows country, region"):
        train_hierarchical(data, config(), cells=cells, **folders)
    with pytest.raises(ConfigError, match="geomind regions fit --levels"):
        train_hierarchical(data, config(), cells=tmp_path / "none.parquet", **folders)
    assert not folders["runs"].exists()


def test_an_interrupted_training_ends_as_one_that_was_not(data: Path, folders: dict[str, Any], tmp_path: Path) -> None:
    settings = config(max_epochs=3, snapshot_seconds=0, pooling="attention")
    whole = train_hierarchical(data, settings, **{**folders, "models": tmp_path / "whole", "runs": tmp_path / "w"})
    with pytest.raises(KeyboardInterrupt):
        train_hierarchical(data, settings, **folders, progress=Interrupted(7))
    (run,) = folders["runs"].iterdir()
    resumed = train_hierarchical(data, settings, **folders, resume=run)
    assert resumed.metrics == whole.metrics
    one, other = (load_checkpoint(trained.weights, "hierarchical")[0] for trained in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_goes_on_with_its_own_cells_only(data: Path, folders: dict[str, Any], tmp_path: Path) -> None:
    cells = foreign_cells(tmp_path / "cells.parquet")
    with pytest.raises(KeyboardInterrupt):
        train_hierarchical(data, config(snapshot_seconds=0), cells=cells, **folders, progress=Interrupted(3))
    (run,) = folders["runs"].iterdir()
    with pytest.raises(ConfigError, match="it answers with other cells than --cells, or its lack, says"):
        train_hierarchical(data, config(snapshot_seconds=0), **folders, resume=run)
    assert train_hierarchical(data, config(snapshot_seconds=0), cells=cells, **folders, resume=run).epochs == 1


def test_what_it_cannot_be_trained_on_is_said(data: Path, folders: dict[str, Any]) -> None:
    train_hierarchical(data, config(), **folders)
    with pytest.raises(OutputError, match="--overwrite"):
        train_hierarchical(data, config(), **folders)
    edit(data, split="train")
    with pytest.raises(ManifestError, match="no row with split 'validation'"):
        train_hierarchical(data, config(), **folders, overwrite=True)


@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_a_frozen_encoder_learns_from_features(pooling: str, data: Path, folders: dict[str, Any]) -> None:
    """Attention that was never trained starts as the average, and frozen stays it."""
    director = train_director(data, DirectorConfig(**TINY), **folders)
    start = {"name": "scene_net", "weights": str(director.weights)}
    frozen = config(freeze="backbone", backbone=start, pooling=pooling)
    trained = train_hierarchical(data, frozen, **folders)
    one, other = load_checkpoint(trained.weights, "hierarchical")[0], load_checkpoint(director.weights, "director")[0]
    inner = "backbone.inner." if pooling == "attention" else "backbone."
    trunk = [name.removeprefix("backbone.") for name in other if name.startswith("backbone.")]
    assert all(torch.equal(one[inner + name], other["backbone." + name]) for name in trunk)
    if pooling == "attention":
        assert not one["backbone.value"].any()  # what attention finds is added times 0


@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_others_may_start_from_its_encoder(pooling: str, data: Path, folders: dict[str, Any]) -> None:
    """A Director, an Expert with a box and one with cells take it without its attention, which they have not."""
    trained = train_hierarchical(data, config(pooling=pooling), **folders)
    start = {**TINY, "backbone": {"name": "scene_net", "weights": str(trained.weights)}, "freeze": "backbone"}
    state = load_checkpoint(trained.weights, "hierarchical")[0]
    inner = "backbone.inner." if pooling == "attention" else "backbone."
    for weights in (
        train_director(data, DirectorConfig.model_validate(start), **folders).weights,
        train_expert(data, 6, ExpertConfig.model_validate(start), **folders).weights,
        train_expert(data, 9, ExpertConfig.model_validate({**start, "head": "cells"}), **folders).weights,
    ):
        own = {
            name: tensor
            for name, tensor in load_checkpoint(weights, read_description(weights).kind)[0].items()
            if name.startswith("backbone.")
        }
        assert own
        for name, tensor in own.items():
            assert torch.equal(tensor, state[inner + name.removeprefix("backbone.")]), name


def test_a_director_that_pools_by_attention_takes_the_attention_too(data: Path, folders: dict[str, Any]) -> None:
    trained = train_hierarchical(data, config(pooling="attention", max_epochs=2), **folders)
    start = {"backbone": {"name": "scene_net", "weights": str(trained.weights)}, "freeze": "backbone"}
    director = train_director(data, DirectorConfig.model_validate({**TINY, **start, "pooling": "attention"}), **folders)
    one = load_checkpoint(trained.weights, "hierarchical")[0]
    other, about = load_checkpoint(director.weights, "director")
    assert about.pooling == "attention"
    trunk = {name for name in one if name.startswith("backbone.")}
    assert trunk == {name for name in other if name.startswith("backbone.")}
    assert all(torch.equal(one[name], other[name]) for name in trunk)


def test_another_networks_encoder_is_refused(data: Path, folders: dict[str, Any]) -> None:
    trained = train_hierarchical(data, config(pooling="attention"), **folders)
    other = {"name": "efficientnet_b0", "weights": str(trained.weights)}
    with pytest.raises(CheckpointError, match="do not fit the backbone efficientnet_b0"):
        train_director(data, DirectorConfig.model_validate({**TINY, "backbone": other}), **folders)
