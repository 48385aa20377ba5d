"""Image encoders by name: pixels (N, 3, S, S) -> pooled features (N, features). They know no regions and no places."""

from __future__ import annotations

from typing import Literal

from geomind.backbones.attention import AttentionPooled
from geomind.backbones.encoders import (
    EFFICIENTNETS,
    TORCHVISION,
    Backbone,
    EfficientNetBackbone,
    SceneNet,
    TorchvisionBackbone,
)
from geomind.backbones.timm_network import TimmBackbone
from geomind.backbones.weights import load_backbone_weights
from geomind.errors import ConfigError

__all__ = [
    "BACKBONES",
    "EFFICIENTNETS",
    "AttentionPooled",
    "Backbone",
    "Pooling",
    "build_backbone",
    "load_backbone_weights",
]

BACKBONES = (*EFFICIENTNETS, *TORCHVISION, "scene_net")
"""Every name but those of timm, which begin with `timm:`."""


Pooling = Literal["average", "attention"]
"""How an encoder makes features of what it sees all over the photo: as it was made to, or by attention."""


def build_backbone(name: str, image_size: int, pooling: Pooling = "average") -> Backbone:
    """Build an encoder with random weights.

    Args:
        name: Which one.
        image_size: Side of the squares that it will see, pixels.
        pooling: `average` is its own pooling, which for nearly all is the average; `attention` is `AttentionPooled`.

    Raises:
        ConfigError: no encoder has this name, or it cannot see squares of this size, or be pooled so.
        MissingExtraError: it is one of timm's, and timm is not installed.
    """
    encoder = _build_encoder(name, image_size)
    return AttentionPooled(encoder) if pooling == "attention" else encoder


def _build_encoder(name: str, image_size: int) -> Backbone:
    if name == "scene_net":
        return SceneNet()
    if name in EFFICIENTNETS:
        return EfficientNetBackbone(name, image_size)
    if name in TORCHVISION:
        return TorchvisionBackbone(name, image_size)
    if name.startswith("timm:"):
        return TimmBackbone(name, image_size)
    raise ConfigError(f"Unknown backbone '{name}'. There are {', '.join(BACKBONES)}, and timm:NAME.")
