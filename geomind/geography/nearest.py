"""The nearest of many places: by matrix products for a few questions, by a tree for many. It knows no names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FEW = 256
"""Questions, all in all, that are answered without a tree: importing SciPy's and building it takes as long as they."""

_AT_ONCE = 4
"""Questions of one matrix product; with 150,000 places it takes 5 MB."""


class Nearest:
    """Answers which of many places is nearest; both ways agree, to less than a millimetre."""

    def __init__(self, vectors: NDArray[np.float64]) -> None:
        """Take the places: (n, 3) unit vectors, at least one."""
        self._vectors = vectors
        self._asked = 0

    def query(self, vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest place of each: (k, 3) unit vectors -> the chords to them, (k,), and which they are, (k,)."""
        self._asked += len(vectors)
        if self._asked > FEW:
            chords, nearest = self._tree.query(vectors)
            return chords, np.asarray(nearest, dtype=np.int64)
        parts = [vectors[start : start + _AT_ONCE] for start in range(0, len(vectors), _AT_ONCE)]
        found = [(self._vectors @ part.T).argmax(axis=0) for part in parts]
        which: NDArray[np.int64] = np.concatenate([np.empty(0, dtype=np.int64), *found])
        return np.linalg.norm(self._vectors[which] - vectors, axis=1), which

    @functools.cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self._vectors, balanced_tree=False)  # built several times faster, and asked as fast
