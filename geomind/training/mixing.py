"""Blends of the photos of one batch, and of their labels alike. All chance is that of torch's global generator."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from geomind.config import DirectorConfig

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Pixels (N, 3, S, S), labels (N, regions) float -> the same, blended; a photo that is alone is blended with itself."""


def build_mix(config: DirectorConfig) -> Mix | None:
    """Build the blending that the settings ask for, or None where they ask for none.

    MixUp (Zhang et al. 2018) blends whole photos, CutMix (Yun et al. 2019) pastes a rectangle; where the settings name
    both, each batch gets one of them, with even chances. Each photo is paired with the one before it in the batch, so
    that the batches must be shuffled.
    """
    from torchvision.transforms import v2

    mixes: list[Mix] = []
    if config.mixup_alpha:
        mixes.append(v2.MixUp(alpha=config.mixup_alpha))
    if config.cutmix_alpha:
        mixes.append(v2.CutMix(alpha=config.cutmix_alpha))
    if len(mixes) < 2:
        return mixes[0] if mixes else None
    either: Mix = v2.RandomChoice(mixes)
    return either
