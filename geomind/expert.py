"""An Expert: pixels -> a point in its region's box. It takes for granted that the photo shows its region."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import (
    Description,
    check_finite,
    load_checkpoint,
    load_network,
    read_description,
    read_head,
)
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.runtimes import Network, Precision, Runtime, open_network

if TYPE_CHECKING:
    import torch

    from geomind.networks import WithFeatures


class ExpertHead:
    """The last layer of an Expert: image features -> a point in its box. It is all of an Expert on a shared trunk.

    It counts in float32 or more whatever its encoder counts in: near 1, bfloat16 has steps of 1/256, which are 20 km of
    a box 5,000 km wide.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        description: Description,
        path: Path | str = "the weights",
    ) -> None:
        """Take the linear layer's weights (2, features) and bias (2,)."""
        self.description = description
        self.box = description.fitted_box
        self._weights, self._bias = weights.astype(np.float64), bias.astype(np.float64)
        self._path = path

    @classmethod
    def load(cls, path: Path | str, *, regions: RegionTable | None = None) -> ExpertHead:
        """Load the head of an Expert, without torch and without its encoder.

        Raises:
            CheckpointError: the file is missing, broken, no Expert's, or of another table of regions.
        """
        description = read_description(path, "expert", regions=regions)
        return cls(*read_head(path), description, path)

    def place(self, features: NDArray[np.float32]) -> Points:
        """Place photos by their features: (N, features) -> (N, 2) degrees.

        Raises:
            CheckpointError: the answer is no number.
        """
        logits = features @ self._weights.T + self._bias
        check_finite(logits, self._path)
        square = (1 + np.tanh(logits / 2)) / 2  # the sigmoid, without overflow
        return self.box.denormalize(square)


class Expert:
    """A trained Expert that answers in degrees."""

    def __init__(self, run: Network, head: ExpertHead) -> None:
        self.description = head.description
        self.box = head.box
        self.memory_mb = run.memory_mb
        self._run = run
        self._head = head

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        regions: RegionTable | None = None,
        device: str | torch.device = "cpu",
        runtime: Runtime = "torch",
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> Expert:
        """Load an Expert with an encoder of its own; it must know ``regions`` where these are given.

        Args:
            path: The weights file.
            regions: The table of regions that it must know.
            device: Where it runs.
            runtime: Who runs it.
            precision: What its encoder counts in.
            threads: Cores it uses; None for all.

        Raises:
            CheckpointError: the file is missing, broken, no Expert's, or of another table of regions.
            ConfigError: the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        head = ExpertHead.load(path, regions=regions)
        run = open_network(
            path,
            lambda: load_expert_network(path),
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
        )
        return cls(run, head)

    def locate(self, pixels: NDArray[np.float32]) -> Points:
        """Place photos of the Expert's region: (N, 3, S, S) normalised pixels -> (N, 2) degrees.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        return self._head.place(self._run(pixels)[1])


def load_expert_network(path: Path | str) -> WithFeatures:
    """Make an Expert's torch module from its weights file.

    Raises:
        CheckpointError: the file is missing, broken, or no Expert's.
    """
    from geomind.networks import ExpertNetwork, WithFeatures

    state, description = load_checkpoint(path, "expert")
    network = ExpertNetwork(description.backbone, description.preprocessing.image_size)
    load_network(network, state, path)
    return WithFeatures(network)
