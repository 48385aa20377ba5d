"""Baselines answer what they say: medians without a look, and one network for the whole world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.baselines import GLOBE, Regression, median_places
from geomind.checkpoints import count_parameters, regression_path, save_checkpoint
from geomind.errors import CheckpointError
from geomind.geography.regions import default_regions
from geomind.geography.sphere import from_unit_vectors, geodesic_median, haversine_km
from geomind.networks import EncoderWithHead, ExpertNetwork, VectorNetwork

REGIONS = default_regions()
SIDES = (GLOBE.lat_min, GLOBE.lat_max, GLOBE.lon_min, GLOBE.lon_max)


def saved(folder: Path, output: str) -> EncoderWithHead:
    torch.manual_seed(1)
    network: EncoderWithHead
    if output == "square":
        network, box = ExpertNetwork("scene_net", SIZE), SIDES
    else:
        network, box = VectorNetwork("scene_net", SIZE), None
    save_checkpoint(regression_path(folder), network.state_dict(), describe("regression", REGIONS, box=box))
    return network.eval()


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("output", ["square", "vector"])
def test_a_regression_answers_what_its_network_says(
    output: str, runtime: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    if runtime == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    network = saved(tmp_path, output)
    with torch.inference_mode():
        said = network(torch.from_numpy(pixels)).numpy()
    wanted = GLOBE.denormalize(said) if output == "square" else from_unit_vectors(said)
    answers = Regression.load(regression_path(tmp_path), runtime=runtime).locate(pixels, list("abcdef"))  # type: ignore[arg-type]
    found = np.array([answer.place for answer in answers])
    assert np.ptp(found, axis=0).min() > 1e-4
    assert haversine_km(found, wanted).max() < 1
    assert [answer.image_path for answer in answers] == list("abcdef")
    assert all(answer.region_id is None and answer.error is None for answer in answers)


def test_other_weights_are_no_regression(models: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No weights at"):
        Regression.load(regression_path(models))
    path = regression_path(tmp_path)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((models / "director" / "director.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="kind 'director', where 'regression' is needed"):
        Regression.load(regression_path(tmp_path))


def test_a_network_that_answers_with_no_number_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    network = VectorNetwork("scene_net", SIZE)
    state = network.state_dict()
    state["head.1.bias"] = torch.full((3,), torch.nan)
    save_checkpoint(regression_path(tmp_path), state, describe("regression", REGIONS))
    with pytest.raises(CheckpointError, match="no number"):
        Regression.load(regression_path(tmp_path), runtime="torch").locate(pixels, list("abcdef"))


@pytest.mark.parametrize("output", ["square", "vector"])
def test_parameters_are_those_that_torch_counts(output: str, tmp_path: Path) -> None:
    network = saved(tmp_path, output)
    assert count_parameters(regression_path(tmp_path)) == sum(p.numel() for p in network.parameters())


def test_parameters_of_a_broken_file_are_not_counted(tmp_path: Path) -> None:
    saved(tmp_path, "square")
    path = regression_path(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        count_parameters(path)


places = st.lists(st.tuples(st.floats(-80, 80), st.floats(-179, 179), st.integers(0, 2)), min_size=1, max_size=12)


@given(places)
@settings(max_examples=30)
def test_each_class_gets_its_median(rows: list[tuple[float, float, int]]) -> None:
    points, classes = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    found = median_places(points, classes, [0, 1, 2, 3, 0])
    np.testing.assert_array_equal(found[0], found[4])
    for number in range(4):
        own = points[classes == number] if (classes == number).any() else points
        np.testing.assert_array_equal(found[number], geodesic_median(own))


def test_countries_are_classes_too() -> None:
    found = median_places([(60, 10), (62, 10), (61, 10), (36, 138)], ["NO", "NO", "NO", "NA"], np.array(["NA", "NO"]))
    assert found[0] == pytest.approx((36, 138))
    assert found[1] == pytest.approx((61, 10))
