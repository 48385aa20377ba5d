"""The Director: pixels -> region probabilities. It knows nothing of places inside a region."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import Description, check_finite, load_checkpoint, load_network, read_description
from geomind.runtimes import Network, Precision, Runtime, open_network

if TYPE_CHECKING:
    import torch

    from geomind.networks import DirectorNetwork, WithFeatures


class Director:
    """A trained Director that answers in NumPy."""

    def __init__(
        self, run: Network, description: Description, path: Path | str = "the weights", *, temperature: float = 1.0
    ) -> None:
        self.description = description
        self._temperature = temperature
        self.memory_mb = run.memory_mb
        self._run = run
        self._path = path

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str | torch.device = "cpu",
        *,
        runtime: Runtime = "torch",
        precision: Precision = "fp32",
        threads: int | None = None,
        temperature: float = 1.0,
    ) -> Director:
        """Load a Director from its weights file.

        Args:
            path: The weights file.
            device: Where it runs.
            runtime: Who runs it; only torch gives its ``network``.
            precision: What it counts in.
            threads: Cores it uses; None for all.
            temperature: What its logits are divided by, so that its probabilities are as often right as they say (Guo
                et al. 2017, "On Calibration of Modern Neural Networks").

        Raises:
            CheckpointError: the file is missing, broken, or no Director's.
            ConfigError: the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        description = read_description(path, "director")
        run = open_network(
            path,
            lambda: load_director_network(path),
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
        )
        return cls(run, description, path, temperature=temperature)

    @property
    def network(self) -> DirectorNetwork:
        """The torch module, for a training; a Director that another runtime runs has none."""
        network: DirectorNetwork = self._run.module.network  # type: ignore[attr-defined]
        return network

    def probabilities(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tell how probable each region is: (N, 3, S, S) normalised pixels -> (N, regions), rows sum to 1.

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        return self.answer(pixels)[0]

    def answer(self, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Tell how probable each region is, and the features it is told by: (N, regions) and (N, features).

        Raises:
            CheckpointError: the network answers with something that is no number.
        """
        logits, features = self._run(pixels)
        check_finite(logits, self._path)
        scores = np.exp((logits - logits.max(axis=1, keepdims=True)) / self._temperature)
        return scores / scores.sum(axis=1, keepdims=True), features


def load_director_network(path: Path | str) -> WithFeatures:
    """Make a Director's torch module from its weights file.

    Raises:
        CheckpointError: the file is missing, broken, or no Director's.
    """
    from geomind.networks import DirectorNetwork, WithFeatures

    state, description = load_checkpoint(path, "director")
    network = DirectorNetwork(
        description.backbone,
        description.preprocessing.image_size,
        len(description.regions),
        pooling=description.pooling,
    )
    load_network(network, state, path)
    return WithFeatures(network)
