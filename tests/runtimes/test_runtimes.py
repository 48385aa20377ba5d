from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import describe
from torch import nn

from geomind import runtimes
from geomind.checkpoints import director_path, expert_path, save_checkpoint
from geomind.director import Director
from geomind.errors import CheckpointError, ConfigError, MissingExtraError
from geomind.expert import Expert
from geomind.geography.regions import default_regions
from geomind.networks import DirectorNetwork, ExpertNetwork
from geomind.photos import Preprocessing
from geomind.runtimes import open_network, pick_runtime
from geomind.runtimes.onnx_files import places

REGIONS = default_regions()
BOX = (40.0, 60.0, 0.0, 30.0)


def settled(network: nn.Module, pixels: np.ndarray) -> nn.Module:
    """Let batch normalisation know the statistics of these photos: without them a random B0 says the same of all."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(pixels))
    return network.eval()


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(9, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module", params=["scene_net", "efficientnet_b0"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, photos: np.ndarray) -> Path:
    """A Director and an Expert that see 64 pixels; their ONNX files are made by the first test."""
    torch.manual_seed(0)
    models, own = (
        tmp_path_factory.mktemp("models"),
        {"backbone": request.param, "preprocessing": Preprocessing(image_size=64)},
    )
    director = settled(DirectorNetwork(request.param, 64, len(REGIONS)), photos)
    save_checkpoint(director_path(models), director.state_dict(), describe("director", REGIONS).model_copy(update=own))
    expert = settled(ExpertNetwork(request.param, 64), photos)
    about = describe("expert", REGIONS, region_id=2, box=BOX).model_copy(update=own)
    save_checkpoint(expert_path(models, REGIONS[2]), expert.state_dict(), about)
    return models


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_fp32_answers_as_torch_does(runtime: str, folder: Path, photos: np.ndarray) -> None:
    network = Director.load(director_path(folder)).network.eval()
    with torch.inference_mode():
        logits = network(torch.from_numpy(photos))
        features = network.backbone(torch.from_numpy(photos)).numpy()
    assert logits.std(dim=0).min() > 1e-3  # the photos have different answers
    director = Director.load(director_path(folder), runtime=runtime, threads=2)
    probabilities, found = director.answer(photos)
    np.testing.assert_allclose(probabilities, logits.softmax(dim=1).numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, features, rtol=0, atol=1e-4 * np.abs(features).max())
    assert np.array_equal(probabilities.argmax(axis=1), logits.argmax(dim=1).numpy())

    path = expert_path(folder, REGIONS[2])
    expected = Expert.load(path).locate(photos)
    places_found = Expert.load(path, runtime=runtime, threads=1).locate(photos)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose((places_found - expected) / (20.0, 30.0), 0, atol=1e-4)


def test_an_expert_answers_what_its_torch_network_does(folder: Path, photos: np.ndarray) -> None:
    """The last layer is counted in NumPy."""
    from geomind.expert import load_expert_network

    path = expert_path(folder, REGIONS[2])
    with torch.inference_mode():
        square = load_expert_network(path).network.eval()(torch.from_numpy(photos)).numpy()
    found = Expert.load(path).locate(photos)
    np.testing.assert_allclose(found, np.array([40.0, 0.0]) + square * np.array([20.0, 30.0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_answers_nearly_the_same(runtime: str, folder: Path, photos: np.ndarray) -> None:
    path = expert_path(folder, REGIONS[2])
    exact = Expert.load(path).locate(photos)
    rounded = Expert.load(path, runtime=runtime, precision="bf16", threads=1).locate(photos)
    difference = np.abs((rounded - exact) / (20.0, 30.0))
    assert difference.max() < 0.05
    if runtime == "torch":
        assert difference.max() > 0


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_answers_do_not_depend_on_passes_or_threads(runtime: str, folder: Path, photos: np.ndarray) -> None:
    one = Director.load(director_path(folder), runtime=runtime, threads=1).probabilities(photos)
    three = Director.load(director_path(folder), runtime=runtime, threads=3)
    for _ in range(3):
        np.testing.assert_allclose(three.probabilities(photos), one, rtol=0, atol=1e-6)
    alone = np.concatenate([three.probabilities(photos[i : i + 1]) for i in range(len(photos))])
    np.testing.assert_allclose(alone, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_torch_is_not_imported_once_the_onnx_file_is_there(runtime: str, models: Path) -> None:
    """It takes a second and 200 MB."""
    from geomind.cascade import Cascade

    pixels = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    loaded = Cascade.load(models, runtime="onnx")
    expected = [loaded.locate_in_region(pixels, region_id).tolist() for region_id in (2, 5)]
    loaded.locate(pixels, list("abcdefgh"))
    np.save(models / "pixels.npy", pixels)
    code = (
        "import sys, numpy as np\n"
        "from geomind import Cascade\n"
        f"pixels = np.load({str(models / 'pixels.npy')!r})\n"
        f"cascade = Cascade.load({str(models)!r}, runtime={runtime!r}, threads=1)\n"
        "assert len(cascade.locate(pixels, list('abcdefgh'))) == 8\n"
        "print([cascade.locate_in_region(pixels, region_id).tolist() for region_id in (2, 5)])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stderr
    np.testing.assert_allclose(np.array(eval(said.stdout)), expected, rtol=0, atol=1e-3)


def test_auto_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [pick_runtime("auto", precision) for precision in ("fp32", "bf16", "int8")] == [
        "onnx",
        "openvino",
        "openvino",
    ]
    assert pick_runtime("auto", "bf16", "cuda") == "torch"
    gone: set[str] = set()
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else there(name))
    gone.add("onnxruntime")
    assert pick_runtime("auto") == "openvino"
    with pytest.raises(MissingExtraError, match=r"geomind\[onnx\]"):
        pick_runtime("onnx")
    gone.add("openvino")
    assert pick_runtime("auto") == pick_runtime("auto", "bf16") == "torch"
    with pytest.raises(MissingExtraError, match=r"geomind\[openvino\]"):
        pick_runtime("auto", "int8")
    gone.clear()
    gone.add("onnxscript")  # what makes the files
    assert pick_runtime("auto") == "torch"
    assert not runtimes.can_make_onnx_files()


def test_what_a_runtime_cannot_do_is_said(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"onnx has no bf16\. Choose --runtime openvino or torch"):
        Director.load(director_path(models), runtime="onnx", precision="bf16")
    with pytest.raises(ConfigError, match="torch has no int8"):
        Director.load(director_path(models), runtime="torch", precision="int8")
    with pytest.raises(ConfigError, match="On a GPU there is the runtime torch"):
        pick_runtime("onnx", "fp32", "cuda")
    with pytest.raises(ConfigError, match="On a GPU there is the runtime torch"):
        pick_runtime("auto", "int8", "cuda")
    with pytest.raises(ConfigError, match=r"`geomind export --precision int8 --calibrate PHOTOS_DIR`"):
        Director.load(director_path(models), runtime="openvino", precision="int8")


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_damaged_onnx_file_is_named(runtime: str, models: Path) -> None:
    file = places(director_path(models))[0]
    file.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=f"cannot read {file}. Delete it"):
        open_network(director_path(models), lambda: None, runtime=runtime)  # type: ignore[arg-type, return-value]
