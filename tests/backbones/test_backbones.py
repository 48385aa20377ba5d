from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import describe
from torch import Tensor, nn
from torchvision.models import vision_transformer

from geomind.backbones import BACKBONES, EFFICIENTNETS, build_backbone
from geomind.checkpoints import save_checkpoint
from geomind.director import Director
from geomind.errors import ConfigError
from geomind.geography.regions import RegionTable
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing
from geomind.training.freezing import freeze

SIZE = 64
TESTED = (
    "scene_net",
    "efficientnet_b0",  # b1 to b7 differ from it in width and depth alone
    "torchvision:efficientnet_b0",
    "efficientnet_v2_s",
    "resnet50",
    "convnext_tiny",
    "vit_b_16",
    "timm:test_resnet",
    "timm:test_vit",
)


@pytest.fixture
def short_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give vit_b_16 two layers of its twelve: the same operators in a fifth of the time."""
    whole = vision_transformer._vision_transformer
    monkeypatch.setattr(vision_transformer, "_vision_transformer", lambda **sizes: whole(**{**sizes, "num_layers": 2}))


@pytest.mark.parametrize("name", TESTED)
def test_every_encoder_learns_comes_back_from_its_file_and_exports(
    name: str, tmp_path: Path, two_regions: RegionTable, short_transformer: None
) -> None:
    torch.manual_seed(0)
    network, pixels = DirectorNetwork(name, SIZE, len(two_regions)), torch.randn(4, 3, SIZE, SIZE)
    freeze(network.backbone, "stem")
    before = [[parameter.clone() for parameter in part] for part in network.backbone.parts]
    loss = _learn_once(network, pixels)
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    for number, (old, new) in enumerate(zip(before, network.backbone.parts, strict=True)):
        assert all(map(torch.equal, old, new)) == (number == 0), f"part {number}"

    with torch.no_grad():
        expected = network.eval()(pixels).softmax(dim=1).numpy()
    assert expected.std(axis=0).min() > 1e-3  # the photos have different answers
    weights = tmp_path / "director.safetensors"
    own = {"backbone": name, "preprocessing": Preprocessing(image_size=SIZE)}
    save_checkpoint(weights, network.state_dict(), describe("director", two_regions).model_copy(update=own))
    director = Director.load(weights)
    np.testing.assert_allclose(director.probabilities(pixels.numpy()), expected, rtol=0, atol=1e-6)

    program = torch.onnx.export(
        director.network,
        (pixels[:2],),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("photos")},),
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (logits,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(dim=1).numpy(), expected, rtol=0, atol=1e-4)


def _learn_once(network: nn.Module, pixels: Tensor) -> Tensor:
    """Take one step of AdamW, and then let batch normalisation know the statistics of these very photos.

    A random network that does not know them answers in eval mode with nothing, or with numbers beyond all measure.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loss = nn.functional.cross_entropy(network.train()(pixels), torch.tensor([0, 1, 1, 0]))
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        network(pixels)
    return loss


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_builds_what_it_says(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 64)
        assert backbone(torch.empty(2, 3, 64, 64)).shape == (2, backbone.features)
    in_parts = [parameter for part in backbone.parts for parameter in part]
    assert all(backbone.parts)
    assert len(set(in_parts)) == len(in_parts)  # in one part each
    assert set(in_parts) <= set(backbone.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "blocks"),
    [
        # With their classifiers of 1,000 classes these are 5.3, 25.6, 28.6 and 86.6 million, as published.
        ("efficientnet_b0", 4_007_548, 16),
        ("resnet50", 23_508_032, 16),
        ("convnext_tiny", 27_820_128, 18),
        ("vit_b_16", 85_798_656, 12),
    ],
)
def test_an_encoder_is_the_published_one(name: str, parameters: int, blocks: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 224)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters
    assert len(backbone.parts) == 1 + blocks


def test_an_unknown_encoder_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"efficientnet_b0, .*resnet50, .*scene_net, and timm:NAME"):
        build_backbone("resnet_9000", 32)
    assert set(EFFICIENTNETS) < set(BACKBONES)


def test_a_transformer_wants_whole_squares() -> None:
    with pytest.raises(ConfigError, match=r"100 is no multiple of it\. Take --set image_size=96 or 112"):
        build_backbone("vit_b_16", 100)
