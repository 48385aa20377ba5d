from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geomind.config import DirectorConfig, ExpertConfig, load_config
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.sphere import haversine_km
from geomind.training.losses import (
    cells_loss,
    director_loss,
    double_corrections,
    expert_loss,
    photo_weights,
    plain_cross_entropy,
    region_weights,
)

PLAIN = DirectorConfig(class_weights="none")
OCEANIA = Box(-55, -8, 110, 200)
GLOBE = Box(-90, 90, -180, 180)
CAP = 10.0

How = Literal["inverse", "effective_number"]
hows = st.sampled_from(["inverse", "effective_number"])
some_ids = st.lists(st.integers(0, 12), min_size=1, max_size=200)
many_ids = st.lists(st.integers(1, 40_000), min_size=2, max_size=6).map(
    lambda counts: np.repeat(np.arange(len(counts)), counts)
)
logits_of_4 = arrays(np.float32, (4, 3), elements=st.floats(-80, 80, width=32))
shares_of_4 = arrays(np.float32, (4, 3), elements=st.floats(0.0625, 1, width=32))
squares = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(some_ids, hows)
def test_weights_are_1_on_average_over_photos_and_0_without_photos(ids: list[int], how: How) -> None:
    region_ids = np.array(ids)
    weights = region_weights(region_ids, 13, how, cap=1e9)
    assert weights[region_ids].mean() == pytest.approx(1)
    assert ((weights > 0) == np.isin(np.arange(13), region_ids)).all()


@given(many_ids, hows, st.floats(1, 20))
def test_a_rarer_region_weighs_no_less_and_none_more_than_the_cap(region_ids: np.ndarray, how: How, cap: float) -> None:
    counts = np.bincount(region_ids)
    weights = region_weights(region_ids, len(counts), how, cap)
    assert (np.diff(weights[np.argsort(counts)]) <= 1e-9).all()
    uncapped = region_weights(region_ids, len(counts), how, cap=1e9)
    assert (weights <= uncapped).all()
    assert weights[counts >= counts.mean()] == pytest.approx(uncapped[counts >= counts.mean()])


def test_the_cap_counts_from_a_region_of_average_size() -> None:
    counts = [29_000, 900, 100, 10_000]  # the last is of average size
    region_ids = np.repeat([0, 1, 2, 3], counts)
    inverse = region_weights(region_ids, 4, "inverse", CAP)
    assert inverse == pytest.approx([10 / 29, 10, 10, 1])
    effective = region_weights(region_ids, 4, "effective_number", CAP)
    assert effective[2] == pytest.approx(CAP * effective[3])


@given(many_ids)
def test_the_effective_number_lies_between_no_weights_and_inverse_ones(region_ids: np.ndarray) -> None:
    counts = np.bincount(region_ids)
    effective, inverse = (
        region_weights(region_ids, len(counts), how, cap=1e9) for how in ("effective_number", "inverse")
    )
    rare, common = counts.argmin(), counts.argmax()
    assert 1 - 1e-9 <= effective[rare] / effective[common] <= inverse[rare] / inverse[common] + 1e-9


def test_the_effective_number_is_that_of_its_formula() -> None:
    region_ids = np.repeat([0, 1], [20_000, 50])
    numbers = [(1 - 0.9999**n) / (1 - 0.9999) for n in (20_000, 50)]
    weights = region_weights(region_ids, 2, "effective_number", cap=1e9)
    assert weights[1] / weights[0] == pytest.approx(numbers[0] / numbers[1])


@pytest.mark.parametrize("how", ["inverse", "effective_number"])
def test_balanced_photos_weigh_the_same(how: How) -> None:
    assert region_weights(np.repeat([0, 1, 2], 7), 3, how, CAP) == pytest.approx([1, 1, 1])


@given(some_ids)
def test_photos_are_drawn_so_that_regions_are_shown_equally_often(ids: list[int]) -> None:
    region_ids = np.array(ids)
    weights = photo_weights(region_ids, 13)
    shown = np.bincount(region_ids, weights=weights, minlength=13)
    assert shown.sum() == pytest.approx(1)
    assert shown[shown > 0] == pytest.approx(1 / len(set(ids)))
    assert np.random.default_rng(0).choice(len(ids), size=3, p=weights).max() < len(ids)


