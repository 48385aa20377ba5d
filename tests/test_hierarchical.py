"""The hierarchical network's answers: a place, and cells that never contradict each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geomind.checkpoints import hierarchical_path, load_checkpoint, save_checkpoint
from geomind.errors import CheckpointError, ConfigError
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.regions import default_regions
from geomind.geography.sphere import haversine_km
from geomind.heads import PlaceHead
from geomind.hierarchical import Hierarchical, load_hierarchical_network
from geomind.networks import CellsNetwork
from geomind.predictions import CELL_COLUMNS, Prediction

REGIONS = default_regions()
LEVELS = {"country": 3, "region": 6, "city": 12}


def towns() -> np.ndarray:
    random = np.random.default_rng(4)
    centres = np.stack([random.uniform(-50, 65, 12), random.uniform(-180, 180, 12)], axis=1)
    return np.repeat(centres, 5, axis=0) + random.normal(0, 0.3, (60, 2))


TREE = CellTree.fit(towns(), LEVELS)
CODE = CellCode.fit(
    TREE.named(
        [[f"{name} {cell}" for cell in range(len(level))] for name, level in zip(LEVELS, TREE.levels, strict=True)]
    ),
    towns(),
)


@pytest.fixture(params=["average", "attention"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = CellsNetwork("scene_net", SIZE, CODE.sizes, pooling=request.param)
    with torch.no_grad():
        network.head[1].weight.copy_(torch.randn_like(network.head[1].weight))
    about = describe("hierarchical", REGIONS, cells=CODE.to_dict(), pooling=request.param)
    save_checkpoint(hierarchical_path(tmp_path), network.state_dict(), about)
    return hierarchical_path(tmp_path)


def answering(outputs: np.ndarray, candidates: int = 0) -> list[Prediction]:
    """Answer as a network that gives these outputs."""
    head = PlaceHead(
        np.eye(CODE.outputs, dtype=np.float32),
        np.zeros(CODE.outputs, dtype=np.float32),
        describe("hierarchical", REGIONS, cells=CODE.to_dict()),
    )

    class Run:
        memory_mb = 0.0

        def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return pixels[:, :, 0, 0], pixels[:, :, 0, 0]

    pixels = outputs[:, :, None, None]  # which it gives back
    return Hierarchical(Run(), head, candidates=candidates).locate(pixels, [str(row) for row in range(len(outputs))])


@settings(max_examples=25)
@given(arrays(np.float32, (3, CODE.outputs), elements=st.floats(-20, 20, width=32)))
def test_labels_never_contradict_down_the_levels(outputs: np.ndarray) -> None:
    shares = CODE.probabilities(outputs)
    for photo, row in enumerate(answering(outputs)):
        chain = [int(getattr(row, f"{name}_cell").rpartition(" ")[2]) for name in LEVELS]
        for above, below, level in zip(chain, chain[1:], CODE.tree.levels[1:], strict=False):
            assert level.parents[below] == above
        probabilities = [getattr(row, f"{name}_cell_probability") for name in LEVELS]
        assert probabilities == sorted(probabilities, reverse=True)
        for depth, (cell, said) in enumerate(zip(chain, probabilities, strict=True)):
            assert said == pytest.approx(CODE.of_level(shares, depth)[photo, cell], abs=1e-6)
        # The place is near the one that the named cell says.
        assert haversine_km(row.place, CODE.places(outputs)[photo, chain[-1]]) <= 100.1


def test_a_sure_network_answers_with_its_cells_place() -> None:
    outputs = np.zeros((1, CODE.outputs), dtype=np.float32)
    cell = 7
    for first, own in zip((0, 3, 9), CODE.tree.chains[cell], strict=True):
        outputs[0, first + own] = 100
    outputs[0, 21 + 2 * cell : 23 + 2 * cell] = 0.5, -1.0
    (row,) = answering(outputs, candidates=3)
    east, north = 0.5 * CODE.scale_km[cell], -1.0 * CODE.scale_km[cell]
    assert haversine_km(row.place, TREE.levels[-1].centres[cell]) == pytest.approx(np.hypot(east, north), rel=1e-3)
    assert row.latitude < TREE.levels[-1].centres[cell, 0]
    assert row.city_cell == "city 7"
    assert (row.country_cell_probability, row.region_cell_probability, row.city_cell_probability) == (1, 1, 1)
    (named,) = [found for found in json.loads(row.candidates or "") if found["probability"] > 1e-6]
    assert (named["latitude"], named["longitude"]) == row.place


def test_a_weights_file_answers(path: Path, pixels: np.ndarray) -> None:
    network = Hierarchical.load(path)
    assert network.extra_columns == CELL_COLUMNS
    assert network.regions == REGIONS
    found = network.locate(pixels, list("abcdef"))
    assert [row.image_path for row in found] == list("abcdef")
    for row in found:
        assert row.error is None
        assert row.candidates is None
        assert row.region_probability is None
        assert row.region_name == REGIONS[row.region_id].name
        own = REGIONS.region_ids([row.country or ""], np.array([row.place]))
        assert row.region_id == own[0]
    named = Hierarchical.load(path, candidates=4)
    assert named.extra_columns == (*CELL_COLUMNS, "candidates")
    rows = named.locate(pixels, list("abcdef"))
    assert [row.place for row in rows] == [row.place for row in found]
    assert all(1 <= len(json.loads(row.candidates or "")) <= 4 for row in rows)


def test_answers_do_not_depend_on_the_batch(path: Path, pixels: np.ndarray) -> None:
    network = Hierarchical.load(path)
    together = network.locate(pixels, list("abcdef"))
    for number, name in enumerate("abcdef"):
        (alone,) = network.locate(pixels[number : number + 1], [name])
        assert alone.city_cell == together[number].city_cell
        assert alone.place == pytest.approx(together[number].place, abs=1e-3)


def test_onnx_answers_as_torch_does(path: Path, pixels: np.ndarray) -> None:
    pytest.importorskip("onnxruntime")
    torchs, onnxs = (Hierarchical.load(path, runtime=r).locate(pixels, list("abcdef")) for r in ("torch", "onnx"))
    for one, other in zip(torchs, onnxs, strict=True):
        assert one.city_cell == other.city_cell
        assert haversine_km(one.place, other.place) < 1


def test_what_is_no_hierarchical_network_is_refused(path: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        Hierarchical.load(models / "director" / "director.safetensors")
    with pytest.raises(CheckpointError, match="missing"):
        Hierarchical.load(tmp_path / "missing.safetensors")
    state, about = load_checkpoint(path, "hierarchical")
    other = "average" if about.pooling == "attention" else "attention"
    for wrong in ({"pooling": other}, {"backbone": "resnet50"}):
        save_checkpoint(path, state, about.model_copy(update=wrong))
        with pytest.raises(CheckpointError, match="do not fit the network that they describe"):
            load_hierarchical_network(path)
    for cells in (None, {}, {**CODE.to_dict(), "scale_km": [1.0]}):
        save_checkpoint(path, state, about.model_copy(update={"cells": cells}))
        with pytest.raises(CheckpointError, match=r"hold no (box|cells)"):
            Hierarchical.load(path)


def test_there_is_no_int8_of_it(path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 is for cascades"):
        Hierarchical.load(path, runtime="onnx", precision="int8")
