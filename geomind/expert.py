"""An Expert: pixels -> where in its region. It takes for granted that the photo shows its region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import load_checkpoint, load_network
from geomind.decoding import Candidates, best_places
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.heads import PlaceHead
from geomind.runtimes import Network, Precision, Runtime, open_network

if TYPE_CHECKING:
    import torch

    from geomind.networks import EncoderWithHead, WithFeatures


Refine = Callable[[Candidates, NDArray[np.float32]], Candidates]
"""Makes more of a guess: it, and the (N, features) that it comes from -> a better one."""


class Expert:
    """A trained Expert that answers in degrees."""

    def __init__(self, run: Network, head: PlaceHead, refine: Refine | None = None) -> None:
        """Join an encoder, the head that answers from its features, and what makes more of both."""
        self.description = head.description
        self.memory_mb = run.memory_mb
        self._run = run
        self._head = head
        self._refine = refine

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
        refine: Refine | None = None,
    ) -> Expert:
        """Load an Expert with an encoder of its own; it must know ``regions`` where these are given.

        Args:
            path: The weights file.
            regions: The table of regions that it must know.
            device: Where it runs.
            runtime: Who runs it.
            precision: What its encoder counts in.
            threads: Cores it uses; None for all.
            refine: Makes more of its guesses and its features, as a gallery does.

        Raises:
            CheckpointError: the file is missing, broken, no Expert's, or of another table of regions.
            ConfigError: the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        head = PlaceHead.load(path, regions=regions)
        run = open_network(
            path,
            lambda: load_expert_network(path),
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
        )
        return cls(run, head, refine)

    def guess(self, pixels: NDArray[np.float32]) -> Candidates:
        """Say where in its region photos may have been taken: (N, 3, S, S) normalised pixels.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        features = self._run(pixels)[1]
        guess = self._head.guess(features)
        return guess if self._refine is None else self._refine(guess, features)

    def locate(self, pixels: NDArray[np.float32]) -> Points:
        """Place photos of the Expert's region: (N, 3, S, S) normalised pixels -> (N, 2) degrees.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        return best_places(self.guess(pixels))[0]


def load_expert_network(path: Path | str) -> WithFeatures:
    """Make an Expert's torch module from its weights file.

    Raises:
        CheckpointError: the file is missing, broken, or no Expert's.
    """
    from geomind.networks import CellsNetwork, ExpertNetwork, WithFeatures

    state, description = load_checkpoint(path, "expert")
    image_size = description.preprocessing.image_size
    network: EncoderWithHead
    if description.cells is None:
        network = ExpertNetwork(description.backbone, image_size)
    else:
        network = CellsNetwork(description.backbone, image_size, description.cell_code.sizes)
    load_network(network, state, path)
    return WithFeatures(network)