@given(logits_of_4, st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_without_weights_and_focal_it_is_cross_entropy(logits: np.ndarray, ids: list[int]) -> None:
    outputs, region_ids = torch.from_numpy(logits), torch.tensor(ids)
    expected = F.cross_entropy(outputs, region_ids, reduction="none")
    assert torch.allclose(director_loss(PLAIN, np.array(ids), 3)(outputs, region_ids), expected)
    assert torch.allclose(plain_cross_entropy(outputs, region_ids), expected)


@given(logits_of_4, st.lists(st.integers(0, 2), min_size=4, max_size=4), st.floats(0, 5))
def test_one_hot_shares_are_the_same_as_ids(logits: np.ndarray, ids: list[int], gamma: float) -> None:
    outputs, region_ids = torch.from_numpy(logits), torch.tensor(ids)
    loss = director_loss(DirectorConfig(focal_gamma=gamma), np.array(ids), 3)
    assert torch.equal(loss(outputs, F.one_hot(region_ids, 3).float()), loss(outputs, region_ids))


@given(logits_of_4, shares_of_4, some_ids)
def test_weighted_shares_are_those_of_torch(logits: np.ndarray, shares: np.ndarray, ids: list[int]) -> None:
    outputs, labels = torch.from_numpy(logits), torch.from_numpy(shares / shares.sum(axis=1, keepdims=True))
    region_ids = np.array(ids) % 3
    weights = torch.from_numpy(region_weights(region_ids, 3, "inverse", CAP)).float()
    expected = F.cross_entropy(outputs, labels, weight=weights, reduction="none")
    assert torch.allclose(
        director_loss(DirectorConfig(class_weights="inverse"), region_ids, 3)(outputs, labels), expected, rtol=1e-4
    )


def test_focal_loss_is_that_of_its_formula() -> None:
    loss = director_loss(PLAIN.model_copy(update={"focal_gamma": 2.0}), np.array([0, 1]), 2)
    logits = torch.tensor([[0.8, 0.2], [0.2, 0.8]]).log()
    assert loss(logits, torch.tensor([0, 0])).tolist() == pytest.approx([-0.04 * np.log(0.8), -0.64 * np.log(0.2)])
    half = loss(logits[:1], torch.tensor([[0.5, 0.5]]))
    assert half.tolist() == pytest.approx([-0.5 * 0.04 * np.log(0.8) - 0.5 * 0.64 * np.log(0.2)])


@given(arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)), st.floats(0, 10))
@example(np.array([[200, 0, 0]] * 4, dtype=np.float32), 0.5)  # p is 1: the slope of (1 - p)^0.5 is infinite there
def test_every_loss_and_slope_is_finite(logits: np.ndarray, gamma: float) -> None:
    outputs = torch.from_numpy(logits).requires_grad_()
    loss = director_loss(DirectorConfig(focal_gamma=gamma), np.array([0, 1, 2]), 3)(outputs, torch.tensor([0, 1, 2, 0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


def test_class_weights_count_rare_regions_the_same_in_any_batch() -> None:
    """A weighted mean over the batch, as torch takes it, makes a batch of rare photos alone weigh nothing more."""
    region_ids = np.repeat([0, 1], [900, 100])
    logits = torch.zeros(2, 2)
    loss = director_loss(DirectorConfig(class_weights="inverse"), region_ids, 2)
    of_both = loss(logits, torch.tensor([0, 1]))
    assert of_both[1] / of_both[0] == pytest.approx(9)
    assert loss(logits[:1], torch.tensor([1]))[0] == of_both[1]


def test_half_precision_outputs_are_judged_in_float32() -> None:
    logits = torch.tensor([[9.0, -3.0]], dtype=torch.bfloat16)
    assert director_loss(PLAIN, np.array([0, 1]), 2)(logits, torch.tensor([1])).dtype == torch.float32
    assert plain_cross_entropy(logits, torch.tensor([1])).dtype == torch.float32
    for name in ("mse", "smooth_l1", "great_circle"):
        loss = expert_loss(load_config(ExpertConfig, overrides=[f"loss={name}"]), OCEANIA)
        assert loss(torch.tensor([[0.5, 0.5]], dtype=torch.bfloat16), torch.tensor([[0.1, 0.1]])).dtype == torch.float32


def test_what_corrects_twice_is_said() -> None:
    said = double_corrections(DirectorConfig(balanced_sampler=True, class_weights="effective_number"))
    assert said is not None
    assert "balanced_sampler and class_weights=effective_number both" in said
    assert "Set class_weights=none" in said
    for fine in (
        DirectorConfig(focal_gamma=2),
        DirectorConfig(balanced_sampler=True, class_weights="none"),
        DirectorConfig(balanced_sampler=True, class_weights="none", focal_gamma=2),
    ):
        assert double_corrections(fine) is None


@pytest.mark.parametrize("name", ["mse", "smooth_l1"])
def test_expert_losses_are_those_of_their_formulas(name: str) -> None:
    square, target = torch.tensor([[0.5, 0.5], [0.6, 0.8]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    expected = {"mse": (0.1**2 + 0.3**2) / 2, "smooth_l1": (0.5 * 0.1**2 / 0.1 + (0.3 - 0.05)) / 2}[name]
    loss = expert_loss(load_config(ExpertConfig, overrides=[f"loss={name}"]), OCEANIA)
    assert loss(square, target).tolist() == pytest.approx([expected, 0])


@pytest.mark.parametrize("name", ["mse", "smooth_l1"])
def test_a_place_outside_the_box_pulls_no_further_than_its_edge(name: str) -> None:
    loss = expert_loss(load_config(ExpertConfig, overrides=[f"loss={name}"]), OCEANIA)
    assert float(loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[7.0, -3.0]]))) == 0


@given(
    st.sampled_from([OCEANIA, GLOBE, Box(40, 90, -180, 180)]),
    squares,
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
def test_great_circle_is_the_distance_to_the_place_itself(
    box: Box, square: tuple[float, float], place: tuple[float, float]
) -> None:
    """Also to a place outside the box, where the other losses stop at its edge."""
    outputs = torch.tensor([square], dtype=torch.float32, requires_grad=True)
    targets = torch.from_numpy(box.normalize([place]).astype(np.float32))
    loss = expert_loss(ExpertConfig(loss="great_circle"), box)(outputs, targets)
    assert loss.item() * 1000 == pytest.approx(float(haversine_km(box.denormalize(square), place)), abs=0.1)
    loss.sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


def test_great_circle_goes_the_short_way_around_the_globe() -> None:
    square = torch.tensor([[0.5, 0.01]], requires_grad=True)
    expert_loss(ExpertConfig(loss="great_circle"), GLOBE)(square, torch.tensor([[0.5, 0.99]])).sum().backward()
    assert square.grad is not None
    assert square.grad[0, 1] > 0  # westward is nearer


def test_great_circle_learns_a_place() -> None:
    place, logits = (-17.7, -178.0), torch.zeros(1, 2)  # Fiji, across the date line from the middle of the box
    targets = torch.from_numpy(OCEANIA.normalize([place]).astype(np.float32))
    loss = expert_loss(ExpertConfig(loss="great_circle"), OCEANIA)
    for step in range(200):
        logits.requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits.sigmoid(), targets).sum(), logits)
        logits = logits.detach() - slope / (5 + step)
    assert haversine_km(OCEANIA.denormalize(logits.sigmoid().numpy()), place) < 50


PLACES = [(0.0, 0.0), (0.0, 0.8), (1.0, 10.0), (1.0, 11.0), (50.0, 10.0), (51.0, 10.0), (50.0, 30.0), (52.0, 31.0)]
CODE = CellCode.fit(CellTree.fit(PLACES, {"country": 2, "city": 4}), PLACES)
ONE_LEVEL = CellCode.fit(CellTree.fit(PLACES, {"city": 4}), PLACES)
answers = arrays(np.float32, (5, CODE.outputs), elements=st.floats(-30, 30, width=32))
true_places = st.lists(st.sampled_from(PLACES), min_size=5, max_size=5)


@given(arrays(np.float32, (5, ONE_LEVEL.outputs), elements=st.floats(-30, 30, width=32)), true_places)
def test_one_level_of_cells_without_smoothing_is_cross_entropy(
    outputs: np.ndarray, points: list[tuple[float, float]]
) -> None:
    targets = torch.from_numpy(ONE_LEVEL.targets(points))
    loss = cells_loss(ONE_LEVEL, [2.0], offset_weight=0)(torch.from_numpy(outputs), targets)
    by_hand = F.cross_entropy(torch.from_numpy(outputs[:, :4]), targets[:, 0].long(), reduction="none")
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, 2 * by_hand, atol=1e-4)


