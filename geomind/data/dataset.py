"""Photos as a torch data set: path → pixels and a target. It knows no regions; targets are what it is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Draw(NamedTuple):
    """A photo's turn in an epoch: which one, and the seed of its random changes."""

    photo: int
    seed: int


class Batch(NamedTuple):
    """What could be read of the photos of one step; it may be empty."""

    inputs: Tensor
    """(N, 3, S, S) float32 pixels, or (N, F) features."""
    targets: Tensor
    """(N, …)."""
    indices: Tensor
    """(N,) int64, which photos of the data set they are."""


Item = tuple[Tensor, Tensor, int]
"""One photo's pixels, its target and its number."""

_MARGIN = 1.25
"""A photo that will be cropped at random is decoded this much larger than the square, so that a crop stays sharp."""

_LARGEST = 2.5
"""One larger than this many times the square is made smaller first; for the others the crop does it at once."""


class PhotoDataset(Dataset[Item | None]):
    """Photos and their targets; one that cannot be read gives None, which ``collate`` leaves out of its batch.

    An item depends on its draw alone, and not on the worker that makes it nor on what was drawn before.
    """

    ready = False
    """Whether items come without work, so that no other process need make them."""

    def __init__(
        self,
        paths: Sequence[Path],
        targets: NDArray[np.generic],
        preprocessing: Preprocessing,
        *,
        augment: Augment | None = None,
        cache: bool = False,
    ) -> None:
        self.paths = list(paths)
        self._targets = torch.from_numpy(np.ascontiguousarray(targets))
        self._preprocessing = preprocessing
        self._augment = augment
        self._warned: set[Path] = set()
        self._cache: dict[int, Image.Image | None] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: Draw) -> Item | None:
        photo = self._photo(draw.photo)
        if photo is None:
            return None
        if self._augment is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(draw.seed)
                photo = self._augment(photo)
        return torch.from_numpy(self._preprocessing.normalize(photo)), self._targets[draw.photo], draw.photo

    def blank(self) -> Batch:
        """Give a batch of one black photo."""
        side = self._preprocessing.image_size
        return Batch(torch.zeros(1, 3, side, side), self._targets[:1], torch.tensor([0]))

    def _photo(self, index: int) -> Image.Image | None:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        photo = self._read(self.paths[index])
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
        shorter = min(photo.size)
        if shorter > (larger if self._cache is not None else _LARGEST * size):  # it costs memory, or time
            width, height = (round(length * larger / shorter) for length in photo.size)
            photo = photo.resize((width, height), reducing_gap=2.0)
        return photo


def collate(items: Sequence[Item | None] | Batch) -> Batch:
    """Stack what could be read; a batch may be empty. A data set that makes whole batches gives them as they are."""
    if isinstance(items, Batch):
        return items
    read = [item for item in items if item is not None]
    if not read:
        return Batch(torch.empty(0), torch.empty(0), torch.empty(0, dtype=torch.int64))
    pixels, targets, indices = zip(*read, strict=True)
    return Batch(torch.stack(pixels), torch.stack(targets), torch.tensor(indices))
