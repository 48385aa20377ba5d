from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from geomind.backbones import BACKBONES, build_backbone, load_backbone_weights
from geomind.checkpoints import director_path
from geomind.errors import CheckpointError, ConfigError


@pytest.mark.parametrize("name", ["efficientnet_b0", "scene_net"])
def test_an_encoder_pools_to_its_features_and_learns(name: str) -> None:
    backbone = build_backbone(name, 32)
    features = backbone(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, backbone.features)
    features.square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_the_original_encoder_is_efficientnet_b0_of_5_3_million_parameters() -> None:
    """4,007,548 without its classifier (Tan & Le 2019, table 1: 5.3 M with it)."""
    parameters = sum(parameter.numel() for parameter in build_backbone("efficientnet_b0", 224).parameters())
    assert parameters == 4_007_548


def test_an_unknown_encoder_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"efficientnet_b0, .*scene_net"):
        build_backbone("resnet_9000", 32)
    assert "scene_net" in BACKBONES


def test_weights_from_a_file_as_published(tmp_path: Path) -> None:
    from efficientnet_pytorch import EfficientNet

    published = EfficientNet.from_name("efficientnet-b0")  # with its classifier of 1,000 classes
    torch.save(published.state_dict(), tmp_path / "b0.pth")
    backbone = build_backbone("efficientnet_b0", 32)
    load_backbone_weights(backbone, "efficientnet_b0", str(tmp_path / "b0.pth"))
    assert torch.equal(backbone.network._conv_stem.weight, published._conv_stem.weight)  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match="do not fit the backbone efficientnet_b1"):
        load_backbone_weights(build_backbone("efficientnet_b1", 32), "efficientnet_b1", str(tmp_path / "b0.pth"))


def test_weights_from_a_trained_director(models: Path) -> None:
    torch.manual_seed(7)
    backbone = build_backbone("scene_net", 32)
    before = backbone.layers[0].weight.clone()  # type: ignore[union-attr, operator]
    load_backbone_weights(backbone, "scene_net", str(director_path(models)))
    assert not torch.equal(before, backbone.layers[0].weight)  # type: ignore[union-attr, arg-type]


def test_no_network_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library retried a dead network for a minute before it said anything."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"Network is unreachable.*backbone\.weights=none") as caught:
        load_backbone_weights(build_backbone("efficientnet_b0", 32), "efficientnet_b0", "imagenet")
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)


def test_cached_imagenet_weights_need_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from efficientnet_pytorch import EfficientNet
    from efficientnet_pytorch.utils import url_map

    (tmp_path / "checkpoints").mkdir()
    published = EfficientNet.from_name("efficientnet-b0")
    torch.save(published.state_dict(), tmp_path / "checkpoints" / Path(url_map["efficientnet-b0"]).name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    backbone = build_backbone("efficientnet_b0", 32)
    load_backbone_weights(backbone, "efficientnet_b0", "imagenet")
    assert torch.equal(backbone.network._conv_stem.weight, published._conv_stem.weight)  # type: ignore[union-attr]


def test_there_are_no_imagenet_weights_of_the_demo_network() -> None:
    with pytest.raises(CheckpointError, match="no ImageNet weights for scene_net"):
        load_backbone_weights(build_backbone("scene_net", 32), "scene_net", "imagenet")
