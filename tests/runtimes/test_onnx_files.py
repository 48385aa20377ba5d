from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import SIZE, describe

from geomind.checkpoints import director_path, read_checksum, save_checkpoint
from geomind.director import Director, load_director_network
from geomind.errors import CheckpointError, MissingExtraError, OutputError
from geomind.geography.regions import default_regions
from geomind.networks import DirectorNetwork
from geomind.runtimes import onnx_files
from geomind.runtimes.onnx_files import find_or_make, places, read_difference

REGIONS = default_regions()


def never() -> None:
    raise AssertionError("the torch module is not needed")


def test_the_file_is_made_once_and_follows_the_weights(models: Path, pixels: np.ndarray) -> None:
    weights = director_path(models)
    first = find_or_make(weights, lambda: load_director_network(weights))
    assert first == weights.with_name(f"director.{read_checksum(weights)[:8]}.onnx")
    assert find_or_make(weights, never) == find_or_make(weights, never, "bf16") == first
    assert 0 <= read_difference(first) < 1e-4
    about = {entry.key: entry.value for entry in onnx.load(first).metadata_props}
    assert about["geomind_checksum"] == read_checksum(weights)

    first.with_name("director.0123abcd.int8.onnx").write_bytes(b"older weights'")
    theirs = first.with_name("director.mine.onnx")
    theirs.write_bytes(b"somebody else's")
    torch.manual_seed(1)
    save_checkpoint(weights, DirectorNetwork("scene_net", SIZE, 13).state_dict(), describe("director", REGIONS))
    second = find_or_make(weights, lambda: load_director_network(weights))
    assert second != first
    assert {path.name for path in weights.parent.iterdir()} == {weights.name, second.name, theirs.name}
    expected = Director.load(weights).probabilities(pixels)
    np.testing.assert_allclose(Director.load(weights, runtime="onnx").probabilities(pixels), expected, atol=1e-5)


def test_a_folder_that_cannot_be_written_leaves_it_to_the_cache(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = onnx_files.atomic_path

    def read_only(path: Path) -> object:
        if path.is_relative_to(models):
            raise OutputError("read-only")
        return whole(path)

    monkeypatch.setattr(onnx_files, "atomic_path", read_only)
    weights = director_path(models)
    made = find_or_make(weights, lambda: load_director_network(weights))
    assert made == tmp_path / "cache" / "geomind" / "onnx" / places(weights)[0].name
    assert find_or_make(weights, never) == made
    assert [path.name for path in weights.parent.iterdir()] == [weights.name]


def test_without_the_exporter_the_extra_is_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'geomind\[onnx\]', or take the runtime torch"):
        Director.load(director_path(models), runtime="onnx")


def test_a_file_that_answers_otherwise_is_not_kept(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar:
        def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.full((len(pixels), 13), 7e3, np.float32), np.zeros((len(pixels), 384), np.float32)

    monkeypatch.setattr(onnx_files, "open_onnx_file", lambda *_, **__: Liar())
    with pytest.raises(CheckpointError, match="away from torch"):
        Director.load(director_path(models), runtime="onnx")
    assert not list(models.rglob("*.onnx"))
