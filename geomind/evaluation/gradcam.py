"""Grad-CAM: where in a photo a number comes from that a network makes of it. It knows no regions and no places."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geomind.backbones import Backbone

Map = NDArray[np.float64]
"""What each position of the last map adds to a number: (rows, columns), signed, in the number's unit."""


class Look:
    """One photo, as an image encoder saw it.

    Attributes:
        features: (features,) that it made of the photo.
    """

    def __init__(self, encoder: Backbone, pixels: NDArray[np.float32]) -> None:
        """Encode a photo: (3, S, S) normalised pixels; the encoder is left in eval mode.

        Raises:
            ConfigError: this encoder has no map over the photo.
        """
        said: list[Tensor] = []
        hook = encoder.eval().last_map.register_forward_hook(lambda _module, _inputs, map_: said.append(map_))
        try:
            with torch.enable_grad():
                photo = torch.from_numpy(pixels)[None].to(next(encoder.parameters()).device)
                self._features: Tensor = encoder(photo.requires_grad_())
        finally:
            hook.remove()
        self._map, self._over_photo = said[-1], encoder.over_photo  # a layer that is used twice speaks last
        self._over_photo(self._map)
        self.features: NDArray[np.float32] = self._features[0].detach().float().cpu().numpy()

    def contributions(self, direction: NDArray[np.floating]) -> Map:
        """Tell what each position adds to a number that grows with the features along a direction: (features,).

        Selvaraju et al. 2017 ("Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        equations 1 and 2), before the ReLU: each channel of the last map counts as much as the number's gradient says,
        on average over all positions. Where features are the average over positions and the number is a linear layer's,
        these contributions add up to it, less its bias.
        """
        along = torch.from_numpy(np.asarray(direction, dtype=np.float32))[None].to(self._features)
        (gradient,) = torch.autograd.grad(self._features, self._map, along, retain_graph=True)
        channels, slope = (self._over_photo(each)[0].double() for each in (self._map.detach(), gradient))
        summed = (slope.mean(dim=(1, 2))[:, None, None] * channels).sum(dim=0)
        contributions: Map = summed.cpu().numpy()
        return contributions


def enlarged(heat: Map, side: int) -> Map:
    """Lay a map over the square that the encoder saw: (rows, columns) -> (side, side), bilinear, as the authors do."""
    small = torch.from_numpy(np.ascontiguousarray(heat, dtype=np.float64))[None, None]
    large: Map = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)[0, 0].numpy()
    return large
