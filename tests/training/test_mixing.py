from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geomind.config import DirectorConfig
from geomind.training.mixing import build_mix

alphas = st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.4, 1.0)])


def batch(photos: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Photo i is one colour, i, and all of region i: what a label says of a photo can be read off its pixels."""
    pixels = torch.arange(photos, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 3, side, side).clone()
    return pixels, torch.eye(photos)


def config(mixup: float, cutmix: float) -> DirectorConfig:
    return DirectorConfig(mixup_alpha=mixup, cutmix_alpha=cutmix)


def test_nothing_is_mixed_unless_asked() -> None:
    assert build_mix(DirectorConfig()) is None


@given(alphas, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_labels_are_blended_as_the_pixels_are(alpha: tuple[float, float], photos: int, seed: int) -> None:
    mix = build_mix(config(*alpha))
    assert mix is not None
    torch.manual_seed(seed)
    pixels, labels = batch(photos)
    mixed, shares = mix(pixels, labels)
    assert mixed.shape == pixels.shape
    assert shares.sum(dim=1) == pytest.approx(1)
    assert mixed.mean(dim=(1, 2, 3)) == pytest.approx(shares @ torch.arange(photos, dtype=torch.float32), abs=1e-4)
    assert torch.equal(pixels, batch(photos)[0])  # what came in stays as it was
    assert torch.equal(labels, batch(photos)[1])


@given(alphas, st.integers(0, 2**32 - 1))
def test_all_chance_is_that_of_torch(alpha: tuple[float, float], seed: int) -> None:
    """A resumed training repeats a step by that seed alone."""
    mix = build_mix(config(*alpha))
    assert mix is not None
    others = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.manual_seed(seed)
    first = mix(*batch(4))
    torch.manual_seed(seed)
    second = mix(*batch(4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == others  # noqa: NPY002


def test_mixup_blends_whole_photos_and_cutmix_pastes_a_rectangle() -> None:
    torch.manual_seed(0)
    mixup, cutmix = build_mix(config(0.4, 0)), build_mix(config(0, 1.0))
    assert mixup is not None
    assert cutmix is not None
    for _ in range(20):
        assert len(mixup(*batch(2))[0][0].unique()) == 1
        assert set(cutmix(*batch(2))[0].unique().tolist()) <= {0.0, 1.0}


def test_with_both_each_batch_gets_one() -> None:
    torch.manual_seed(0)
    mix = build_mix(config(0.4, 1.0))
    assert mix is not None
    pasted = [set(mix(*batch(2))[0].unique().tolist()) <= {0.0, 1.0} for _ in range(200)]
    assert 70 < sum(pasted) < 130
