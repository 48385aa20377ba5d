from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from geomind.config import AUGMENT_POLICIES, AugmentConfig
from geomind.photos import Preprocessing
from geomind.training.augment import build_augment

SIZE = 32
PREPROCESSING = Preprocessing(image_size=SIZE)
CHANGING = sorted(AUGMENT_POLICIES.keys() - {"none"})
STILL = AUGMENT_POLICIES["none"]


def photo() -> Image.Image:
    """Bright at the top, red at the left, blue at the right."""
    pixels = np.full((60, 80, 3), 60, dtype=np.uint8)
    pixels[:, :40, 0] = 180
    pixels[:, 40:, 2] = 180
    pixels[:20] += 60
    return Image.fromarray(pixels)


def changed(config: AugmentConfig, times: int = 40) -> np.ndarray:
    augment = build_augment(config, PREPROCESSING)
    assert augment is not None
    torch.manual_seed(0)
    return np.stack([np.asarray(augment(photo())) for _ in range(times)]).astype(int)


def mirrored(squares: np.ndarray) -> np.ndarray:
    half = SIZE // 2
    return squares[:, :, :half, 0].mean(axis=(1, 2)) < squares[:, :, half:, 0].mean(axis=(1, 2))


def upside_down(squares: np.ndarray) -> np.ndarray:
    return squares[:, :6].mean(axis=(1, 2, 3)) < squares[:, -6:].mean(axis=(1, 2, 3))


@pytest.mark.parametrize("policy", CHANGING)
def test_every_policy_gives_squares_that_differ(policy: str) -> None:
    squares = changed(AUGMENT_POLICIES[policy], times=3)
    assert squares.shape == (3, SIZE, SIZE, 3)
    assert (squares[0] != squares[1]).any()


def test_the_policy_none_builds_nothing() -> None:
    assert build_augment(STILL, PREPROCESSING) is None


@pytest.mark.parametrize("policy", ["light", "strong"])
def test_our_policies_neither_mirror_a_photo_nor_turn_it_over(policy: str) -> None:
    """It would mirror the side of the road and the script."""
    colour = AUGMENT_POLICIES[policy].model_copy(update={"grayscale_probability": 0})
    squares = changed(colour)
    assert not mirrored(squares).any()
    # A crop may leave out the bright top, but nothing brighter than the rest comes to lie below.
    assert not (squares[:, -6:].mean(axis=(1, 2, 3)) > squares[:, :6].mean(axis=(1, 2, 3)) + 20).any()


def test_the_original_policy_flips_half_of_the_photos_both_ways() -> None:
    original = AUGMENT_POLICIES["original"].model_copy(update={"grayscale_probability": 0})
    squares = changed(original, times=100)
    assert 30 < mirrored(squares).sum() < 70
    assert 30 < upside_down(squares).sum() < 70


@pytest.mark.parametrize(
    ("change", "share"),
    [({"horizontal_flip": True}, 0.5), ({"grayscale_probability": 1.0}, 1.0), ({"hue_jitter": 0.5}, 1.0)],
)
def test_each_change_works_alone_and_on_the_central_square(change: dict[str, object], share: float) -> None:
    still = np.asarray(PREPROCESSING.square(photo())).astype(int)
    squares = changed(STILL.model_copy(update=change))
    differs = (np.abs(squares - still) > 2).any(axis=(1, 2, 3))
    assert differs.mean() == pytest.approx(share, abs=0.25)
    if "grayscale_probability" in change:
        assert (squares[..., 0] == squares[..., 2]).all()


def test_a_turn_is_at_most_as_wide_as_asked() -> None:
    turned = changed(STILL.model_copy(update={"rotation_degrees": 20.0}))
    black = (turned.sum(axis=-1) == 0).mean(axis=(1, 2))  # the corners that a turn uncovers
    side = np.deg2rad(20)
    uncovered = 1 - 1 / (np.cos(side) + np.sin(side)) ** 2  # an upper bound: the square inscribed in the turned one
    assert (black <= uncovered).all()
    assert (black > 0).sum() > 30


@pytest.mark.parametrize("policy", CHANGING)
def test_all_chance_is_that_of_torch(policy: str) -> None:
    """A resumed training repeats a photo's changes by that seed alone."""
    others = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert (changed(AUGMENT_POLICIES[policy], times=5) == changed(AUGMENT_POLICIES[policy], times=5)).all()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == others  # noqa: NPY002
