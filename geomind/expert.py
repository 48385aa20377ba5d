"""An Expert: pixels -> a point in its region's box. It takes for granted that the photo shows its region."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomind.backbones import build_backbone
from geomind.checkpoints import Description, check_finite, load_checkpoint, load_network
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points


class ExpertNetwork(nn.Module):
    """An image encoder with a linear layer of two sigmoid units over its pooled features: (y_lat, y_lon) in [0, 1]²."""

    def __init__(self, backbone: str, image_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, image_size)
        self.head = _Head(nn.Dropout(dropout), nn.Linear(self.backbone.features, 2), nn.Sigmoid())

    def forward(self, pixels: Tensor) -> Tensor:
        """Place photos in the unit square of the box: (N, 3, S, S) -> (N, 2)."""
        square: Tensor = self.head(self.backbone(pixels))
        return square


class _Head(nn.Sequential):
    """Layers that stay in float32 under autocast: near 1, bfloat16 has steps of 1/256, 20 km of a box 5,000 km wide."""

    def forward(self, features: Tensor) -> Tensor:
        """Place features in the unit square: (N, features) -> (N, 2)."""
        device = features.device.type
        rounding = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
        with rounding:
            square: Tensor = super().forward(features.float())  # type: ignore[no-untyped-call]
        return square


class Expert:
    """A trained Expert that answers in degrees."""

    def __init__(
        self, network: ExpertNetwork, description: Description, device: torch.device, path: Path | str = "the weights"
    ) -> None:
        self.network = network.to(device).eval()
        self.description = description
        self.box = description.fitted_box
        self._device = device
        self._path = path

    @classmethod
    def load(
        cls, path: Path | str, *, regions: RegionTable | None = None, device: str | torch.device = "cpu"
    ) -> Expert:
        """Load an Expert from its weights file; it must know ``regions`` where these are given.

        Raises:
            CheckpointError: the file is missing, broken, no Expert's, or of another table of regions.
        """
        state, description = load_checkpoint(path, "expert", regions=regions)
        network = ExpertNetwork(description.backbone, description.preprocessing.image_size)
        load_network(network, state, path)
        return cls(network, description, torch.device(device), path)

    @torch.inference_mode()
    def locate(self, pixels: NDArray[np.float32]) -> Points:
        """Place photos of the Expert's region: (N, 3, S, S) normalised pixels -> (N, 2) degrees.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        square = self.network(torch.from_numpy(pixels).to(self._device)).double().cpu().numpy()
        check_finite(square, self._path)
        return self.box.denormalize(square)
