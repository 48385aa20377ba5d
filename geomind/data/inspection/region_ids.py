"""Does every row have a region of the table, and that of its place? It counts nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geomind.data.inspection.coordinates import Places
from geomind.data.inspection.findings import EXAMPLES, Finding, judge
from geomind.geography.regions import NO_REGION, RegionTable


def check_regions(there: Places, region_ids: NDArray[np.int64], table: RegionTable) -> list[Finding]:
    """Report rows whose region training refuses, and rows whose region is not that of their place.

    Args:
        there: Where the rows are.
        region_ids: (n,) as the manifest gives them, ``NO_REGION`` where it gives none.
        table: What the ids mean.
    """
    outside = (region_ids < 0) | (region_ids >= len(table))
    expected = table.region_ids(there.country, there.points)
    # At a border the given country's region is as good.
    by_given = table.region_ids(there.given, there.points)
    right = (region_ids == expected) | (there.near_given & (there.given != "") & (region_ids == by_given))
    wrong = np.flatnonzero(~outside & ~right & there.near_given)  # else it is the country that is wrong
    notes = []
    for row in wrong[:EXAMPLES]:
        name = "in no region" if expected[row] == NO_REGION else f"in {table[int(expected[row])].name}"
        notes.append(f"region {table[int(region_ids[row])].name}, position {name}")
    missing = [
        "no region" if region_ids[row] == NO_REGION else f"region {region_ids[row]}"
        for row in np.flatnonzero(outside)[:EXAMPLES]
    ]
    return [
        judge("no_region", np.flatnonzero(outside), of=len(there), notes=missing),
        judge("wrong_region", wrong, of=len(there), notes=notes),
    ]
