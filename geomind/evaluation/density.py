"""How probable answers with several places made the true one: the density of a mixture on the sphere, and its log loss.

A photo's candidates c_k with probabilities p_k become the density

    f(x) = Σ_k p_k · K(x; c_k) + (1 − Σ_k p_k) / (4π R²)      per km², R = 6,371.0088 km,

a mixture of Fisher's kernels around the candidates, with the probability that no candidate has spread evenly over the
Earth, so that f integrates to 1. A photo without candidates has 4π R² = 5.1 · 10⁸ km² left, and a log loss of 20.05.

K is the distribution of Fisher 1953, "Dispersion on a sphere", the normal distribution of the sphere:
κ / (4π sinh κ · R²) · exp(κ cos θ), θ the angle between x and c_k. Its width in km is R / √κ, which for a narrow one is
the standard deviation to the north and to the east.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.errors import ManifestError
from geomind.geography.sphere import EARTH_RADIUS_KM, Points, haversine_km, km_to_chord
from geomind.predictions import Prediction, candidates_of

EVENLY = -float(np.log(4 * np.pi * EARTH_RADIUS_KM**2))
"""Log density of a place that could be anywhere on Earth, per km²."""

WIDTHS_KM = tuple(np.geomspace(1, 20_000, 44).tolist())
"""Widths of the kernel that are tried, km: each 26% wider than the one before, from exact to spread over the Earth."""


@dataclass(frozen=True, eq=False)
class LogLoss:
    """Negative log-likelihood of the truth, photo by photo."""

    nats: NDArray[np.float64]
    """(n,) -ln of the density at the truth, per km²; less is better."""
    width_km: float
    """Width of the kernel: the one of ``WIDTHS_KM`` with the highest likelihood of these photos."""


def log_loss(predictions: Sequence[Prediction], truth: Points) -> LogLoss | None:
    """Measure the log loss of answers that name candidates; None where none does.

    One width is chosen for all by maximum likelihood on these very photos. That is one number for all of them, so that
    it flatters little; but a loss compares with another only where both were measured so.

    Args:
        predictions: (n) answers; one without candidates leaves the whole Earth possible.
        truth: (n, 2) degrees.

    Raises:
        ManifestError: candidates cannot be read; the message names the photo.
    """
    if all(each.candidates is None for each in predictions):
        return None
    read = []
    for each in predictions:
        try:
            read.append([] if each.candidates is None else candidates_of(each.candidates))
        except ValueError as error:
            raise ManifestError(f"{each.image_path}: {error}.") from error
    table = np.zeros((len(read), max(1, *map(len, read)), 3))
    for row, candidates in zip(table, read, strict=True):
        row[: len(candidates)] = np.reshape(candidates, (-1, 3))
    distance, probability = haversine_km(truth[:, None], table[..., :2]), table[..., 2]
    losses = [-log_density(distance, probability, width) for width in WIDTHS_KM]
    best = int(np.argmin([loss.mean() for loss in losses]))
    return LogLoss(losses[best], WIDTHS_KM[best])


def log_density(distance_km: ArrayLike, probability: ArrayLike, width_km: float) -> NDArray[np.float64]:
    """Give the log of the mixture's density at a point, per km².

    Args:
        distance_km: (..., k) from the point to the candidates.
        probability: (..., k) of the candidates; what is left of 1 lies anywhere.
        width_km: of the kernels.

    Returns:
        (...)
    """
    share = np.asarray(probability, dtype=np.float64)
    left = np.clip(1 - share.sum(axis=-1), 0, 1)
    with np.errstate(divide="ignore"):  # ln 0 is -inf, and adds nothing
        parts = np.log(share) + log_fisher(distance_km, width_km)
        rest = np.log(left) + EVENLY
    logs: NDArray[np.float64] = np.logaddexp(np.logaddexp.reduce(parts, axis=-1), rest)
    return logs


def log_fisher(distance_km: ArrayLike, width_km: float) -> NDArray[np.float64]:
    """Give the log of Fisher's density so far from its middle: (...) km -> (...), per km².

    Written with the chord c = 2 sin(θ/2), as cos θ = 1 − c²/2, so that neither exp(κ) nor a small angle loses digits.
    """
    kappa = (EARTH_RADIUS_KM / width_km) ** 2
    peak = np.log(kappa / (-2 * np.pi * np.expm1(-2 * kappa) * EARTH_RADIUS_KM**2))
    logs: NDArray[np.float64] = peak - kappa * km_to_chord(distance_km) ** 2 / 2
    return logs
