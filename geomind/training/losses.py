"""What training minimises and how rare regions are made to count. It knows no networks and no loops.

A loss gives one number a photo; the loop takes their mean over the photos of all devices. So a photo counts the same
whatever batch it falls into, and class weights have their mean of 1 over the training set, not over a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geomind.config import DirectorConfig, ExpertConfig
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.torch_sphere import great_circle_km

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (N, …), targets (N, …) -> the loss of each photo, (N,) float32."""

EFFECTIVE_BETA = 0.9999
"""Chance that a photo repeats nothing of a given other one of its region, as if there were 1 / (1 - beta) = 10,000
different ones. The largest value that Cui et al. 2019 tried, since a region is as wide as a continent."""

SMOOTH_L1_BETA = 0.1
"""Share of the box's side up to which Smooth L1 squares an error; beyond it grows linearly."""


def director_loss(config: DirectorConfig, region_ids: NDArray[np.int64], regions: int) -> Loss:
    """Build cross-entropy over regions, with class weights and focal where the settings ask for them.

    The loss of a photo is Σ_c w_c t_c (1 - p_c)^γ (-log p_c): Lin et al. 2017, "Focal Loss for Dense Object Detection",
    for labels t that may be shared among regions c.

    Args:
        config: The settings.
        region_ids: (n,) region of each training photo, which the class weights are fitted to.
        regions: How many regions there are.

    Returns:
        The loss of logits (N, regions) and labels: region ids (N,) int64, or shares (N, regions) whose rows sum to 1.
    """
    weights = torch.ones(regions)
    if config.class_weights != "none":
        fitted = region_weights(region_ids, regions, config.class_weights, config.class_weight_cap)
        weights = torch.from_numpy(fitted.astype(np.float32))
    gamma = config.focal_gamma

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        shares = labels if labels.is_floating_point() else F.one_hot(labels, regions)
        return _focal(logits, weights.to(logits.device) * shares, gamma)

    return loss


def _focal(logits: Tensor, shares: Tensor, gamma: float) -> Tensor:
    """Sum up Σ_c t_c (1 - p_c)^γ (-log p_c): logits (N, C), weighed labels t (N, C) -> (N,)."""
    log_p = F.log_softmax(logits.float(), dim=1)
    terms = shares * -log_p
    if gamma:
        # Never quite 0, where the slope of a power below 1 is infinite.
        unsure = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
        terms = terms * unsure**gamma
    return terms.sum(dim=1)


def plain_cross_entropy(logits: Tensor, region_ids: Tensor) -> Tensor:
    """Measure -log p of the true region: logits (N, regions), ids (N,) -> (N,). What a Director's val_loss is.

    Neither weighted nor focal nor smoothed, whatever is trained with, so that the val_loss of two recipes compare. The
    original project stopped by its weighted criterion instead.
    """
    return F.cross_entropy(logits.float(), region_ids, reduction="none")


def region_weights(
    region_ids: NDArray[np.int64], regions: int, how: Literal["inverse", "effective_number"], cap: float
) -> NDArray[np.float64]:
    """Weigh regions by how rare their photos are: (n,) ids -> (regions,), 0 where there are none.

    ``inverse`` is 1 / photos. ``effective_number`` is (1 - β) / (1 - β^photos): much the same for hundreds of photos,
    nearly constant for tens of thousands, whose like the network has seen often enough (Cui et al. 2019,
    "Class-Balanced Loss Based on Effective Number of Samples").

    The mean over all photos is 1. Then no region may weigh more than ``cap`` times one of average size: a handful of
    photos must not steer the Director.
    """
    counts = np.bincount(region_ids, minlength=regions).astype(np.float64)
    present = counts > 0
    raw = np.zeros(regions)
    raw[present] = _rarity(counts[present], how)
    most = cap * _rarity(counts[present].mean(), how)
    weights: NDArray[np.float64] = np.minimum(raw, most) * counts.sum() / (raw @ counts)
    return weights


