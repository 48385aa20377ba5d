"""The last layer of a network, in NumPy: image features -> where a photo may have been taken.

It counts in float64 whatever its encoder counts in: near 1, bfloat16 has steps of 1/256, which are 20 km of a box 5,000
km wide. On a shared trunk it is all of an Expert.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import Description, check_finite, read_description, read_head
from geomind.decoding import Candidates
from geomind.geography.regions import RegionTable


class PlaceHead:
    """A linear layer over features, and the box or the cells that say what places its answers mean."""

    def __init__(
        self,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        description: Description,
        path: Path | str = "the weights",
    ) -> None:
        """Take the weights (outputs, features) and the bias (outputs,)."""
        self.description = description
        self.code = None if description.cells is None else description.cell_code
        """The cells that it answers with; None for a box."""
        self._box = None if self.code is not None else description.fitted_box
        self._weights, self._bias = weights.astype(np.float64), bias.astype(np.float64)
        self._path = path

    @classmethod
    def load(cls, path: Path | str, kind: str = "expert", *, regions: RegionTable | None = None) -> PlaceHead:
        """Load the head of a network, without torch and without its encoder.

        Raises:
            CheckpointError: the file is missing, broken, of another kind, or of another table of regions.
        """
        description = read_description(path, kind, regions=regions)
        return cls(*read_head(path), description, path)

    def outputs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give the layer's answers as they are: (N, features) -> (N, outputs).

        Raises:
            CheckpointError: an answer is no number.
        """
        answers: NDArray[np.float64] = features @ self._weights.T + self._bias
        check_finite(answers, self._path)
        return answers

    def guess(self, features: NDArray[np.float32]) -> Candidates:
        """Say where photos may have been taken: one place in a box, or one in each cell.

        Raises:
            CheckpointError: the answer is no number.
        """
        outputs = self.outputs(features)
        if self.code is not None:
            return Candidates(self.code.probabilities(outputs), self.code.places(outputs))
        assert self._box is not None
        square = (1 + np.tanh(outputs / 2)) / 2  # the sigmoid, without overflow
        return Candidates.certain(self._box.denormalize(square))
