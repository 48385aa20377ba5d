from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomind.config import DirectorConfig, ExpertConfig
from geomind.training.losses import director_loss, director_sampler, expert_loss, region_weights


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200))
def test_weights_are_1_on_average_over_photos_and_0_without_photos(ids: list[int]) -> None:
    region_ids = np.array(ids)
    weights = region_weights(region_ids, 13)
    assert weights[region_ids].mean() == pytest.approx(1)
    assert ((weights > 0) == np.isin(np.arange(13), region_ids)).all()


def test_a_rarer_region_weighs_more_but_not_without_limit() -> None:
    weights = region_weights(np.repeat([0, 1, 2], [10_000, 100, 1]), 3)
    assert weights[0] < weights[1] <= weights[2]
    assert weights[2] == weights[1]  # both at the limit


def test_balanced_photos_weigh_the_same() -> None:
    assert region_weights(np.repeat([0, 1, 2], 7), 3) == pytest.approx([1, 1, 1])


def test_the_sampler_shows_regions_equally_often() -> None:
    region_ids = np.repeat([0, 1], [900, 100])
    sampler = director_sampler(DirectorConfig(balance="sampler"), region_ids, 2)
    assert sampler is not None
    assert region_ids[list(sampler)].mean() == pytest.approx(0.5, abs=0.06)
    assert director_sampler(DirectorConfig(balance="class_weights"), region_ids, 2) is None


def test_class_weights_reach_the_loss() -> None:
    region_ids = np.repeat([0, 1], [900, 100])
    logits, rare = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    plain = director_loss(DirectorConfig(balance="none"), region_ids, 2)(logits, rare)
    weighted = director_loss(DirectorConfig(), region_ids, 2)(logits, rare)
    assert weighted > plain  # the wrong one is of the rare region


@pytest.mark.parametrize("name", ["mse", "smooth_l1"])
def test_expert_losses_are_those_of_their_formulas(name: str) -> None:
    square, target = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.6, 0.8]])
    expected = {"mse": (0.1**2 + 0.3**2) / 2, "smooth_l1": (0.5 * 0.1**2 / 0.1 + (0.3 - 0.05)) / 2}[name]
    assert float(expert_loss(ExpertConfig(loss=name))(square, target)) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_place_outside_the_box_pulls_no_further_than_its_edge() -> None:
    loss = expert_loss(ExpertConfig(loss="mse"))
    assert float(loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[7.0, -3.0]]))) == 0
