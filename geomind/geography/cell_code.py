"""How a network says places in cells: which cell at every level, and an offset inside the finest one.

It is to cells what a ``Box`` is to two sigmoid units. It knows no networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.geography.cells import CellTree
from geomind.geography.sphere import Points, displaced, displacement_km, haversine_km

SMALLEST_SCALE_KM = 1.0
"""No cell counts its offsets in less: a single photo must still leave it a scale."""

FURTHEST = 4.0
"""No offset goes further than this many times its cell's scale, whatever a network says."""


@dataclass(frozen=True, eq=False)
class CellCode:
    """A tree of cells, and the unit in which each finest cell counts its offsets."""

    tree: CellTree
    scale_km: NDArray[np.float64]
    """(finest cells,) root mean square distance of a cell's training photos from its centre, km."""

    @classmethod
    def fit(cls, tree: CellTree, points: ArrayLike) -> CellCode:
        """Measure the scale of each cell on training places: (n, 2) degrees."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        cells, centres = tree.assign(points)[:, -1], tree.levels[-1].centres
        squares = haversine_km(points, centres[cells]) ** 2
        counts = np.bincount(cells, minlength=len(centres))
        sums = np.bincount(cells, weights=squares, minlength=len(centres))
        return cls(tree, np.maximum(np.sqrt(sums / np.maximum(counts, 1)), SMALLEST_SCALE_KM))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each level, coarse to fine."""
        return tuple(len(level) for level in self.tree.levels)

    @property
    def outputs(self) -> int:
        """How many numbers a network answers: a logit for each cell of each level, an offset for each finest cell."""
        return sum(self.sizes) + 2 * self.sizes[-1]

    def targets(self, points: ArrayLike) -> NDArray[np.float32]:
        """Say what a network should answer: (n, 2) degrees -> (n, 3), the finest cell's number and the offset in it."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        cells = self.tree.assign(points)[:, -1]
        offsets = displacement_km(self.tree.levels[-1].centres[cells], points) / self.scale_km[cells, None]
        return np.concatenate([cells[:, None], offsets], axis=1).astype(np.float32)

    def probabilities(self, outputs: ArrayLike) -> NDArray[np.float64]:
        """Tell how probable each finest cell is: (N, outputs) -> (N, finest cells), rows sum to 1.

        The softmax of every level is multiplied along the cell's chain of ancestors, and the products scaled to 1
        (Müller-Budack, Pustu-Iren & Ewerth 2018, "Geolocation Estimation of Photos using a Hierarchical Model and Scene
        Classification"). A coarse cell is as probable as its finest ones together, so that levels never contradict.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        chains, first = self.tree.chains, 0
        logits = np.zeros((len(outputs), self.sizes[-1]))
        for level, size in enumerate(self.sizes):
            own = outputs[:, first : first + size]
            logits += (own - _log_sum(own))[:, chains[:, level]]
            first += size
        shares: NDArray[np.float64] = np.exp(logits - _log_sum(logits))
        return shares

    def of_level(self, probabilities: NDArray[np.float64], level: int) -> NDArray[np.float64]:
        """Sum up the finest cells' probabilities over those of a level: (N, finest cells) -> (N, cells of it)."""
        sums = np.zeros((len(probabilities), self.sizes[level]))
        np.add.at(sums.T, self.tree.chains[:, level], probabilities.T)
        return sums

    def places(self, outputs: ArrayLike) -> Points:
        """Give the place that each finest cell would answer: (N, outputs) -> (N, finest cells, 2) degrees."""
        outputs = np.asarray(outputs, dtype=np.float64)
        offsets = outputs[:, sum(self.sizes) :].reshape(len(outputs), -1, 2)
        length = np.linalg.norm(offsets, axis=-1, keepdims=True)
        offsets = offsets * np.minimum(1, FURTHEST / np.maximum(length, FURTHEST))
        return displaced(self.tree.levels[-1].centres, offsets * self.scale_km[:, None])

    @cached_property
    def centre_distances_km(self) -> NDArray[np.float64]:
        """(finest cells, finest cells) distances between the centres."""
        centres = self.tree.levels[-1].centres
        return haversine_km(centres[:, None], centres[None])

    def to_dict(self) -> dict[str, Any]:
        """Give what ``from_dict`` reads, of plain values."""
        return {"tree": self.tree.to_dict(), "scale_km": self.scale_km.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CellCode:
        """Read what ``to_dict`` gave.

        Raises:
            ConfigError: the tree contradicts itself.
            KeyError, TypeError, ValueError: the values are something else.
        """
        code = cls(CellTree.from_dict(values["tree"]), np.asarray(values["scale_km"], dtype=np.float64))
        if code.scale_km.shape != (code.sizes[-1],) or not (code.scale_km > 0).all():
            raise ValueError("each finest cell needs a scale above 0")
        return code


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the sum of exponentials of each row, without overflow: (N, K) -> (N, 1)."""
    most = logits.max(axis=1, keepdims=True)
    sums: NDArray[np.float64] = most + np.log(np.exp(logits - most).sum(axis=1, keepdims=True))
    return sums