def test_the_levels_and_the_offset_add_up() -> None:
    outputs = torch.randn(8, CODE.outputs, generator=torch.Generator().manual_seed(0))
    targets = torch.from_numpy(CODE.targets(PLACES))
    city = targets[:, 0].long()
    country = torch.from_numpy(CODE.tree.chains[:, 0])[city]
    offsets = torch.stack([outputs[row, 6 + 2 * cell : 8 + 2 * cell] for row, cell in enumerate(city.tolist())])
    by_hand = (
        0.5 * F.cross_entropy(outputs[:, :2], country, reduction="none")
        + 2 * F.cross_entropy(outputs[:, 2:6], city, reduction="none")
        + 3 * F.smooth_l1_loss(offsets, targets[:, 1:], reduction="none").sum(dim=1)
    )
    assert torch.allclose(cells_loss(CODE, [0.5, 2], offset_weight=3)(outputs, targets), by_hand, atol=1e-5)


@given(answers, true_places, st.sampled_from([0.0, 50.0, 1000.0]), st.sampled_from([0.0, 0.5, 2.0]))
def test_gradients_are_finite_and_only_the_true_cells_offset_learns(
    outputs: np.ndarray, points: list[tuple[float, float]], smoothing_km: float, gamma: float
) -> None:
    answer = torch.from_numpy(outputs).requires_grad_()
    targets = torch.from_numpy(CODE.targets(points))
    loss = cells_loss(CODE, [0.5, 1], offset_weight=1, smoothing_km=smoothing_km, focal_gamma=gamma)
    loss(answer, targets).sum().backward()
    assert answer.grad is not None
    assert answer.grad.isfinite().all()
    moved = answer.grad[:, 6:].reshape(5, 4, 2).abs().sum(dim=2) > 0
    others = torch.ones(5, 4, dtype=torch.bool)
    others[torch.arange(5), targets[:, 0].long()] = False
    assert not (moved & others).any()


