"""Baselines: median places and one-network regression, against which every claim is measured. They know no routing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.checkpoints import (
    Description,
    check_finite,
    load_checkpoint,
    load_network,
    read_description,
    read_head,
)
from geomind.geography.boxes import Box
from geomind.geography.sphere import Points, from_unit_vectors, geodesic_median
from geomind.heads import PlaceHead
from geomind.predictions import Prediction, name_places
from geomind.runtimes import Network, Precision, Runtime, open_network

if TYPE_CHECKING:
    import torch

    from geomind.networks import WithFeatures

GLOBE: Final = Box(-90.0, 90.0, -180.0, 180.0)
"""The box of a regression of the whole world."""


def median_places(places: ArrayLike, classes: ArrayLike, asked: ArrayLike) -> Points:
    """Give the median place of each asked class: what one can answer who knows the class and has not seen the photo.

    With the same class for all it is the median of the world; with true regions or countries for ``asked`` it is told
    the truth, and a floor for whoever has to find it out.

    Args:
        places: (n, 2) degrees, where photos to learn from were taken.
        classes: (n,) their classes.
        asked: (m,) classes.

    Returns:
        (m, 2) degrees; the median of all places for a class without any.

    Raises:
        ValueError: there are no places.
    """
    places, classes = np.asarray(places, dtype=np.float64), np.asarray(classes)
    asked_classes, number = np.unique(np.asarray(asked), return_inverse=True)
    medians = np.empty((len(asked_classes), 2))
    for i, each in enumerate(asked_classes.tolist()):
        here = classes == each
        medians[i] = geodesic_median(places[here] if here.any() else places)
    return medians[number]


class Regression:
    """One network that places photos of the whole world at once.

    Attributes:
        preprocessing: How photos become the pixels that it reads.
        extra_columns: None.
    """

    extra_columns: tuple[str, ...] = ()

    def __init__(self, run: Network, place: Callable[[NDArray[np.float32]], Points], description: Description) -> None:
        """Join a network and its head.

        Args:
            run: Pixels -> its answer, and (N, features).
            place: Features -> (N, 2) degrees.
            description: What the weights say of themselves.
        """
        self.description = description
        self.preprocessing = description.preprocessing
        self._run, self._place = run, place

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        runtime: Runtime = "auto",
        precision: Precision = "fp32",
        device: str | torch.device = "cpu",
        threads: int | None = None,
    ) -> Regression:
        """Load a regression from its weights file.

        Args:
            path: The weights file.
            runtime: Who runs the network.
            precision: What its encoder counts in.
            device: Where it runs.
            threads: Cores it uses; None for all.

        Raises:
            CheckpointError: the file is missing, broken, or of another kind.
            ConfigError: the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        description = read_description(path, "regression")
        run = open_network(
            path,
            lambda: load_regression_network(path),
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
        )
        weights, bias = read_head(path)
        if description.box is not None:
            head = PlaceHead(weights, bias, description, path)
            return cls(run, lambda features: head.guess(features).places[:, 0], description)
        weights, bias = weights.astype(np.float64), bias.astype(np.float64)

        def place(features: NDArray[np.float32]) -> Points:
            vectors = features @ weights.T + bias  # of any length: the direction is the place
            check_finite(vectors, path)
            return from_unit_vectors(vectors)

        return cls(run, place, description)

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        """Answer for each photo, in order: (N, 3, S, S) and their N names -> N predictions, which name no region."""
        places = self._place(self._run(pixels)[1])
        return name_places(
            [
                Prediction(image_path=image_path, latitude=latitude, longitude=longitude)
                for image_path, (latitude, longitude) in zip(image_paths, places.tolist(), strict=True)
            ]
        )


def load_regression_network(path: Path | str) -> WithFeatures:
    """Make a regression's torch module from its weights file.

    Raises:
        CheckpointError: the file is missing, broken, or of another kind.
    """
    from geomind.networks import ExpertNetwork, VectorNetwork, WithFeatures

    state, description = load_checkpoint(path, "regression")
    kind: type[ExpertNetwork] | type[VectorNetwork] = VectorNetwork if description.box is None else ExpertNetwork
    network = kind(description.backbone, description.preprocessing.image_size, pooling=description.pooling)
    load_network(network, state, path)
    return WithFeatures(network)
