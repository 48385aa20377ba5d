"""The Director: pixels -> region probabilities. It knows nothing of places inside a region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomind.backbones import build_backbone
from geomind.checkpoints import Description, check_finite, load_checkpoint, load_network


class DirectorNetwork(nn.Module):
    """An image encoder with one linear layer over its pooled features: a logit a region."""

    def __init__(self, backbone: str, image_size: int, regions: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, image_size)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.features, regions))

    def forward(self, pixels: Tensor) -> Tensor:
        """Score regions: (N, 3, S, S) -> (N, regions) logits."""
        logits: Tensor = self.head(self.backbone(pixels))
        return logits


class Director:
    """A trained Director that answers in NumPy."""

    def __init__(
        self, network: DirectorNetwork, description: Description, device: torch.device, path: Path | str = "the weights"
    ) -> None:
        self.network = network.to(device).eval()
        self.description = description
        self._device = device
        self._path = path

    @classmethod
    def load(cls, path: Path | str, device: str | torch.device = "cpu") -> Director:
        """Load a Director from its weights file.

        Raises:
            CheckpointError: the file is missing, broken, or no Director's.
        """
        state, description = load_checkpoint(path, "director")
        network = DirectorNetwork(description.backbone, description.preprocessing.image_size, len(description.regions))
        load_network(network, state, path)
        return cls(network, description, torch.device(device), path)

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tell how probable each region is: (N, 3, S, S) normalised pixels -> (N, regions), rows sum to 1.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        logits = self.network(torch.from_numpy(pixels).to(self._device))
        probabilities: NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        check_finite(probabilities, self._path)
        return probabilities
