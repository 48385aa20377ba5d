from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import describe
from torch import Tensor, nn

from geomind.backbones import BACKBONES, EFFICIENTNETS, Pooling, build_backbone
from geomind.backbones.encoders import TorchvisionBackbone
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
STRIDE_16 = ("scene_net", "vit_b_16", "timm:test_vit")


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


@pytest.mark.parametrize("name", TESTED)
def test_the_tokens_are_what_is_pooled(name: str, short_transformer: None) -> None:
    torch.manual_seed(0)
    backbone, pixels = build_backbone(name, SIZE), torch.randn(4, 3, SIZE, SIZE)
    _know(backbone, pixels)
    class_tokens: list[Tensor] = []
    if isinstance(backbone, TorchvisionBackbone) and name == "vit_b_16":
        backbone.network.encoder.register_forward_hook(lambda _, __, seen: class_tokens.append(seen[:, 0]))
    with torch.no_grad():
        tokens, pooled = backbone.eval().tokens(pixels), backbone(pixels)
        assert tokens.shape == (4, (SIZE // (16 if name in STRIDE_16 else 32)) ** 2, backbone.token_features)
        assert tokens.std() > 0.01
        mean = tokens.mean(dim=1)
        if name == "scene_net":
            mean = torch.cat([mean, tokens.amax(dim=1)], dim=1)
        if name == "convnext_tiny":  # its normalisation stands after pooling: the same where there is one position
            pooled, mean = backbone(pixels[..., :32, :32]), backbone.tokens(pixels[..., :32, :32]).squeeze(1)
        if name == "vit_b_16":  # its pooled features are the class token, which is none of the tokens
            assert torch.equal(class_tokens[0], pooled)
            mean = class_tokens[1]
        if name == "timm:test_vit":
            seen = backbone.network.forward_features(pixels * backbone.input_scale + backbone.input_shift)  # type: ignore[union-attr, operator]
            assert torch.equal(tokens, seen[:, 1:])
            mean = seen[:, 0]
    torch.testing.assert_close(pooled, mean, rtol=1e-4, atol=1e-5)


def _know(backbone: nn.Module, pixels: Tensor) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone.train()(pixels)


@pytest.mark.parametrize("name", ["scene_net", "resnet50", "vit_b_16", "timm:test_mambaout", "timm:test_resnet"])
def test_tokens_lie_over_the_photo_row_by_row(name: str, short_transformer: None) -> None:
    """What is seen in a corner changes the tokens of that corner the most."""
    torch.manual_seed(0)
    backbone, pixels = build_backbone(name, 128), torch.randn(4, 3, 128, 128)
    _know(backbone, pixels)
    with torch.no_grad():
        before = backbone.eval().tokens(pixels)
        side = round(before.shape[1] ** 0.5)
        for bottom in (False, True):
            for right in (False, True):
                changed = pixels.clone()
                changed[..., slice(96, None) if bottom else slice(32), slice(96, None) if right else slice(32)] = 3
                moved = (backbone.tokens(changed) - before).norm(dim=2).sum(dim=0).reshape(side, side)
                halves = side // 2
                assert (moved[halves:].sum() > moved[:halves].sum()) == bottom
                assert (moved[:, halves:].sum() > moved[:, :halves].sum()) == right


@pytest.mark.parametrize("pooling", ["average", "attention"])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_builds_what_it_says(name: str, pooling: Pooling) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 64, pooling)
        assert backbone(torch.empty(2, 3, 64, 64)).shape == (2, backbone.features)
        assert backbone.tokens(torch.empty(2, 3, 64, 64)).shape[2] == backbone.token_features
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
