from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZE, describe

from geomind import cascade as cascade_module
from geomind.cascade import REGION_MEDIAN, Cascade
from geomind.checkpoints import (
    director_path,
    expert_path,
    load_checkpoint,
    read_description,
    save_checkpoint,
    state_checksum,
)
from geomind.decoding import Candidates
from geomind.director import Director
from geomind.errors import CheckpointError
from geomind.expert import Expert
from geomind.geography.regions import default_regions
from geomind.geography.sphere import haversine_km
from geomind.networks import ExpertNetwork
from geomind.photos import Preprocessing

REGIONS = default_regions()


def painted(*region_ids: int) -> np.ndarray:
    """Photos that name the region they show in their first pixel."""
    pixels = np.zeros((len(region_ids), 3, SIZE, SIZE), dtype=np.float32)
    pixels[:, 0, 0, 0] = region_ids
    return pixels


def director(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the region off the first pixel, so that a test can choose each photo's route."""
    probabilities = np.full((len(pixels), len(REGIONS)), 0.3 / (len(REGIONS) - 1), dtype=np.float32)
    probabilities[np.arange(len(pixels)), pixels[:, 0, 0, 0].astype(int)] = 0.7
    return probabilities, pixels[:, 0, 0, :4]


class CountingExpert:
    def __init__(self, place: tuple[float, float]) -> None:
        self.place = place
        self.calls: list[int] = []

    def __call__(self, pixels: np.ndarray) -> Candidates:
        self.calls.append(len(pixels))
        return Candidates.certain(np.tile(self.place, (len(pixels), 1)))


def cascade(experts: dict[int, Callable[[np.ndarray], Candidates]], **routing: Any) -> Cascade:
    medians = {region.id: (-10.0, 20.0) for region in REGIONS.regions}
    return Cascade(
        director,
        experts,
        regions=REGIONS,
        preprocessing=Preprocessing(image_size=SIZE),
        region_medians=medians,
        **routing,
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


def on_the_directors_trunk(models: Path, region_id: int) -> Path:
    """Make the Expert of a region a head on the Director's trunk; it answers as a full one with a copy of it does."""
    path = director_path(models)
    state, description = load_checkpoint(path, "director")
    trunk = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    checksum = state_checksum({name.removeprefix("backbone."): tensor for name, tensor in trunk.items()})
    save_checkpoint(path, state, description.model_copy(update={"trunk": checksum}))
    head = {name: t for name, t in ExpertNetwork("scene_net", SIZE).state_dict().items() if name.startswith("head.")}
    about = describe("expert", REGIONS, region_id=region_id, box=(40.0, 60.0, 0.0, 30.0))
    save_checkpoint(models / "full.safetensors", {**trunk, **head}, about)
    shared = expert_path(models, REGIONS[region_id])
    save_checkpoint(shared, head, about.model_copy(update={"trunk": checksum}))
    return shared


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_an_expert_on_the_directors_trunk_needs_no_pass(
    runtime: str, models: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_directors_trunk(models, 5)
    full = Expert.load(models / "full.safetensors").locate(pixels)
    assert np.ptp(full, axis=0).min() > 1e-3
    loaded = Cascade.load(models, runtime=runtime)
    passes: list[int] = []
    answer = loaded._director
    monkeypatch.setattr(loaded, "_director", lambda pixels: passes.append(len(pixels)) or answer(pixels))
    monkeypatch.setattr(Expert, "load", lambda *_, **__: pytest.fail("no Expert has an encoder of its own here"))
    np.testing.assert_allclose(loaded.locate_in_region(pixels, 5), full, rtol=0, atol=1e-3)
    probabilities, features = answer(pixels)
    probabilities[:] = np.eye(13, dtype=np.float32)[[5, 7, 5, 5, 7, 5]]
    monkeypatch.setattr(loaded, "_director", lambda pixels: (probabilities, features))
    found = loaded.locate(pixels, list("abcdef"))
    assert [p.error for p in found] == [None, REGION_MEDIAN, None, None, REGION_MEDIAN, None]
    for number in (0, 2, 3, 5):
        assert (found[number].latitude, found[number].longitude) == pytest.approx(tuple(full[number]), abs=1e-3)
    assert passes == [6]


def test_an_expert_on_another_directors_trunk_is_refused(models: Path) -> None:
    on_the_directors_trunk(models, 5)
    state, description = load_checkpoint(director_path(models), "director")
    save_checkpoint(director_path(models), state, description.model_copy(update={"trunk": "other"}))
    with pytest.raises(CheckpointError, match="train-expert --region 5 --trunk director --overwrite"):
        Cascade.load(models)


def test_a_damaged_head_is_refused(models: Path) -> None:
    path = on_the_directors_trunk(models, 5)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="its checksum does not match"):
        Cascade.load(models, runtime="torch")


def test_experts_that_were_not_asked_for_long_make_room(
    models: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = describe("expert", REGIONS, region_id=9, box=(0.0, 1.0, 0.0, 1.0))
    save_checkpoint(expert_path(models, REGIONS[9]), ExpertNetwork("scene_net", SIZE).state_dict(), about)
    loads: list[int | None] = []
    load = Expert.load

    def counted(path: Path, **how: object) -> Expert:
        loads.append(read_description(path).region_id)
        return load(path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(cascade_module.Expert, "load", counted)
    one = Director.load(director_path(models)).memory_mb
    for budget, order, loaded_ids in (
        (None, (2, 5, 9, 2, 5, 9), [2, 5, 9]),
        (int(3.5 * one) + 1, (2, 5, 2, 9, 2, 5), [2, 5, 9, 5]),  # two Experts beside the Director: 5 makes room for 9
        (1, (2, 2, 5, 2), [2, 5, 2]),  # one stays, whatever it takes
    ):
        loads.clear()
        cascade = Cascade.load(models, runtime="torch", max_memory_mb=budget)
        for region_id in order:
            assert len(cascade.locate_in_region(pixels, region_id)) == len(pixels)
        assert loads == loaded_ids


def test_experts_in_memory_are_asked_first() -> None:
    asked: list[int] = []

    def expert(region_id: int) -> Callable[[np.ndarray], Candidates]:
        return lambda pixels: asked.append(region_id) or Candidates.certain(np.zeros((len(pixels), 2)))

    cascade({9: expert(9), 2: expert(2), 6: expert(6)}).locate(painted(2, 6, 9, 2), list("abcd"))
    assert asked == [9, 2, 6]


# ── soft routing ─────────────────────────────────────────────────────────────────────────────────────────────────────

OSLO, TOKYO, NAIROBI = (59.91, 10.75), (35.68, 139.69), (-1.29, 36.82)


def believing(shares: dict[int, float]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A Director that says the same of every photo."""

    def answer(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities = np.zeros((len(pixels), len(REGIONS)), dtype=np.float32)
        for region_id, share in shares.items():
            probabilities[:, region_id] = share
        return probabilities, pixels[:, 0, 0, :4]

    return answer


def soft(
    shares: dict[int, float], experts: dict[int, Callable[[np.ndarray], Candidates]], top_k: int = 3, **more: Any
) -> Cascade:
    asked = cascade(experts, top_k=top_k, **more)
    asked._director = believing(shares)
    return asked


class InCells:
    """An Expert that gives several places, each with a probability."""

    def __init__(self, *rows: tuple[tuple[float, float], float]) -> None:
        self.rows = rows
        self.calls: list[int] = []

    def __call__(self, pixels: np.ndarray) -> Candidates:
        self.calls.append(len(pixels))
        probabilities = np.tile([share for _, share in self.rows], (len(pixels), 1))
        return Candidates(probabilities, np.tile([place for place, _ in self.rows], (len(pixels), 1, 1)))


def test_soft_routing_of_a_sure_region_is_hard_routing() -> None:
    experts = {2: CountingExpert(OSLO), 6: CountingExpert(TOKYO), 9: InCells((NAIROBI, 0.8), ((-4.04, 39.66), 0.2))}
    for sure in (2, 6, 9, 4):  # an Expert, another, one with cells, a region's median
        shares = {2: 0.0, 6: 0.0, 9: 0.0, sure: 1.0}
        (hard,) = soft(shares, experts, top_k=1).locate(painted(0), ["a"])
        assert soft(shares, experts).locate(painted(0), ["a"]) == [hard]
        assert hard.region_id == sure
        assert hard.error == (REGION_MEDIAN if sure == 4 else None)


def test_near_without_end_is_the_mean_of_all_places() -> None:
    experts = {2: CountingExpert(OSLO), 6: CountingExpert(TOKYO)}
    (answer,) = soft({2: 0.5, 6: 0.5}, experts, top_k=2, near_km=math.inf).locate(painted(0), ["a"])
    assert answer.place is not None
    to_oslo, to_tokyo = haversine_km(answer.place, [OSLO, TOKYO])
    half = haversine_km(OSLO, TOKYO) / 2
    assert (to_oslo, to_tokyo) == (pytest.approx(half, abs=1), pytest.approx(half, abs=1))


def test_views_of_a_photo_are_asked_alone_and_count_the_same() -> None:
    oslo, tokyo = CountingExpert(OSLO), CountingExpert(TOKYO)
    photos = np.stack([painted(2, 6), painted(6, 6)])  # two of two views
    first, second = cascade({2: oslo, 6: tokyo}, top_k=2, candidates=2).locate(photos, ["a", "b"])
    assert (oslo.calls, tokyo.calls) == ([2], [4])
    of_one_view, of_the_other = director(painted(2))[0][0, [2, 6]].tolist()
    mean = pytest.approx((of_one_view + of_the_other) / 2)
    assert first.region_probability == mean
    assert [row["probability"] for row in json.loads(first.candidates or "")] == [mean, mean]
    assert (second.region_id, second.place) == (6, TOKYO)
    assert second.region_probability == pytest.approx(of_one_view)


def test_the_region_is_that_of_the_place_that_was_chosen() -> None:
    """Tokyo has the most probable region, yet the two others agree on a place."""
    oslo = (59.95, 10.9)
    experts = {2: CountingExpert(OSLO), 6: CountingExpert(TOKYO), 9: CountingExpert(oslo)}
    shares = {6: 0.4, 2: 0.35, 9: 0.25}
    (hard,) = soft(shares, experts, top_k=1).locate(painted(0), ["a"])
    (found,) = soft(shares, experts).locate(painted(0), ["a"])
    assert hard.region_id == 6
    assert (found.region_id, found.region_name) == (2, REGIONS[2].name)
    assert found.region_probability == pytest.approx(0.35)
    assert found.latitude is not None
    assert 59.91 < found.latitude < 59.95  # blended, for they are near
    (two,) = soft(shares, experts, top_k=2).locate(painted(0), ["a"])
    assert two.region_id == 6  # the third was not asked


def test_a_region_without_an_expert_stands_in_with_its_median(heard: pytest.LogCaptureFixture) -> None:
    experts = {2: CountingExpert(OSLO)}
    (found,) = soft({2: 0.6, 4: 0.4}, experts, top_k=2).locate(painted(0), ["a"])
    assert (found.region_id, found.error) == (2, None)
    assert "train-expert --region 4" in heard.text
    (found,) = soft({2: 0.3, 4: 0.7}, experts, top_k=2).locate(painted(0), ["a"])
    assert (found.region_id, found.error, found.place) == (4, REGION_MEDIAN, (-10.0, 20.0))


def test_experts_with_boxes_and_cells_are_asked_once_and_mix() -> None:
    box, cells = CountingExpert(OSLO), InCells((TOKYO, 0.7), ((43.06, 141.35), 0.3))
    asked = cascade({2: box, 6: cells}, top_k=2)
    shares = np.zeros((4, len(REGIONS)), dtype=np.float32)
    shares[:, 2], shares[:, 6] = [0.9, 0.2, 0.9, 0.2], [0.1, 0.8, 0.1, 0.8]
    asked._director = lambda pixels: (shares, pixels[:, 0, 0, :4])
    found = asked.locate(painted(0, 0, 0, 0), list("abcd"))
    assert [p.region_id for p in found] == [2, 6, 2, 6]
    assert [p.place for p in found] == [OSLO, TOKYO, OSLO, TOKYO]
    assert (box.calls, cells.calls) == ([4], [4])


def test_more_regions_than_there_are_is_all_of_them() -> None:
    experts = {region.id: CountingExpert((float(region.id), 0.0)) for region in REGIONS.regions}
    (found,) = cascade(experts, top_k=99).locate(painted(7), ["a"])
    assert all(expert.calls == [1] for expert in experts.values())
    assert found.region_id in range(13)


def test_candidates_are_named_where_they_are_asked_for() -> None:
    experts = {2: CountingExpert(OSLO), 6: CountingExpert(TOKYO), 9: CountingExpert(NAIROBI)}
    shares = {2: 0.5, 6: 0.3, 9: 0.2}
    asked = soft(shares, experts, candidates=2)
    assert asked.extra_columns == ("candidates",)
    (found,) = asked.locate(painted(0), ["a"])
    assert json.loads(found.candidates or "") == [
        {"latitude": 59.91, "longitude": 10.75, "probability": 0.5},
        {"latitude": 35.68, "longitude": 139.69, "probability": 0.3},
    ]
    plain = soft(shares, experts)
    assert plain.extra_columns == ()
    assert plain.locate(painted(0), ["a"])[0].candidates is None


def test_a_models_folder_routes_softly(models: Path, pixels: np.ndarray) -> None:
    names = [str(i) for i in range(len(pixels))]
    hard = Cascade.load(models, candidates=3).locate(pixels, names)
    found = Cascade.load(models, top_k=13, candidates=3).locate(pixels, names)
    for one, other in zip(hard, found, strict=True):
        assert len(json.loads(one.candidates or "")) == 1
        rows = json.loads(other.candidates or "")
        assert (rows[0]["latitude"], rows[0]["longitude"]) == (other.latitude, other.longitude)
        assert sum(row["probability"] for row in rows) <= 1 + 1e-5
