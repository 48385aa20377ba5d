"""Photos as a torch data set: path → pixels and a target. It knows no regions; targets are what it is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from geomind.errors import PhotoError
from geomind.photos import Preprocessing, open_photo

logger = logging.getLogger(__name__)

Augment = Callable[[Image.Image], Image.Image]
"""A random change of a training photo: an RGB photo of any shape -> an RGB square of the network's size."""

Batch = tuple[Tensor, Tensor]
"""Pixels (N, 3, S, S) float32 and targets (N, …)."""

_MARGIN = 1.25
"""A photo that will be cropped at random is decoded this much larger than the square, so that a crop stays sharp."""


class PhotoDataset(Dataset[Batch | None]):
    """Photos and their targets; one that cannot be read gives None, which ``collate`` leaves out of its batch."""

    def __init__(
        self,
        paths: Sequence[Path],
        targets: NDArray[np.generic],
        preprocessing: Preprocessing,
        *,
        augment: Augment | None = None,
        cache: bool = False,
    ) -> None:
        self._paths = list(paths)
        self._targets = torch.from_numpy(np.ascontiguousarray(targets))
        self._preprocessing = preprocessing
        self._augment = augment
        self._warned: set[Path] = set()
        self._cache: dict[int, Image.Image | None] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Batch | None:
        photo = self._photo(index)
        if photo is None:
            return None
        square = self._augment(photo) if self._augment else photo
        return torch.from_numpy(self._preprocessing.normalize(square)), self._targets[index]

    def _photo(self, index: int) -> Image.Image | None:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        photo = self._read(self._paths[index])
        if self._cache is not None:
            self._cache[index] = photo
        return photo

    def _read(self, path: Path) -> Image.Image | None:
        """Read a photo: as the network's square, or somewhat larger and uncut where augmentation will cut it."""
        size = self._preprocessing.image_size
        try:
            if self._augment is None:
                return self._preprocessing.square(open_photo(path, min_side=size))
            larger = round(size * _MARGIN)
            photo = open_photo(path, min_side=larger)
        except PhotoError as error:
            if path not in self._warned:  # once, and not once an epoch
                self._warned.add(path)
                logger.warning("%s is left out: %s.", path, error)
            return None
        if (shorter := min(photo.size)) > larger:  # what is beyond the crop's sharpness costs memory and time
            width, height = (round(length * larger / shorter) for length in photo.size)
            photo = photo.resize((width, height), reducing_gap=2.0)
        return photo


def collate(items: Sequence[Batch | None]) -> Batch:
    """Stack what could be read; a batch may be empty."""
    read = [item for item in items if item is not None]
    if not read:
        return torch.empty(0), torch.empty(0)
    return torch.stack([pixels for pixels, _ in read]), torch.stack([target for _, target in read])
