"""Scores of what an answer says of itself: probabilities, radii, abstention. It knows no files and no models."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
"""Bins of probabilities, as many as Guo et al. 2017 take."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers of each confidence are right; a bin without answers is left out."""

    confidence: NDArray[np.float64]
    """(b,) mean probability of each bin's answers."""
    accuracy: NDArray[np.float64]
    """(b,) share of them that are right."""
    count: NDArray[np.int64]
    """(b,) answers in each bin."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over bins, each as heavy as its answers.

        Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", equation 3.
        """
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))


def reliability(probability: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Sort answers into bins of equal width by the probability they give themselves.

    Args:
        probability: (n,) of the class answered, 0 to 1.
        right: (n,) whether it is the true one.
        bins: How many; bin b holds what is above b / bins and at most (b + 1) / bins.

    Raises:
        ValueError: there are no answers, or a probability is none.
    """
    given, hit = _checked(probability, right)
    bin_of = np.clip(np.ceil(given * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    some = count > 0
    return Reliability(
        confidence=np.bincount(bin_of, given, bins)[some] / count[some],
        accuracy=np.bincount(bin_of, hit, bins)[some] / count[some],
        count=count[some],
    )


def brier(probability: ArrayLike, right: ArrayLike) -> float:
    """Give the mean squared difference between the probability of the class answered and whether it is right.

    Brier 1950, "Verification of forecasts expressed in terms of probability", of the event that the answer is right: 0
    is perfect, and always saying 0.5 scores 0.25.

    Raises:
        ValueError: there are no answers, or a probability is none.
    """
    given, hit = _checked(probability, right)
    return float(np.mean((given - hit) ** 2))


def coverage(distance_km: ArrayLike, radius_km: ArrayLike) -> float:
    """Give the share of truths within (``<=``) the radius of their answer: (n,) and (n,) km.

    Raises:
        ValueError: there are no answers.
    """
    distance, radius = np.asarray(distance_km, dtype=np.float64), np.asarray(radius_km, dtype=np.float64)
    if not distance.size:
        raise ValueError("coverage needs at least one answer")
    return float(np.mean(distance <= radius))


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    """Give the value that a new score is at most, with a probability of at least ``level``: (n,) -> one of them.

    The ⌈(n + 1) · level⌉-th smallest score, split conformal prediction's (Vovk, Gammerman & Shafer 2005; Angelopoulos &
    Bates 2021, "A Gentle Introduction to Conformal Prediction", section 1); infinite where n is too small for it. The
    guarantee holds where the new score and these are exchangeable.

    Raises:
        ValueError: there are no scores, or the level is not between 0 and 1.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    if not values.size or not 0 < level < 1:
        raise ValueError("a conformal quantile needs scores, and a level between 0 and 1")
    rank = math.ceil((values.size + 1) * level - 1e-9)  # 9.000000000000002 is 9
    return float(values[rank - 1]) if rank <= values.size else math.inf


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What the error comes to where only the surest answers are given; the surest come first."""

    coverage: NDArray[np.float64]
    """(n,) share of photos answered: 1/n … 1."""
    median_km: NDArray[np.float64]
    """(n,) median error of those answered, km."""
    area_km: float
    """Mean of ``median_km`` over the coverages; less is better."""
    best_area_km: float
    """The same if the surest were the nearest: what no order can better."""

    def median_at(self, share: float) -> float:
        """Give the median error where this share of the photos is answered, km."""
        return float(self.median_km[max(math.ceil(share * len(self.median_km) - 1e-9), 1) - 1])


def risk_coverage(distance_km: ArrayLike, unsureness: ArrayLike) -> RiskCoverage:
    """Follow the median error while the least sure answers are left out one by one.

    The curve of selective prediction (El-Yaniv & Wiener 2010, "On the Foundations of Noise-free Selective
    Classification") with the median distance as the risk, and its area (Geifman, Uziel & El-Yaniv 2019).

    Args:
        distance_km: (n,) km.
        unsureness: (n,) what orders the answers, the surest lowest: a radius, or 1 - confidence. Of equals, the one
            that came first counts as surer.

    Raises:
        ValueError: there are no answers.
    """
    distance = np.asarray(distance_km, dtype=np.float64)
    if not distance.size:
        raise ValueError("a risk-coverage curve needs at least one answer")
    curve = _running_median(distance[np.argsort(np.asarray(unsureness), kind="stable")])
    return RiskCoverage(
        coverage=np.arange(1, len(distance) + 1) / len(distance),
        median_km=curve,
        area_km=float(curve.mean()),
        best_area_km=float(_running_median(np.sort(distance)).mean()),
    )


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the median of the first 1, 2, …, n values, with the lower half and the upper half each in a heap."""
    lower: list[float] = []  # negated: a heap gives its least
    upper: list[float] = []
    medians = np.empty(len(values))
    for i, value in enumerate(values.tolist()):
        if i % 2 == 0:
            heapq.heappush(lower, -heapq.heappushpop(upper, value))
            medians[i] = -lower[0]
        else:
            heapq.heappush(upper, -heapq.heappushpop(lower, -value))
            medians[i] = (upper[0] - lower[0]) / 2
    return medians


def _checked(probability: ArrayLike, right: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    given, hit = np.asarray(probability, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not given.size or not ((given >= 0) & (given <= 1)).all():
        raise ValueError("calibration needs at least one answer, and probabilities between 0 and 1")
    return given, hit