@pytest.mark.parametrize("smoothing_km", [1.0, 100.0, 5000.0])
def test_smoothed_labels_sum_to_1_and_do_not_contradict(smoothing_km: float) -> None:
    """Where all logits but one are equal, the gradient with respect to a logit is p - t, which shows the labels t."""
    targets = torch.from_numpy(CODE.targets(PLACES))
    outputs = torch.zeros(8, CODE.outputs, requires_grad=True)
    cells_loss(CODE, [1, 1], offset_weight=0, smoothing_km=smoothing_km)(outputs, targets).sum().backward()
    assert outputs.grad is not None
    country, city = 1 / 2 - outputs.grad[:, :2], 1 / 4 - outputs.grad[:, 2:6]
    assert torch.allclose(country.sum(dim=1), torch.ones(8), atol=1e-6)
    assert torch.allclose(city.sum(dim=1), torch.ones(8), atol=1e-6)
    parents = CODE.tree.levels[1].parents
    for cell in range(2):
        assert torch.allclose(country[:, cell], city[:, parents == cell].sum(dim=1), atol=1e-6)
    true = targets[:, 0].long()
    assert (city.argmax(dim=1) == true).all()
    shares = np.exp(-CODE.centre_distances_km[true] / smoothing_km)
    assert city.detach().numpy() == pytest.approx(shares / shares.sum(axis=1, keepdims=True), abs=1e-6)
