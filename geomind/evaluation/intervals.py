"""How sure a score is: bootstrap intervals over photos and seeds, the same draws for all methods. It knows no photos.

A resample draws clusters of photos with replacement (a group of the manifest is one cluster, since its photos say the
same thing several times), and seeds with replacement. Its statistic is the mean over the drawn seeds of the statistic
over the drawn photos. The interval is that of the percentiles (Efron 1979, "Bootstrap Methods: Another Look at the
Jackknife"), widened to hold the estimate where the estimate lies outside, as a median's may. With three seeds, the
part of training in the interval is rough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomind.metrics import Distances, geoscore

RESAMPLES = 1000

CONFIDENCE = 0.95
"""Share of the resamples that an interval holds."""

_NUMBERS_AT_ONCE = 4_000_000  # bounds the memory of many photos

Values = NDArray[np.float64]
"""(seeds, photos)."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it."""

    low: float
    estimate: float
    high: float

    def apart_from(self, other: Interval) -> bool:
        """Tell whether two intervals do not overlap."""
        return self.low > other.high or other.low > self.high


def drawn_from(clusters: NDArray[np.int64], *, grouped: bool) -> str:
    """Say in words what intervals are made of: (photos,) clusters, and whether they are groups."""
    count, photos = int(clusters.max()) + 1, len(clusters)
    drawn = f"{count:,} groups of {photos:,} photos" if grouped else f"{photos:,} photos"
    return f"Intervals: {CONFIDENCE:.0%} of {RESAMPLES:,} resamples of {drawn}"


class Resamples:
    """Draws of photos and seeds; two with the same clusters draw the same photos, whatever is measured on them."""

    def __init__(self, clusters: NDArray[np.int64], *, count: int = RESAMPLES, seed: int = 0) -> None:
        """Prepare draws.

        Args:
            clusters: (photos,) numbers 0, 1, 2 … of what is drawn as one.
            count: How many resamples.
            seed: The same seed gives the same draws.
        """
        self._clusters, self._count, self._seed = clusters, count, seed

    def mean(self, values: Values) -> Interval:
        """Estimate the mean over photos: (seeds, photos) -> Interval."""
        return self.ratio(values, np.ones_like(values))

    def ratio(self, above: Values, below: Values) -> Interval:
        """Estimate a sum over photos by another one, such as km by answered photos; infinite where that is 0."""
        drawn = [_quotient(weights @ above.T, weights @ below.T) for weights in self._weights()]
        return self._interval(np.concatenate(drawn), _quotient(above.sum(axis=1), below.sum(axis=1)))

    def ratios(self, above: Values, below: Values) -> list[Interval]:
        """Estimate many ratios of one seed with one set of draws: (measures, photos) each -> one a measure."""
        drawn = np.concatenate([_quotient(weights @ above.T, weights @ below.T) for weights in self._weights()])
        estimates = _quotient(above.sum(axis=1), below.sum(axis=1))
        return [self._interval(drawn[:, [i]], estimates[[i]]) for i in range(len(above))]

    def median(self, values: Values) -> Interval:
        """Estimate the median over photos: (seeds, photos) -> Interval; values may be infinite."""
        order = np.argsort(values, axis=1, kind="stable")
        ordered = np.take_along_axis(values, order, axis=1)
        drawn = [
            np.stack([_medians(row, weights[:, by]) for row, by in zip(ordered, order, strict=True)], axis=1)
            for weights in self._weights()
        ]
        return self._interval(np.concatenate(drawn), np.median(values, axis=1))

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        """Give how often each photo is drawn, in blocks of resamples: (block, photos)."""
        rng = np.random.default_rng(self._seed)
        clusters = int(self._clusters.max()) + 1
        block = max(1, _NUMBERS_AT_ONCE // len(self._clusters))
        for start in range(0, self._count, block):
            rows = min(block, self._count - start)
            drawn = rng.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)
            yield counts[:, self._clusters].astype(np.float64)

    def _interval(self, drawn: NDArray[np.float64], estimates: NDArray[np.float64]) -> Interval:
        """Draw seeds, too, and give the interval: (resamples, seeds) and (seeds,) -> Interval."""
        rng = np.random.default_rng([self._seed, 1])
        seeds = rng.integers(drawn.shape[1], size=drawn.shape)
        means = np.take_along_axis(drawn, seeds, axis=1).mean(axis=1)
        tail = (1 - CONFIDENCE) / 2
        # Not interpolated: between an infinity and a number there is no third value.
        low, high = np.quantile(means, [tail, 1 - tail], method="inverted_cdf").tolist()
        estimate = float(estimates.mean())
        return Interval(min(low, estimate), estimate, max(high, estimate))


@dataclass(frozen=True)
class Difference:
    """One method less another in GeoScore, on the same photos and seeds."""

    mean: Interval
    """Of the mean over photos."""
    median: Interval
    """Of the median over photos: what the usual photo gains."""


def difference(a: Distances, b: Distances, resamples: Resamples) -> Difference:
    """Compare two methods photo by photo in GeoScore, the first less the second: (seeds, photos) km each."""
    gain = geoscore(a) - geoscore(b)
    return Difference(resamples.mean(gain), resamples.median(gain))


def _quotient(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.inf), where=below > 0)


def _medians(ordered: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the median of values drawn so often each: (photos,) rising, (resamples, photos) -> (resamples,)."""
    below = weights.cumsum(axis=1)
    total = below[:, -1]
    lower, upper = (total - 1) // 2, total // 2  # the two in the middle, which are one for an odd number
    first = np.argmax(below > lower[:, None], axis=1)
    second = np.argmax(below > upper[:, None], axis=1)
    medians: NDArray[np.float64] = (ordered[first] + ordered[second]) / 2
    return medians