def _rarity(photos: Any, how: Literal["inverse", "effective_number"]) -> Any:
    if how == "inverse":
        return 1 / photos
    return (1 - EFFECTIVE_BETA) / -np.expm1(photos * np.log(EFFECTIVE_BETA))


def photo_weights(region_ids: NDArray[np.int64], regions: int) -> NDArray[np.float64]:
    """Say how often to draw each photo so that regions are shown equally often: (n,) ids -> (n,), summing to 1."""
    rarity = 1 / np.bincount(region_ids, minlength=regions)[region_ids]
    weights: NDArray[np.float64] = rarity / rarity.sum()
    return weights


def double_corrections(config: DirectorConfig) -> str | None:
    """Say in a sentence that the settings make up for rare regions twice; None where they do not.

    Focal loss beside either is no such case: it goes by how sure the Director is of a photo, not by its region's
    number of photos, and both its authors and those of the effective number train with weights besides.
    """
    if not config.balanced_sampler or config.class_weights == "none":
        return None
    return (
        f"balanced_sampler and class_weights={config.class_weights} both make up for rare regions: a region shown k "
        "times as often also weighs up to k times as much. Set class_weights=none, or balanced_sampler=false."
    )


def expert_loss(config: ExpertConfig, box: Box) -> Loss:
    """Build the loss of points in the unit square of a box: outputs (N, 2), targets (N, 2) -> (N,).

    ``mse`` and ``smooth_l1`` are means over both axes of the square, where a place outside the box pulls no further
    than the box's edge. ``great_circle`` is the distance on the sphere in thousands of km, to where the place really
    is: a degree east counts less in the north, and the two ends of a box around the globe are neighbours.
    """
    if config.loss == "great_circle":
        return lambda square, targets: great_circle_km(_degrees(box, square), _degrees(box, targets)) / 1000

    def loss(square: Tensor, targets: Tensor) -> Tensor:
        square, targets = square.float(), targets.clamp(0, 1)
        if config.loss == "mse":
            return F.mse_loss(square, targets, reduction="none").mean(dim=1)
        return F.smooth_l1_loss(square, targets, reduction="none", beta=SMOOTH_L1_BETA).mean(dim=1)

    return loss


def cells_loss(
    code: CellCode,
    level_weights: Sequence[float],
    *,
    offset_weight: float,
    smoothing_km: float = 0.0,
    focal_gamma: float = 0.0,
) -> Loss:
    """Build the loss of places in cells: outputs (N, code.outputs), targets (N, 3) of the code -> (N,).

    It is the weighted sum of each level's cross-entropy, focal where ``focal_gamma`` is above 0, and of the Smooth L1
    loss of the offset in the true finest cell, counted in the cell's scale.

    A finest cell whose centre is d km away from the true cell's gets exp(-d / ``smoothing_km``) of its share (Haas et
    al. 2024, "PIGEON", whose distances are those of the photo), and a coarse cell those of its finest ones together, so
    that the labels of no two levels contradict.
    """
    chains, finest = code.tree.chains, code.sizes[-1]
    shares = np.eye(finest) if not smoothing_km else np.exp(-code.centre_distances_km / smoothing_km)
    shares /= shares.sum(axis=1, keepdims=True)
    labels = []
    for level, size in enumerate(code.sizes):
        sums = np.zeros((size, finest))
        np.add.at(sums, chains[:, level], shares.T)
        labels.append(torch.from_numpy(sums.T.astype(np.float32)))

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        outputs, true = outputs.float(), targets[:, 0].long()
        total, first = torch.zeros(len(outputs), device=outputs.device), 0
        for size, weight, shares in zip(code.sizes, level_weights, labels, strict=True):
            own = shares.to(outputs.device)[true]
            total = total + weight * _focal(outputs[:, first : first + size], own, focal_gamma)
            first += size
        offsets = outputs[:, first:].reshape(-1, finest, 2)[torch.arange(len(outputs)), true]
        return total + offset_weight * F.smooth_l1_loss(offsets, targets[:, 1:], reduction="none").sum(dim=1)

    return loss


def _degrees(box: Box, square: Tensor) -> Tensor:
    return torch.stack(box.degrees(square.float()), dim=-1)
