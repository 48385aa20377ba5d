"""Grad-CAM: what it says is what can be computed by hand, and lies where in the photo it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geomind.backbones import Backbone, build_backbone
from geomind.evaluation.gradcam import Look, enlarged

SIZE = 64


class Averaging(Backbone):
    """One convolution of four channels, and the average of each over all positions."""

    features = token_features = 4

    def __init__(self, seed: int, stride: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 4, stride, stride=stride)

    def forward(self, pixels: Tensor) -> Tensor:
        pooled: Tensor = self.layer(pixels).mean(dim=(2, 3))
        return pooled

    def tokens(self, pixels: Tensor) -> Tensor:
        raise AssertionError("Grad-CAM asks the map")

    @property
    def last_map(self) -> nn.Module:
        return self.layer

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        return []


class Quadrants(Averaging):
    """Four features, each the brightness of one quadrant: top left, top right, bottom left, bottom right."""

    def forward(self, pixels: Tensor) -> Tensor:
        half = pixels.shape[2] // 2
        sides = (slice(None, half), slice(half, None))
        seen = torch.cat(
            [_only(pixels.mean(dim=1, keepdim=True), rows, columns) for rows in sides for columns in sides], 1
        )
        pooled: Tensor = self.hold(nn.functional.avg_pool2d(seen, 8)).mean(dim=(2, 3))
        return pooled

    def __init__(self) -> None:
        super().__init__(0)
        self.hold = nn.Identity()

    @property
    def last_map(self) -> nn.Module:
        return self.hold


def _only(photo: Tensor, rows: slice, columns: slice) -> Tensor:
    kept = torch.zeros_like(photo)
    kept[:, :, rows, columns] = photo[:, :, rows, columns]
    return kept


def photo(seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, size, size)).astype(np.float32)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), stride=st.sampled_from([4, 8, 16]))
def test_over_an_average_it_is_the_linear_layers_own_sum(seed: int, stride: int) -> None:
    """The class activation map of Zhou et al. 2016, in NumPy: each position's channels times the weights."""
    encoder = Averaging(seed, stride)
    direction = np.random.default_rng(seed).normal(size=4)
    look = Look(encoder, photo(seed))
    weights = encoder.layer.weight.detach().numpy().reshape(4, -1)
    side = SIZE // stride
    squares = photo(seed).reshape(3, side, stride, side, stride).transpose(1, 3, 0, 2, 4).reshape(side, side, -1)
    channels = squares @ weights.T + encoder.layer.bias.detach().numpy()
    np.testing.assert_allclose(look.contributions(direction), channels @ direction / side**2, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(look.contributions(direction).sum(), look.features @ direction, rtol=1e-3, atol=1e-4)


def test_over_the_demos_encoder_mean_and_maximum_both_count() -> None:
    torch.manual_seed(0)
    encoder = build_backbone("scene_net", SIZE)
    look = Look(encoder, photo())
    direction = np.random.default_rng(1).normal(size=encoder.features)
    with torch.no_grad():
        channels = encoder.layers(torch.from_numpy(photo())[None])[0].numpy()  # type: ignore[operator]
    assert channels.shape[1:] == (4, 4)
    once = (
        direction[:192] + direction[192:]
    ) / 16  # a maximum's gradient is 1 at one position of 16, and a mean's 1/16
    np.testing.assert_allclose(
        look.contributions(direction), np.tensordot(once, channels, axes=1), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("quadrant", range(4))
def test_what_one_quadrant_decides_lights_up_that_quadrant(quadrant: int) -> None:
    heat = Look(Quadrants(), np.abs(photo())).contributions(np.eye(4)[quadrant])
    large = enlarged(heat, SIZE)
    rows, columns = (slice(0, 32), slice(32, 64))[quadrant // 2], (slice(0, 32), slice(32, 64))[quadrant % 2]
    assert large[rows, columns].sum() > 0.9 * large.sum() > 0  # the rest is half a position beyond the edge
    assert (large[rows, columns][8:-8, 8:-8] > 0).all()


def test_a_black_photo_of_a_network_without_biases_gives_zeros() -> None:
    encoder = Averaging(0)
    nn.init.zeros_(encoder.layer.bias)  # type: ignore[arg-type]
    contributions = Look(encoder, np.zeros((3, SIZE, SIZE), np.float32)).contributions(np.ones(4))
    assert contributions.shape == (8, 8)
    assert (contributions == 0).all()


@pytest.mark.parametrize(
    ("name", "averages"),
    [
        ("efficientnet_b0", True),
        ("efficientnet_v2_s", True),
        ("resnet50", True),
        ("convnext_tiny", False),
        ("vit_b_16", False),
        ("timm:test_resnet", True),
        ("timm:test_vit", False),
        ("timm:test_mambaout", False),
    ],
)
def test_every_encoder_has_a_map_that_its_features_come_from(
    name: str, averages: bool, short_transformer: None
) -> None:
    torch.manual_seed(0)
    encoder = build_backbone(name, SIZE)
    for module in encoder.modules():  # of random weights, each layer would say next to nothing
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        encoder.train()(torch.from_numpy(np.stack([photo(seed) for seed in range(1, 5)])))
    look = Look(encoder, photo())
    direction = np.random.default_rng(1).normal(size=encoder.features)
    contributions = look.contributions(direction)
    assert contributions.shape[0] == contributions.shape[1] > 1
    assert np.isfinite(contributions).all()
    assert np.ptp(contributions) > 0
    if averages:
        np.testing.assert_allclose(contributions.sum(), look.features @ direction, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["scene_net", "vit_b_16"])
def test_an_encoder_pooled_by_attention_has_one_too(name: str, short_transformer: None) -> None:
    torch.manual_seed(0)
    encoder = build_backbone(name, SIZE, "attention")
    contributions = Look(encoder, photo()).contributions(np.ones(encoder.features))
    assert contributions.shape == (4, 4)
    assert np.ptp(contributions) > 0


def test_a_corner_of_a_transformers_map_is_that_corner_of_the_photo() -> None:
    """The class token comes first, and must not be taken for a position."""
    encoder = build_backbone("scene_net", SIZE)
    said = torch.arange(17.0)[None, :, None].expand(1, 17, 2)
    laid = encoder.over_photo(said)
    assert laid.shape == (1, 2, 4, 4)
    np.testing.assert_array_equal(laid[0, 0].numpy(), np.arange(1, 17).reshape(4, 4))


def test_enlarging_keeps_a_constant_and_the_ends() -> None:
    np.testing.assert_allclose(enlarged(np.full((7, 7), 0.5), 33), 0.5, rtol=1e-12)
    large = enlarged(np.array([[0.0, 1.0]]), 8)
    assert large.shape == (8, 8)
    assert (large[:, :2] == 0).all()
    assert (large[:, -2:] == 1).all()
    assert (np.diff(large[0]) >= 0).all()
