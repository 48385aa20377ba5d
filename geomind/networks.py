"""The networks as torch modules: an image encoder under a head. They know no files and no runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomind.backbones import Backbone, Pooling, build_backbone


class EncoderWithHead(nn.Module):
    """An image encoder, and a head that answers from its pooled features."""

    backbone: Backbone
    head: nn.Module

    def forward(self, pixels: Tensor) -> Tensor:
        """Answer photos: (N, 3, S, S) -> (N, answers)."""
        answers: Tensor = self.head(self.backbone(pixels))
        return answers


class DirectorNetwork(EncoderWithHead):
    """One linear layer over the features gives a logit a region: (N, 3, S, S) -> (N, regions)."""

    head: nn.Sequential

    def __init__(self, backbone: str, image_size: int, regions: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, image_size)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.features, regions))


class ExpertNetwork(EncoderWithHead):
    """Two sigmoid units over the features give (y_lat, y_lon) in the unit square of a box: (N, 3, S, S) -> (N, 2)."""

    head: nn.Sequential

    def __init__(self, backbone: str, image_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, image_size)
        self.head = _Head(nn.Dropout(dropout), nn.Linear(self.backbone.features, 2), nn.Sigmoid())


class CellsNetwork(EncoderWithHead):
    """One linear layer answers as a ``CellCode`` reads it: (N, 3, S, S) -> (N, outputs), logits, then offsets."""

    head: nn.Sequential

    def __init__(
        self,
        backbone: str,
        image_size: int,
        sizes: Sequence[int],
        dropout: float = 0.0,
        *,
        pooling: Pooling = "average",
    ) -> None:
        """Take how many cells each level has, coarse to fine. At the start every offset is 0, at the cell's centre."""
        super().__init__()
        self.backbone = build_backbone(backbone, image_size, pooling)
        logits, offsets = sum(sizes), 2 * sizes[-1]
        linear = nn.Linear(self.backbone.features, logits + offsets)
        with torch.no_grad():
            linear.weight[logits:] = 0
            linear.bias[logits:] = 0
        self.head = nn.Sequential(nn.Dropout(dropout), linear)


class VectorNetwork(EncoderWithHead):
    """Three linear units over the features give a unit vector, a place on the sphere: (N, 3, S, S) -> (N, 3)."""

    head: nn.Sequential

    def __init__(self, backbone: str, image_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, image_size)
        self.head = _Head(nn.Dropout(dropout), nn.Linear(self.backbone.features, 3), _UnitLength())


class _UnitLength(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        """Give vectors the length 1: (N, 3) -> (N, 3)."""
        return F.normalize(vectors, dim=1)


class _Head(nn.Sequential):
    """Layers that stay in float32 under autocast: near 1, bfloat16 has steps of 1/256, 20 km of a box 5,000 km wide."""

    def forward(self, features: Tensor) -> Tensor:
        """Place features in the unit square or on the sphere: (N, features) -> (N, 2) or (N, 3)."""
        device = features.device.type
        rounding = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
        with rounding:
            square: Tensor = super().forward(features.float())  # type: ignore[no-untyped-call]
        return square


class WithFeatures(nn.Module):
    """A network that gives its pooled features beside its answer, as every runtime runs it."""

    def __init__(self, network: EncoderWithHead) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Answer: (N, 3, S, S) -> the network's answer, and (N, features)."""
        features = self.network.backbone(pixels)
        return self.network.head(features), features
