from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from conftest import describe
from safetensors.torch import save_file

from geomind.checkpoints import (
    FORMAT_VERSION,
    director_path,
    expert_path,
    load_checkpoint,
    load_network,
    load_pretrained,
    read_description,
    save_checkpoint,
)
from geomind.errors import CheckpointError
from geomind.geography.boxes import Box
from geomind.geography.regions import RegionTable, default_regions

STATE = {"a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "a.steps": torch.tensor(3)}


@pytest.fixture
def weights(tmp_path: Path, two_regions: RegionTable) -> Path:
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, STATE, describe("expert", two_regions, region_id=1, box=(0, 1, 179, 181), metrics={"k": 0.5}))
    return path


def test_weights_come_back_with_what_they_say_of_themselves(weights: Path, two_regions: RegionTable) -> None:
    state, description = load_checkpoint(weights, "expert", regions=two_regions)
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert description == read_description(weights)
    assert description.regions == two_regions
    assert description.fitted_box == Box(0, 1, 179, 181)
    assert description.metrics == {"k": 0.5}


def test_weights_of_another_kind_or_table_do_not_fit(weights: Path) -> None:
    with pytest.raises(CheckpointError, match="kind 'expert', where 'director'"):
        load_checkpoint(weights, "director")
    with pytest.raises(CheckpointError, match="'two' of 2 regions, not on 'geomind-13' of 13"):
        load_checkpoint(weights, "expert", regions=default_regions())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_truncated_weights_are_refused(weights: Path, share: float) -> None:
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"w\.safetensors are incomplete or damaged") as caught:
        load_checkpoint(weights, "expert")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(weights: Path) -> None:
    """A safetensors file has no checksum of its own: a flipped bit of a weight became a wrong place without a word."""
    data = bytearray(weights.read_bytes())
    data[-5] ^= 0x40
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(weights, "expert")


def test_every_flipped_byte_of_the_header_is_survived(weights: Path) -> None:
    data = weights.read_bytes()
    for position in range(0, len(data) - 32, 7):
        mutated = bytearray(data)
        mutated[position] ^= 0x10
        weights.write_bytes(mutated)
        try:
            load_checkpoint(weights, "expert")  # a letter of a region's name may change and harm nothing
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="geomind train-director"):
        load_checkpoint(director_path(tmp_path), "director")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="another program"):
        load_checkpoint(foreign, "director")


def test_a_newer_format_is_refused(tmp_path: Path, two_regions: RegionTable) -> None:
    description = json.loads(describe("director", two_regions).model_dump_json())
    description["format_version"] = FORMAT_VERSION + 1
    path = tmp_path / "new.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"geomind": json.dumps(description)})
    with pytest.raises(CheckpointError, match="Upgrade GeoMind"):
        read_description(path)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, (str(Path(self.target)), "w")  # type: ignore[attr-defined, return-value]


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path, name: str) -> None:
    bomb = _Bomb()
    bomb.target = str(tmp_path / "ran")  # type: ignore[attr-defined]
    path = tmp_path / name
    path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(CheckpointError):
        load_pretrained(path)
    torch.save({"x": bomb}, tmp_path / "zip.pth")
    with pytest.raises(CheckpointError):
        load_pretrained(tmp_path / "zip.pth")
    assert not (tmp_path / "ran").exists()


def test_a_published_state_dict_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pth")
    assert torch.equal(load_pretrained(tmp_path / "w.pth")["a.weight"], STATE["a.weight"])
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        load_pretrained(tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"backbone\.weights=none"):
        load_pretrained(tmp_path / "none.pth")


def test_a_geomind_checkpoint_gives_its_trunk(models: Path) -> None:
    trunk = load_pretrained(director_path(models))
    assert "layers.0.weight" in trunk
    assert not any("head" in name for name in trunk)


def test_weights_of_another_network_do_not_load(weights: Path) -> None:
    with pytest.raises(CheckpointError, match="do not fit the network"):
        load_network(torch.nn.Linear(2, 2), STATE, weights)


def test_experts_are_named_by_id_and_slug() -> None:
    assert expert_path("m", default_regions()[5]).as_posix() == "m/experts/05-russia-cyrillic.safetensors"
