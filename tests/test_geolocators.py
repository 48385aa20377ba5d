"""Who answers is told by the folder of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from few_photos import REGIONS

from geomind.calibration import calibration_path
from geomind.cascade import Cascade
from geomind.checkpoints import director_path, expert_path, save_checkpoint
from geomind.errors import CheckpointError, ConfigError
from geomind.geolocators import Answering, check_models, checksums, load_geolocator, load_uncalibrated
from geomind.hierarchical import Hierarchical


@pytest.fixture
def single(tmp_path: Path) -> Path:
    import torch
    from conftest import SIZE, describe

    from geomind.geography.cell_code import CellCode
    from geomind.geography.cells import CellTree
    from geomind.networks import CellsNetwork

    places = [(0.0, 0.0), (1.0, 50.0), (40.0, 100.0)]
    code = CellCode.fit(CellTree.fit(places, {"country": 3}), places)
    torch.manual_seed(0)
    about = describe("hierarchical", REGIONS, cells=code.to_dict())
    path = tmp_path / "single" / "hierarchical.safetensors"
    save_checkpoint(path, CellsNetwork("scene_net", SIZE, code.sizes).state_dict(), about)
    return path.parent


def test_the_folder_tells_who_answers(models: Path, single: Path) -> None:
    assert isinstance(load_geolocator(models, Answering(runtime="torch")).geolocator, Cascade)
    found = load_geolocator(single, Answering(runtime="torch", candidates=2))
    assert isinstance(found.geolocator, Hierarchical)
    assert found.extra_columns == ("country_cell", "country_cell_probability", "candidates")
    assert check_models(models).kind == "director"
    assert check_models(single).kind == "hierarchical"


def test_one_network_does_not_route(models: Path, single: Path) -> None:
    with pytest.raises(ConfigError, match="leave out --routing and --top-k"):
        load_geolocator(single, Answering(top_k=2))
    assert load_uncalibrated(models, Answering(runtime="torch", top_k=2))._top_k == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("ask", [load_geolocator, check_models, checksums])
def test_a_folder_without_models_is_named(ask: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="geomind train-director"):
        ask(tmp_path)


def test_checksums_tell_weights_from_others(models: Path, single: Path) -> None:
    before = checksums(models)
    assert before != checksums(single)
    assert len(before.split()) == 14
    assert before.split().count("-") == 11
    expert_path(models, REGIONS[5]).unlink()
    after = checksums(models)
    assert after.split().count("-") == 12
    assert after.split()[0] == before.split()[0]
    calibration_path(models).write_text("{}")
    assert checksums(models).startswith(f"{after} calibration ")
    director_path(models).unlink()
    with pytest.raises(CheckpointError):
        check_models(models)
