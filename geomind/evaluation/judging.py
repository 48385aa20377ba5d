"""The truth of a manifest, and whether places are right by name: country, region, town. It knows no scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.manifest import read_manifest
from geomind.errors import ManifestError
from geomind.geography import places
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.geography.sphere import Points
from geomind.metrics import Distances, distances_km
from geomind.predictions import Prediction

Flags = NDArray[np.bool_]
"""(n,) one a photo."""

RegionIds = NDArray[np.int64]
"""(n,) region ids, ``NO_REGION`` where there is none."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Photos whose place is known, in order, and what is known of where they were taken."""

    image_paths: tuple[str, ...]
    points: Points
    """(n, 2) degrees."""
    countries: NDArray[np.str_]
    region_ids: RegionIds
    clusters: NDArray[np.int64]
    """(n,) numbers 0, 1, 2 … of what is resampled as one: photos of a group say the same thing several times."""
    grouped: bool
    """Whether the manifest has groups; each photo is a cluster of its own where it has none."""
    regions: RegionTable

    def __len__(self) -> int:
        return len(self.image_paths)

    @classmethod
    def read(cls, manifest: Path | str, regions: RegionTable, *, split: str | None = "test") -> Truth:
        """Read the photos of a split, or all where it is None.

        Raises:
            ManifestError: the manifest cannot be read, the split has no photo, or a region is not in the table.
        """
        rows = read_manifest(manifest)
        if split is not None:
            rows = rows[rows["split"] == split]
        if rows.empty:
            raise ManifestError(
                f"{manifest} has no row with split '{split}'. Split it with `geomind split {manifest}`."
            )
        return cls.of(rows, regions)

    @classmethod
    def of(cls, rows: pd.DataFrame, regions: RegionTable) -> Truth:
        """Take rows of a manifest.

        A country that the manifest leaves empty is that of the place, and a region that of the country, given or not.

        Raises:
            ManifestError: a region is not in the table.
        """
        points = points_of(rows)
        countries = rows["country"].to_numpy(dtype=str)
        if (unnamed := countries == "").any():
            countries = countries.astype(f"<U{max(2, countries.dtype.itemsize // 4)}")
            countries[unnamed] = places.country_at(points[unnamed])
        region_ids = rows["region_id"].to_numpy(dtype=np.int64, na_value=NO_REGION)
        if (unknown := region_ids == NO_REGION).any():
            region_ids[unknown] = regions.region_ids(countries[unknown], points[unknown])
        check_regions(region_ids, rows["image_path"].tolist(), regions)
        clusters, grouped = _clusters(rows["group"].to_numpy(dtype=str))
        return cls(tuple(rows["image_path"]), points, countries, region_ids, clusters, grouped, regions)


@dataclass(frozen=True, eq=False)
class Judged:
    """How good answers are, photo by photo."""

    distance_km: Distances
    """(n,) km, infinite where there is no answer."""
    country_right: Flags
    """Whether the place is in the true country."""
    region_right: Flags
    """Whether the place is in the true region, whichever region the answer names."""
    city_right: Flags
    """Whether the town nearest to the place is the one nearest to the truth."""
    on_sea: Flags
    """Whether there is an answer and it lies on the sea."""


def judge(answers: Sequence[Prediction], truth: Truth) -> Judged:
    """Judge answers by the truth, photo by photo in one order; one that is missing is wrong in everything.

    Raises:
        ManifestError: the answers are of other photos.
    """
    if [each.image_path for each in answers] != list(truth.image_paths):
        raise ManifestError(
            f"{len(answers):,} answers are not of the {len(truth):,} photos that judge, in their order."
        )
    return judge_places(places_of(answers), truth)


def judge_places(guesses: Points, truth: Truth) -> Judged:
    """Judge places by the truth: (n, 2) degrees, NaN where there is no answer, which is wrong in everything.

    Country and region are those of the answered place (``places.country_at``, ``RegionTable.region_ids``), so that a
    method that names neither is judged like the others. The town is the nearest of GeoNames' towns of 5,000 people and
    more, however far it is and whatever country it is in: the same town for answer and truth is right.
    """
    answered = np.isfinite(guesses).all(axis=1)
    there, true = guesses[answered], truth.points[answered]
    countries = places.country_at(there)
    regions = truth.regions.region_ids(countries, there)
    town, true_town = places.nearest_place(there), places.nearest_place(true)
    same_town = (
        (town.name == true_town.name)
        & (town.country == true_town.country)
        & (town.population == true_town.population)  # a country may have two of a name
    )

    def flags(of_answered: NDArray[Any]) -> Flags:
        all_photos = np.zeros(len(truth), dtype=bool)
        all_photos[answered] = of_answered
        return all_photos

    return Judged(
        distance_km=distances_km(truth.points, guesses),
        country_right=flags(countries == truth.countries[answered]),
        region_right=flags((regions == truth.region_ids[answered]) & (regions != NO_REGION)),
        city_right=flags(same_town),
        on_sea=flags(~places.on_land(there)),
    )


def points_of(rows: pd.DataFrame) -> Points:
    """Give where the photos of a manifest's rows were taken: (n, 2) degrees."""
    return rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)


def places_of(answers: Sequence[Prediction]) -> Points:
    """Give where photos were placed: (n, 2) degrees, NaN for a photo without an answer."""
    return np.array([each.place or (np.nan, np.nan) for each in answers], dtype=np.float64).reshape(-1, 2)


def check_regions(ids: RegionIds, photos: Sequence[str], table: RegionTable) -> None:
    """Make sure that region ids are those of a table; ``NO_REGION`` is in every one.

    Raises:
        ManifestError: one is of another table; the message names its photo.
    """
    if (outside := (ids < NO_REGION) | (ids >= len(table))).any():
        raise ManifestError(
            f"{photos[int(np.argmax(outside))]} is of region {ids[outside][0]}; the table '{table.name}' has 0 to "
            f"{len(table) - 1}. Make manifest, models and predictions with one table of regions."
        )


def _clusters(groups: NDArray[np.str_]) -> tuple[NDArray[np.int64], bool]:
    """Number what is resampled as one: (n,) names of groups -> (n,); "" is a cluster of its own."""
    named = groups != ""
    clusters = np.arange(len(groups))
    if named.any():
        clusters[named] = len(groups) + np.unique(groups[named], return_inverse=True)[1]
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64), bool(named.any())
