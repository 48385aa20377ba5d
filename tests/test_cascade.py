from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, describe

from geomind.cascade import REGION_MEDIAN, Cascade
from geomind.checkpoints import director_path, expert_path, save_checkpoint
from geomind.errors import CheckpointError
from geomind.expert import ExpertNetwork
from geomind.geography.regions import default_regions
from geomind.photos import Preprocessing

REGIONS = default_regions()


def painted(*region_ids: int) -> np.ndarray:
    """Photos that name the region they show in their first pixel."""
    pixels = np.zeros((len(region_ids), 3, SIZE, SIZE), dtype=np.float32)
    pixels[:, 0, 0, 0] = region_ids
    return pixels


def director(pixels: np.ndarray) -> np.ndarray:
    """Read the region off the first pixel, so that a test can choose each photo's route."""
    probabilities = np.full((len(pixels), len(REGIONS)), 0.3 / (len(REGIONS) - 1), dtype=np.float32)
    probabilities[np.arange(len(pixels)), pixels[:, 0, 0, 0].astype(int)] = 0.7
    return probabilities


class CountingExpert:
    def __init__(self, place: tuple[float, float]) -> None:
        self.place = place
        self.calls: list[int] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.calls.append(len(pixels))
        return np.tile(self.place, (len(pixels), 1))


def cascade(experts: dict[int, Callable[[np.ndarray], np.ndarray]]) -> Cascade:
    medians = {region.id: (-10.0, 20.0) for region in REGIONS.regions}
    return Cascade(
        director, experts, regions=REGIONS, preprocessing=Preprocessing(image_size=SIZE), region_medians=medians
    )


def test_each_photo_goes_to_its_expert_and_keeps_its_order() -> None:
    oslo, tokyo = CountingExpert((59.91, 10.75)), CountingExpert((35.68, 139.69))
    found = cascade({2: oslo, 6: tokyo}).locate(painted(6, 2, 6, 2, 2), ["a", "b", "c", "d", "e"])
    assert [p.image_path for p in found] == ["a", "b", "c", "d", "e"]
    assert [p.region_id for p in found] == [6, 2, 6, 2, 2]
    assert [p.country for p in found] == ["JP", "NO", "JP", "NO", "NO"]
    assert (found[0].latitude, found[0].longitude) == (35.68, 139.69)
    assert found[1].region_name == "Western & Northern Europe"
    assert found[1].region_probability == pytest.approx(0.7)
    assert found[0].google_maps_url == "https://www.google.com/maps?q=35.680000,139.690000"
    assert (oslo.calls, tokyo.calls) == ([3], [2])  # each Expert is asked once a batch


def test_a_missing_expert_is_said_once_and_marked_in_the_row(heard: pytest.LogCaptureFixture) -> None:
    asked = cascade({2: CountingExpert((59.91, 10.75))})
    found = asked.locate(painted(9, 2, 9), ["a", "b", "c"]) + asked.locate(painted(9), ["d"])
    assert [p.error for p in found] == [REGION_MEDIAN, None, REGION_MEDIAN, REGION_MEDIAN]
    assert (found[0].latitude, found[0].longitude) == (-10.0, 20.0)
    warnings = [record.getMessage() for record in heard.records]
    assert len(warnings) == 1
    assert "train-expert --region 9" in warnings[0]


def test_a_region_can_be_taken_for_granted() -> None:
    asked = cascade({2: CountingExpert((59.91, 10.75))})
    assert asked.locate_in_region(painted(6, 6), 2).tolist() == [[59.91, 10.75]] * 2


def test_a_models_folder_answers(models: Path, pixels: np.ndarray) -> None:
    loaded = Cascade.load(models)
    assert loaded.preprocessing.image_size == SIZE
    found = loaded.locate(pixels, [str(i) for i in range(len(pixels))])
    assert len(found) == len(pixels)
    assert 40 <= loaded.locate_in_region(pixels, 5)[0][0] <= 60
    assert loaded.locate_in_region(pixels, 7).tolist() == [[7.0, 10.0]] * len(pixels)


def test_answers_do_not_depend_on_the_batch(models: Path, pixels: np.ndarray) -> None:
    loaded = Cascade.load(models)
    names = [str(i) for i in range(len(pixels))]
    alone = [loaded.locate(pixels[i : i + 1], names[i : i + 1])[0] for i in range(len(pixels))]
    together = loaded.locate(pixels, names)
    for one, other in zip(alone, together, strict=True):
        assert one.region_id == other.region_id
        assert one.latitude == pytest.approx(other.latitude, abs=1e-4)


def test_experts_that_do_not_fit_are_refused(models: Path) -> None:
    network = ExpertNetwork("scene_net", SIZE)
    path = expert_path(models, REGIONS[7])
    description = describe("expert", REGIONS, region_id=3, box=(0, 1, 0, 1))
    save_checkpoint(path, network.state_dict(), description)
    with pytest.raises(CheckpointError, match="Expert of region 3, not 7"):
        Cascade.load(models)
    other = description.model_copy(update={"region_id": 7, "preprocessing": Preprocessing(image_size=64)})
    save_checkpoint(path, network.state_dict(), other)
    with pytest.raises(CheckpointError, match=f"--set image_size={SIZE}"):
        Cascade.load(models)


def test_a_folder_without_a_director_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="geomind train-director"):
        Cascade.load(tmp_path)
    torch.save({}, tmp_path / "x")  # a folder with something else in it is no better
    with pytest.raises(CheckpointError, match=str(director_path(tmp_path))):
        Cascade.load(tmp_path)
