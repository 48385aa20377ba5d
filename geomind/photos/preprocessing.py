"""From a photo to a network's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from geomind.photos.reading import open_photo


class Preprocessing(BaseModel):
    """How a photo becomes a network's input; stored with the weights and used wherever they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=224, ge=8, le=4096)
    """Side of the square that the network sees, in pixels; 224 is EfficientNet-B0's."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Taken from each channel of [0, 1]; the default is ImageNet's."""

    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Each channel is divided by it; the default is ImageNet's."""

    resample: Literal["bilinear", "bicubic"] = "bicubic"
    """Kernel of the resize; the ImageNet weights of EfficientNet were trained with bicubic."""

    views: int = Field(default=1, ge=1, le=16)
    """Squares of a photo that are looked at: 1 is the central one; several are spread evenly over its longer side."""

    def square(self, image: Image.Image, at: float = 0.5) -> Image.Image:
        """Cut a square and resize it, in one pass: RGB of any shape -> RGB, image_size x image_size.

        It is as large as fits and lies at a share of the way along the longer side: 0.5 is the centre.
        """
        kernel = Image.Resampling[self.resample.upper()]
        size = (self.image_size, self.image_size)
        # A gap of 2 shrinks by whole numbers first, down to twice the size: faster, and looks the same (Pillow's docs).
        return image.resize(size, kernel, box=square_in(image.size, at), reducing_gap=2.0)

    def normalize(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB picture into numbers: (3, height, width), (value / 255 - mean) / std."""
        std = np.asarray(self.std, dtype=np.float32)
        scale, shift = 1 / (255 * std), np.asarray(self.mean, dtype=np.float32) / std
        return np.ascontiguousarray((np.asarray(image, dtype=np.float32) * scale - shift).transpose(2, 0, 1))

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB photo of any shape into the network's input: (3, S, S), or (views, 3, S, S) of several views."""
        if self.views == 1:
            return self.normalize(self.square(image))
        return np.stack([self.normalize(self.square(image, at)) for at in np.linspace(0, 1, self.views)])

    def read(self, path: Path | str | bytes) -> NDArray[np.float32]:
        """Read a photo, or the bytes of one, as the network's input: (3, S, S), or (views, 3, S, S) of several views.

        Raises:
            PhotoError: the photo cannot be read; the message is the reason.
        """
        return self.pixels(open_photo(path, min_side=self.image_size))


def square_in(size: tuple[int, int], at: float = 0.5) -> tuple[float, float, float, float]:
    """Find the largest square of a picture: its (width, height) -> left, top, right and bottom of the square.

    It lies at a share of the way along the longer side: 0.5 is the centre.
    """
    width, height = size
    side = min(width, height)
    left, top = (width - side) * at, (height - side) * at
    return left, top, left + side, top + side
