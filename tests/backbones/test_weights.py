from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import url_map
from torch import nn
from torchvision.models import get_model, get_model_weights

from geomind.backbones import build_backbone, load_backbone_weights
from geomind.checkpoints import director_path
from geomind.errors import CheckpointError

TORCHVISION = ("torchvision:efficientnet_b0", "efficientnet_v2_s", "resnet50", "convnext_tiny", "vit_b_16")


def _published(name: str) -> tuple[nn.Module, str]:
    """Make a network as its library does, with its classifier of 1,000 classes; and where its weights are published."""
    if name.startswith("efficientnet_b"):
        name = name.replace("_", "-")
        return EfficientNet.from_name(name), url_map[name]
    name = name.removeprefix("torchvision:")
    return get_model(name, weights=None), get_model_weights(name).DEFAULT.url


@pytest.mark.parametrize("name", ["efficientnet_b0", *TORCHVISION])
def test_published_weights_from_a_file_and_from_torchs_cache(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loopback_only: None
) -> None:
    published, url = _published(name)
    file = tmp_path / "checkpoints" / Path(url).name
    file.parent.mkdir()
    torch.save(published.state_dict(), file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for weights in (str(file), "imagenet"):
        backbone = build_backbone(name, 224)
        load_backbone_weights(backbone, name, weights)
        theirs = published.state_dict()
        for key, ours in backbone.state_dict().items():
            assert torch.equal(ours, theirs[key.removeprefix("network.")]), key
    with pytest.raises(CheckpointError, match="do not fit the backbone efficientnet_b1: they are another") as caught:
        load_backbone_weights(build_backbone("efficientnet_b1", 32), "efficientnet_b1", str(file))
    assert "\n" not in str(caught.value)
    file.unlink()


def test_weights_from_a_trained_director(models: Path) -> None:
    torch.manual_seed(7)
    backbone = build_backbone("scene_net", 32)
    before = backbone.layers[0].weight.clone()  # type: ignore[union-attr, operator, index]
    load_backbone_weights(backbone, "scene_net", str(director_path(models)))
    assert not torch.equal(before, backbone.layers[0].weight)  # type: ignore[union-attr, arg-type, index]
    with pytest.raises(CheckpointError, match="do not fit the backbone resnet50"):
        load_backbone_weights(build_backbone("resnet50", 32), "resnet50", str(director_path(models)))


@pytest.mark.parametrize("saved_by", ["torchvision", "geomind"])
def test_position_embeddings_are_stretched_to_another_image_size(saved_by: str) -> None:
    """A plane stays a plane, whoever saved it; the class token, which has no position, stays as it is."""
    plane = torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    positions = torch.cat([torch.tensor([5.0]), plane.flatten()])[None, :, None].expand(1, 5, 768)
    key = "encoder.pos_embedding" if saved_by == "torchvision" else "network.encoder.pos_embedding"
    with torch.device("meta"):
        backbone = build_backbone("vit_b_16", 64)
    stretched = backbone.from_published({key: positions})["network.encoder.pos_embedding"][0, :, 0]
    assert stretched[0] == 5
    corners = stretched[1:].reshape(4, 4)[[0, 0, 3, 3], [0, 3, 0, 3]]
    torch.testing.assert_close(corners, plane.flatten(), rtol=0, atol=1e-5)


def test_position_embeddings_that_are_no_square_are_refused(tmp_path: Path) -> None:
    torch.save({"encoder.pos_embedding": torch.zeros(1, 4, 768)}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="do not fit the backbone vit_b_16"):
        load_backbone_weights(build_backbone("vit_b_16", 32), "vit_b_16", str(tmp_path / "odd.pth"))


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50"])
def test_no_network_is_said_at_once(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library retried a dead network for a minute before it said anything."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    backbone = build_backbone(name, 32)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"Network is unreachable.*backbone\.weights=none") as caught:
        load_backbone_weights(backbone, name, "imagenet")
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)


def test_there_are_no_imagenet_weights_of_the_demo_network() -> None:
    with pytest.raises(CheckpointError, match="no ImageNet weights for scene_net"):
        load_backbone_weights(build_backbone("scene_net", 32), "scene_net", "imagenet")
