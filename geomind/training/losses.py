"""What training minimises and how rare regions are made to count. It knows no networks and no loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import WeightedRandomSampler

from geomind.config import DirectorConfig, ExpertConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (N, …), targets (N, …) -> the mean loss, a scalar."""

LARGEST_WEIGHT = 10.0
"""No region weighs more than this many times one of average size: a handful of photos must not steer the Director."""


def director_loss(config: DirectorConfig, region_ids: NDArray[np.int64], regions: int) -> Loss:
    """Build cross-entropy over regions, weighted by region where the settings ask for it."""
    weights = None
    if config.balance == "class_weights":
        weights = torch.from_numpy(region_weights(region_ids, regions).astype(np.float32))
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=config.label_smoothing)


def director_sampler(
    config: DirectorConfig, region_ids: NDArray[np.int64], regions: int
) -> WeightedRandomSampler | None:
    """Build a sampler that shows every region that has photos equally often, where the settings ask for it."""
    if config.balance != "sampler":
        return None
    weights = 1 / np.bincount(region_ids, minlength=regions)[region_ids]
    order = torch.Generator().manual_seed(config.seed)
    return WeightedRandomSampler(weights.tolist(), num_samples=len(region_ids), generator=order)


def region_weights(region_ids: NDArray[np.int64], regions: int) -> NDArray[np.float64]:
    """Weigh regions inversely to their photos: (n,) ids -> (regions,).

    A region of average size weighs 1, one without photos 0, and none more than ``LARGEST_WEIGHT``.
    """
    counts = np.bincount(region_ids, minlength=regions)
    present = counts > 0
    weights = np.zeros(regions)
    weights[present] = np.minimum(counts[present].mean() / counts[present], LARGEST_WEIGHT)
    return weights


def expert_loss(config: ExpertConfig) -> Loss:
    """Build the loss on box-normalised coordinates; a place outside the box pulls no further than the box's edge.

    Smooth L1 turns linear at 0.1 of the box's side, where MSE goes on squaring the few places it cannot reach.
    """
    loss = nn.MSELoss() if config.loss == "mse" else nn.SmoothL1Loss(beta=0.1)
    return lambda square, targets: loss(square, targets.clamp(0, 1))
