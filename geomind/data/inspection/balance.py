"""How many photos there are of what, how even that is, and how they are spread. It judges no position."""

from __future__ import annotations

from dataclasses import dataclass

import h3
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geomind.data.inspection.findings import Finding, judge_whole, percent
from geomind.data.splits import BLOCK_RESOLUTION, block_ids
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points, chord_to_km, unit_vectors

COVERAGE = 0.999
"""beta of the effective number of samples: a new photo of a region says (1 - beta) less than the one before. At 0.999 a
region never counts for more than 1,000 photos."""

UNEVEN_RATIO = 100.0
"""More is an imbalance: weights of regions are capped at 10 times the mean in training, so about 100 is what they can
even out."""

TOP_BLOCKS = 10
NARROW_SHARE = 0.5
"""The largest ``TOP_BLOCKS`` blocks hold more than this share: the photos are from few places."""


@dataclass(frozen=True)
class RegionCount:
    """What there is of one region."""

    id: int
    name: str
    photos: int
    share: float
    countries: int
    blocks: int
    """h3 blocks with a photo."""
    effective_photos: float
    """Effective number of samples: see ``effective_number``."""


@dataclass(frozen=True)
class Balance:
    """How evenly photos are shared out over the regions."""

    regions: tuple[RegionCount, ...]
    """All of the table, in its order."""
    ratio: float
    """Photos of the largest region over those of the smallest that has any."""
    effective_regions: float
    """exp of the entropy of the shares: so many regions of equal size would be as even."""

    @property
    def occupied(self) -> int:
        """How many regions have a photo."""
        return sum(region.photos > 0 for region in self.regions)


@dataclass(frozen=True, eq=False)
class Spread:
    """How photos lie on the Earth."""

    blocks: NDArray[np.uint64]
    """(n,) the h3 block of each photo."""
    occupied: int
    """Blocks with a photo."""
    effective_blocks: float
    """exp of the entropy of the blocks' shares."""
    top_share: float
    """Share of the photos in the ``TOP_BLOCKS`` largest blocks."""
    nearest_km: NDArray[np.float64]
    """(n,) distance from each photo to the nearest other one; infinite where there is only one."""

    @property
    def block_side_km(self) -> float:
        """Length of a side of the blocks, on average, km."""
        return float(h3.average_hexagon_edge_length(BLOCK_RESOLUTION, "km"))

    @property
    def median_nearest_km(self) -> float:
        """Median of the distances to the nearest other photo, km."""
        return float(np.median(self.nearest_km))


def measure_balance(
    region_ids: NDArray[np.int64], countries: NDArray[np.str_], blocks: NDArray[np.uint64], table: RegionTable
) -> Balance:
    """Count the photos of each region: (n,) ids; those that are not in the table are left out."""
    frame = pd.DataFrame({"region": region_ids, "country": countries, "block": blocks})
    grouped = frame.groupby("region")
    photos, there = grouped.size(), grouped[["country", "block"]].nunique()
    regions = tuple(
        RegionCount(
            id=region.id,
            name=region.name,
            photos=(count := int(photos.get(region.id, 0))),
            share=count / len(region_ids),
            countries=int(there["country"].get(region.id, 0)),
            blocks=int(there["block"].get(region.id, 0)),
            effective_photos=float(effective_number(count)),
        )
        for region in table.regions
    )
    counts = np.array([region.photos for region in regions if region.photos])
    ratio = float(counts.max() / counts.min()) if len(counts) else 1.0
    return Balance(regions, ratio, effective_classes(counts))


def effective_number(photos: ArrayLike) -> NDArray[np.float64]:
    """Count photos with diminishing returns: (1 - beta^n) / (1 - beta), beta = ``COVERAGE``.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equation 1.
    """
    effective: NDArray[np.float64] = (1 - COVERAGE ** np.asarray(photos, dtype=np.float64)) / (1 - COVERAGE)
    return effective


def effective_classes(counts: ArrayLike) -> float:
    """Give the number of equally large classes that would be as even: exp of the Shannon entropy of the shares."""
    counts = np.asarray(counts, dtype=np.float64)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def measure_spread(points: Points) -> Spread:
    """Measure how photos lie on the Earth: (n, 2) degrees."""
    blocks = block_ids(points, BLOCK_RESOLUTION)
    sizes = np.sort(np.unique(blocks, return_counts=True)[1])[::-1]
    return Spread(
        blocks=blocks,
        occupied=len(sizes),
        effective_blocks=effective_classes(sizes),
        top_share=float(sizes[:TOP_BLOCKS].sum() / len(points)),
        nearest_km=nearest_other_km(points),
    )


def nearest_other_km(points: Points) -> NDArray[np.float64]:
    """Measure how far the nearest other point is from each: (n, 2) degrees -> (n,) km, infinite for the only one."""
    # A tree of thousands of equal points has one leaf of them all, and looks at all for each.
    apart, member, times = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    nearest = np.full(len(apart), np.inf)
    if len(apart) > 1:
        vectors = unit_vectors(apart)
        nearest = chord_to_km(cKDTree(vectors).query(vectors, k=2)[0][:, 1])
    nearest[times > 1] = 0
    return nearest[member.ravel()]


def check_balance(balance: Balance, spread: Spread, *, min_photos: int) -> list[Finding]:
    """Report regions without photos or with fewer than ``min_photos``, imbalance, and photos from few places."""
    empty = [region.name for region in balance.regions if region.photos == 0]
    small = [f"{region.name} ({region.photos:,})" for region in balance.regions if 0 < region.photos < min_photos]
    largest = max(balance.regions, key=lambda region: region.photos)
    smallest = min((r for r in balance.regions if r.photos), key=lambda region: region.photos, default=largest)
    uneven = balance.ratio > UNEVEN_RATIO
    narrow = spread.top_share > NARROW_SHARE and spread.occupied > TOP_BLOCKS
    return [
        judge_whole("one_region", int(balance.occupied < 2), f"All are in {largest.name}."),
        judge_whole("empty_regions", len(empty), f"{_listed(empty)}."),
        judge_whole("small_regions", len(small), f"Fewer than {min_photos:,} photos: {_listed(small)}."),
        judge_whole(
            "imbalance",
            int(uneven),
            f"{largest.name} has {balance.ratio:,.0f} times the photos of {smallest.name}: as even as "
            f"{balance.effective_regions:.1f} equal regions.",
        ),
        judge_whole(
            "narrow_spread",
            int(narrow),
            f"{percent(spread.top_share)} of the photos are in {TOP_BLOCKS} of {spread.occupied:,} occupied blocks.",
        ),
    ]


def _listed(names: list[str], most: int = 20) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
