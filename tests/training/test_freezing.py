from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geomind.backbones import build_backbone
from geomind.errors import ConfigError
from geomind.networks import DirectorNetwork
from geomind.training.freezing import freeze


@given(blocks=st.integers(1, 5))
def test_the_first_parts_are_frozen_and_no_other(blocks: int) -> None:
    backbone = build_backbone("scene_net", 32)
    freeze(backbone, f"blocks:{blocks}")
    for number, part in enumerate(backbone.parts):
        assert [parameter.requires_grad for parameter in part] == [number > blocks] * 3


def test_none_freezes_nothing_and_backbone_everything() -> None:
    network = DirectorNetwork("scene_net", 32, 2, dropout=0.5)
    freeze(network.backbone, "none")
    assert all(parameter.requires_grad for parameter in network.parameters())
    freeze(network.backbone, "backbone")
    network.train()
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert not any(module.training for module in network.backbone.modules())
    assert all(module.training for module in network.head)  # its dropout too


@pytest.mark.parametrize("name", ["scene_net", "efficientnet_b1", "timm:test_resnet"])
def test_what_is_frozen_stays_through_training(name: str) -> None:
    """Batch normalisation learns its statistics without gradients: a frozen one must not, whoever calls train()."""
    torch.manual_seed(0)
    backbone = build_backbone(name, 32)
    freeze(backbone, "blocks:1")
    frozen = {id(parameter) for part in backbone.parts[:2] for parameter in part}
    before = copy.deepcopy(backbone.state_dict())
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-2)
    for _ in range(2):  # each epoch of a training begins and ends with these
        nn.Sequential(backbone).eval()
        nn.Sequential(backbone).train()
        optimizer.zero_grad()
        backbone(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    after, at_rest = backbone.state_dict(), 0
    for path, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            rests = id(module.weight) in frozen
            at_rest += rests
            assert module.training is not rests
            for key in ("weight", "running_mean", "running_var", "num_batches_tracked"):
                assert torch.equal(before[f"{path}.{key}"], after[f"{path}.{key}"]) == rests, f"{path}.{key}"
    assert at_rest >= 2


def test_frozen_blocks_drop_nothing() -> None:
    """A transformer block that is frozen answers in training as it does at inference."""
    torch.manual_seed(0)
    backbone = build_backbone("timm:test_vit", 32)
    block = backbone.network.blocks[0]  # type: ignore[union-attr, operator, index]
    block.mlp.drop1.p = 0.5
    freeze(backbone, "blocks:1")
    backbone.train()
    assert not block.mlp.drop1.training
    assert backbone.network.blocks[1].mlp.drop1.training  # type: ignore[union-attr, operator, index]


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"freeze=blocks:17: this backbone has 16 blocks"):
        freeze(build_backbone("efficientnet_b0", 32), "blocks:17")
    freeze(build_backbone("efficientnet_b0", 32), "blocks:16")
