"""The median place of each region: the answer for want of a better one. It knows no photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geomind.geography.places import cities
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import geodesic_median


def region_medians(
    points: NDArray[np.float64], region_ids: NDArray[np.int64], regions: RegionTable
) -> dict[int, tuple[float, float]]:
    """Find each region's median place; a region without photos takes the median of its city dwellers."""
    medians = {}
    table = cities()
    city_regions = regions.region_ids(table.country, table.points)
    for region in regions.regions:
        here = region_ids == region.id
        if here.any():
            median = geodesic_median(points[here])
        else:
            inside = city_regions == region.id
            median = geodesic_median(table.points[inside], table.population[inside]) if inside.any() else np.zeros(2)
        medians[region.id] = (float(median[0]), float(median[1]))
    return medians
