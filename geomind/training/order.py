"""In which order photos are seen. It reads none of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from geomind.data.dataset import Draw

SHARDS_AT_ONCE = 8
"""Shards whose photos are mixed with each other: enough for a batch of many places, few enough to be read in turn."""


class EpochOrder(Sampler[list[Draw]]):
    """The batches of an epoch: a function of seed, epoch and batch, so that any of them can be made again.

    Every photo is seen once an epoch, by one of the processes; all of these have the same number of batches, and where
    the last batch has fewer photos than there are processes, some of them get none.
    """

    def __init__(
        self,
        photos: int,
        batch_size: int,
        *,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        shards: NDArray[np.int64] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Take the photos and who sees which.

        Args:
            photos: How many there are.
            batch_size: Photos a batch, over all processes together.
            seed: Seed of the order.
            weights: (photos,) drawn in proportion to these, with replacement, where they are given.
            shards: (photos,) which shard each lies in; photos of a few shards are then seen together.
            rank: Which of the processes this is.
            world_size: How many processes share the batches.
        """
        self.epoch = 0
        self.first_batch = 0
        self.photos = photos
        self._batch_size = batch_size
        self._seed = seed
        self._shares = None if weights is None else weights / weights.sum()
        self._shards = shards
        self._rank = rank
        self._world_size = world_size

    @property
    def batches(self) -> int:
        """How many batches a whole epoch has."""
        return math.ceil(self.photos / self._batch_size)

    def __len__(self) -> int:
        return self.batches - self.first_batch

    def __iter__(self) -> Iterator[list[Draw]]:
        random = np.random.default_rng([self._seed, self.epoch])
        order = self._order(random)
        seeds = random.integers(2**63, size=self.photos)
        for start in range(self.first_batch * self._batch_size, self.photos, self._batch_size):
            mine = slice(start + self._rank, min(start + self._batch_size, self.photos), self._world_size)
            yield [Draw(*pair) for pair in zip(order[mine].tolist(), seeds[mine].tolist(), strict=True)]

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        if self._shares is None:
            order = random.permutation(self.photos)
        else:
            order = random.choice(self.photos, size=self.photos, p=self._shares)
        if self._shards is None:
            return order
        turn = random.permutation(int(self._shards.max()) + 1) // SHARDS_AT_ONCE
        return order[np.argsort(turn[self._shards[order]], kind="stable")]


class FixedOrder(Sampler[list[Draw]]):
    """The batches of photos that are judged: in order, each by one of the processes."""

    def __init__(self, photos: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self._mine = range(rank, photos, world_size)
        self._each = max(1, batch_size // world_size)

    def __len__(self) -> int:
        return math.ceil(len(self._mine) / self._each)

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in range(0, len(self._mine), self._each):
            yield [Draw(index, seed=0) for index in self._mine[start : start + self._each]]
