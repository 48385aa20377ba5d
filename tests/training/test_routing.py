from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from geomind.checkpoints import director_path
from geomind.director import Director
from geomind.training.routing import UNREADABLE, route, rows_of_expert

ids = arrays(np.int64, 20, elements=st.integers(0, 4))


@pytest.fixture
def director(models: Path, photos: list[Path]) -> Director:
    """A Director that is of two minds about the photos: they lie around the middle of what it can tell apart."""
    director = Director.load(director_path(models))
    backbone, linear = director.network.backbone, director.network.head[1]
    assert isinstance(linear, torch.nn.Linear)
    pixels = np.stack([director.description.preprocessing.read(path) for path in photos])
    with torch.inference_mode():
        linear.bias.copy_(-linear(backbone(torch.from_numpy(pixels))).mean(dim=0) + linear.bias)
    return director


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        stripes = random.integers(0, 256, (1, 50, 3), dtype=np.uint8).repeat(40, axis=0)
        Image.fromarray(stripes).save(path)
    return paths


def test_photos_are_routed_as_at_inference(director: Director, photos: list[Path], tmp_path: Path) -> None:
    photos[4].write_bytes(b"broken")
    routed = route(director, photos, tmp_path / "features")
    readable = [path for path in photos if path != photos[4]]
    pixels = np.stack([director.description.preprocessing.read(path) for path in readable])
    assert pixels.shape[-1] == SIZE
    asked = director.probabilities(pixels).argmax(axis=1)
    assert routed.tolist() == [*asked[:4], UNREADABLE, *asked[4:]]
    assert len(set(asked)) > 2


def test_the_next_expert_finds_the_routes_ready(models: Path, photos: list[Path], tmp_path: Path) -> None:
    first = route(Director.load(director_path(models)), photos, tmp_path / "features")
    again = Director.load(director_path(models))
    again.network.backbone.forward = None  # type: ignore[assignment]  # whoever asks it for a photo fails
    np.testing.assert_array_equal(route(again, photos, tmp_path / "features"), first)


def test_no_photo_has_no_route(models: Path, tmp_path: Path) -> None:
    assert route(Director.load(director_path(models)), [], tmp_path / "features").shape == (0,)


@given(ids, ids, st.integers(0, 4))
def test_an_expert_learns_from_its_photos_and_from_those_sent_to_it(
    region_ids: np.ndarray, routed: np.ndarray, region_id: int
) -> None:
    chosen = rows_of_expert(region_ids, routed, region_id)
    for own, sent, taken in zip(region_ids, routed, chosen, strict=True):
        assert taken == (region_id in (own, sent))


def test_what_the_director_cannot_read_stays_with_its_region() -> None:
    chosen = rows_of_expert(np.array([3, 2]), np.array([UNREADABLE, UNREADABLE]), 3)
    assert chosen.tolist() == [True, False]
