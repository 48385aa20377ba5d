"""Image encoders by name: pixels (N, 3, S, S) -> pooled features (N, features). They know no regions and no places."""

from __future__ import annotations

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

__all__ = ["BACKBONES", "EFFICIENTNETS", "Backbone", "build_backbone", "load_backbone_weights"]

BACKBONES = (*EFFICIENTNETS, *TORCHVISION, "scene_net")
"""Every name but those of timm, which begin with `timm:`."""


def build_backbone(name: str, image_size: int) -> Backbone:
    """Build an encoder with random weights.

    Raises:
        ConfigError: no encoder has this name, or it cannot see squares of this size.
        MissingExtraError: it is one of timm's, and timm is not installed.
    """
    if name == "scene_net":
        return SceneNet()
    if name in EFFICIENTNETS:
        return EfficientNetBackbone(name, image_size)
    if name in TORCHVISION:
        return TorchvisionBackbone(name, image_size)
    if name.startswith("timm:"):
        return TimmBackbone(name, image_size)
    raise ConfigError(f"Unknown backbone '{name}'. There are {', '.join(BACKBONES)}, and timm:NAME.")
