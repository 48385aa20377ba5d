"""Regions out of a manifest's places: fitted, divided, measured, and written into its region ids. It sees no photo."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geomind.data.csv_table import read_chunks, read_header
from geomind.data.manifest import read_manifest, rebased_paths, write_manifest
from geomind.data.sources.table import NAMES
from geomind.errors import ConfigError, ManifestError
from geomind.geography.boxes import Box
from geomind.geography.cells import CellTree
from geomind.geography.places import cities, country_at, country_name, nearest_place
from geomind.geography.regions import EVERY_OTHER, NO_REGION, Region, RegionTable
from geomind.geography.sphere import Points, chord_to_km, unit_vectors

NEAR_TOWN_KM = 50.0
"""A cluster is named after a town only if a photo is that near."""

_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, eq=False)
class PhotoPlaces:
    """Where photos were taken, and in which country."""

    points: Points
    """(n, 2) degrees."""
    countries: NDArray[np.object_]
    """(n,) ISO 3166-1 alpha-2, "" for the high seas."""
    described: str
    """Which photos these are: "80,000 training photos of manifest.csv"."""

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class RegionCost:
    """What 0.05 of normalised error costs in a region, by the way its box is fitted; no padding."""

    region_id: int
    photos: int
    box: Box
    """As an Expert gets it: over the date line, 0.5% quantiles, padded."""
    naive_km: float
    """The box of the least and greatest latitude and longitude."""
    date_line_km: float
    """The box that may cross the date line."""
    quantile_km: float
    """That box without the outermost 0.5% of the photos at each side."""


@dataclass(frozen=True)
class Refinement:
    """A table with one region divided, and what that gained: km that 0.05 of normalised error costs."""

    table: RegionTable
    parts: int
    before_km: float
    """In the region."""
    after_km: float
    """In its parts, the mean over its photos."""
    mean_before_km: float
    """The mean over the photos of all regions."""
    mean_after_km: float


def read_places(path: Path | str) -> PhotoPlaces:
    """Read the places of a manifest, its training photos where it is split; a CSV of nothing but coordinates will do.

    Regions must not be drawn around the photos that they are judged by.

    Raises:
        ManifestError: the file cannot be read, or has no training photo.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv" and "image_path" not in (header := read_header(path)):
        return _read_coordinates(path, header)
    rows = read_manifest(path)
    what = "photos"
    if (rows["split"] != "").any():
        rows, what = rows[rows["split"] == "train"], "training photos"
        if rows.empty:
            raise ManifestError(f"{path} has no row with split 'train'. Split it with `geomind split {path}`.")
    return PhotoPlaces(*_places_of(rows), f"{len(rows):,} {what} of {path.name}")


def fit_regions(
    places: PhotoPlaces, count: int, *, min_photos: int, seed: int = 0, name: str | None = None
) -> RegionTable:
    """Cluster places into regions, the one with most photos first; fewer than ``count`` where photos do not suffice.

    Raises:
        ManifestError: the photos make fewer than two regions.
        ConfigError: more than 1,000 regions are asked for.
    """
    if not 2 <= count <= 1000:
        raise ConfigError(f"A table has 2 to 1,000 regions, not {count}.")
    tree = CellTree.fit(places.points, {"region": count}, min_photos=min_photos, seed=seed)
    level = tree.levels[0]
    if len(level) < 2:
        raise ManifestError(
            f"The {places.described} make {len(level)} region of at least {min_photos} photos; a table needs 2. Bring "
            "more photos, or lower --min-photos."
        )
    names = _name_cells(places, tree, 0)
    order = np.argsort(-level.photos, kind="stable").tolist()
    slugs = _slugs([names[cell] for cell in order])
    regions = [
        Region(i, slug, names[cell], (EVERY_OTHER,), (_pair(level.centres[cell]),))
        for i, (cell, slug) in enumerate(zip(order, slugs, strict=True))
    ]
    return RegionTable(name or f"clusters-{len(regions)}", tuple(regions))


def fit_cells(
    places: PhotoPlaces, cells: Mapping[str, int], *, min_photos: int, seed: int = 0, by_country: bool = False
) -> CellTree:
    """Cluster places into a tree of cells with names; level -> how many cells, coarse to fine.

    With ``by_country`` the first level is the countries that the photos are of, whatever its number says.

    Raises:
        ConfigError: the numbers of cells fall from one level to the next.
    """
    first = places.countries.astype(str) if by_country else None
    tree = CellTree.fit(places.points, cells, min_photos=min_photos, seed=seed, first=first)
    return tree.named([_name_cells(places, tree, depth) for depth in range(len(cells))])


def widest_region(places: PhotoPlaces, table: RegionTable) -> int:
    """Find the region where an error costs most kilometres; the id."""
    return max(measure_regions(places, table), key=lambda cost: cost.quantile_km).region_id


def refine_region(
    places: PhotoPlaces, table: RegionTable, region_id: int, parts: int, *, min_photos: int, seed: int = 0
) -> Refinement:
    """Divide one region of a table into clusters and keep the others with their ids.

    The first part, the one with most photos, takes the region's id; the others follow the table's last. Parts of a
    region of countries divide just these; parts of a cluster may also take places from the clusters around it.

    Raises:
        ManifestError: the region has too few photos for two parts.
        ConfigError: there is no such region, or the table would have more than 1,000.
    """
    region = table[region_id]
    here = table.region_ids(places.countries, places.points) == region_id
    inside = PhotoPlaces(places.points[here], places.countries[here], f"{here.sum():,} photos of '{region.name}'")
    if len(inside) < 2 * min_photos:
        raise ManifestError(
            f"Region {region_id} '{region.name}' has {len(inside):,} photos among the {places.described}; two parts of "
            f"at least {min_photos} need more. Bring more, or lower --min-photos."
        )
    clusters = fit_regions(inside, parts, min_photos=min_photos, seed=seed)
    ids = [region_id, *range(len(table), len(table) + len(clusters) - 1)]
    names = [f"{region.name}: {cluster.name}" for cluster in clusters.regions]
    others = [other for other in table.regions if other.id != region_id]
    slugs = _slugs(names, taken=[other.slug for other in others])
    new = [
        Region(i, slug, name, region.countries, cluster.centres)
        for i, slug, name, cluster in zip(ids, slugs, names, clusters.regions, strict=True)
    ]
    regions = sorted([*others, *new], key=lambda each: each.id)
    refined = RegionTable(f"{table.name}, {region.slug} in {len(new)}", tuple(regions))
    old, fresh = measure_regions(places, table), measure_regions(places, refined)
    return Refinement(
        table=refined,
        parts=len(new),
        before_km=_mean_km([cost for cost in old if cost.region_id == region_id]),
        after_km=_mean_km([cost for cost in fresh if cost.region_id in ids]),
        mean_before_km=_mean_km(old),
        mean_after_km=_mean_km(fresh),
    )


def measure_regions(places: PhotoPlaces, table: RegionTable) -> list[RegionCost]:
    """Fit the box of every region that has photos, and tell what 0.05 of normalised error costs in it.

    Raises:
        ManifestError: the table has no region for some photo's country.
    """
    ids = table.region_ids(places.countries, places.points)
    if (nowhere := ids == NO_REGION).any():
        raise ManifestError(
            f"{nowhere.sum():,} of {places.described} are in no region of the table '{table.name}', the first in "
            f"'{places.countries[nowhere][0]}'. Give a region the country, or `*` for every other one."
        )
    costs = []
    for region_id in np.unique(ids).tolist():
        points = places.points[ids == region_id]
        latitude = float(np.median(points[:, 0]))
        costs.append(
            RegionCost(
                region_id=region_id,
                photos=len(points),
                box=Box.fit(points),
                naive_km=Box.fit(points, quantile=0, padding=0, over_date_line=False).error_km(latitude=latitude),
                date_line_km=Box.fit(points, quantile=0, padding=0).error_km(latitude=latitude),
                quantile_km=Box.fit(points, padding=0).error_km(latitude=latitude),
            )
        )
    return costs


def assign_regions(
    manifest: Path | str, table: RegionTable, output: Path | str, *, overwrite: bool = False
) -> dict[int, int]:
    """Write a table's region ids into a manifest.

    Returns:
        Region id -> photos, for every region of the table.

    Raises:
        ManifestError: the manifest cannot be read, or a photo is in no region.
        OutputError: the output exists and ``overwrite`` is false, or cannot be written.
    """
    rows = read_manifest(manifest)
    points, countries = _places_of(rows)
    ids = table.region_ids(countries, points)
    if (nowhere := ids == NO_REGION).any():
        first = int(np.argmax(nowhere))
        raise ManifestError(
            f"{nowhere.sum():,} photos of {manifest} are in no region of the table '{table.name}', the first is "
            f"{rows['image_path'].iloc[first]} in '{countries[first]}'."
        )
    paths = rebased_paths(rows["image_path"].tolist(), manifest, output)
    write_manifest(rows.assign(image_path=paths, country=countries, region_id=ids), output, overwrite=overwrite)
    return dict(enumerate(np.bincount(ids, minlength=len(table)).tolist()))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _name_cells(places: PhotoPlaces, tree: CellTree, depth: int) -> list[str]:
    """Name the cells of a level after the countries that most photos are of, and a town where that is not enough.

    Countries are named, three at most, until half of the photos are of one of them. Cells with the same countries get
    the largest town of the first one in brackets, of those near a photo. At fine levels two cells may have one name.
    """
    cells = len(tree.levels[depth])
    codes, code_of = np.unique(places.countries.astype(str), return_inverse=True)
    counts = np.zeros((cells, len(codes)), dtype=np.int64)
    np.add.at(counts, (tree.assign(places.points)[:, depth], code_of), 1)
    names, leading = [], []
    for row in counts:
        ranked = np.argsort(-row, kind="stable")[:3]
        enough = int(np.searchsorted(np.cumsum(row[ranked]), row.sum() / 2)) + 1
        shown = [country_name(str(codes[i])) or "High seas" for i in ranked[:enough]]
        names.append(", ".join([*shown[:-2], " & ".join(shown[-2:])]))
        leading.append(str(codes[ranked[0]]))
    repeated = {name for name, times in Counter(names).items() if times > 1}
    if repeated:
        towns = _largest_towns(places, tree, depth, leading)
        names = [f"{name} ({towns[i]})" if name in repeated else name for i, name in enumerate(names)]
    return names


def _largest_towns(places: PhotoPlaces, tree: CellTree, depth: int, leading: list[str]) -> list[str]:
    """Find the largest town of each cell near its photos and in its leading country; else the nearest to its middle."""
    table = cities()
    photo_km = chord_to_km(cKDTree(unit_vectors(places.points)).query(unit_vectors(table.points))[0])
    of_town = tree.assign(table.points)[:, depth]
    own = np.flatnonzero((photo_km <= NEAR_TOWN_KM) & (table.country == np.array(leading)[of_town]))
    own = own[np.argsort(-table.population[own], kind="stable")]
    cells, first = np.unique(of_town[own], return_index=True)
    towns: list[str] = nearest_place(tree.levels[depth].centres).name.tolist()
    for cell, town in zip(cells.tolist(), table.name[own[first]].tolist(), strict=True):
        towns[cell] = town
    return towns


def _slugs(names: list[str], taken: list[str] | None = None) -> list[str]:
    """Make lower-case words with hyphens of names, each another."""
    used = set(taken or ())
    slugs = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = "-".join(re.findall(r"[a-z0-9]+", plain)) or "region"
        slug, number = stem, 2
        while slug in used:
            slug, number = f"{stem}-{number}", number + 1
        used.add(slug)
        slugs.append(slug)
    return slugs


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mean_km(costs: Sequence[RegionCost]) -> float:
    return sum(cost.quantile_km * cost.photos for cost in costs) / sum(cost.photos for cost in costs)


def _places_of(rows: pd.DataFrame) -> tuple[Points, NDArray[np.object_]]:
    """Give the points and countries of a manifest's rows; a row without a country is looked up."""
    points = rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    countries = rows["country"].to_numpy(dtype=object, copy=True)
    if (unknown := countries == "").any():
        countries[unknown] = country_at(points[unknown])
    return points, countries


def _read_coordinates(path: Path, header: tuple[str, ...]) -> PhotoPlaces:
    by_name = {name.lower(): name for name in reversed(header)}
    columns = []
    for wanted in ("latitude", "longitude"):
        found = [by_name[name] for name in NAMES[wanted] if name in by_name]
        if not found:
            raise ManifestError(
                f"{path} has no column for {wanted}: it has {', '.join(header)[:200]}. Give a manifest of `geomind "
                f"prepare`, or a CSV with {' or '.join(NAMES[wanted])}."
            )
        columns.append(found[0])
    chunks = []
    for chunk in read_chunks(path, _ROWS_AT_ONCE):
        points = np.stack([pd.to_numeric(chunk.cells[name], errors="coerce").to_numpy(float) for name in columns], 1)
        if (wrong := ~(np.abs(points) <= (90, 180)).all(axis=1)).any():
            row = int(np.argmax(wrong))
            said = ", ".join(chunk.cells[name].iloc[row] for name in columns)
            raise ManifestError(f"{path}, line {chunk.lines[row]}: '{said}' is no latitude and longitude in degrees.")
        chunks.append(points)
    if not chunks:
        raise ManifestError(f"{path} has no row.")
    points = np.concatenate(chunks)
    return PhotoPlaces(points, country_at(points).astype(object), f"{len(points):,} places of {path.name}")


def _pair(centre: NDArray[np.float64]) -> tuple[float, float]:
    return float(centre[0]), float(centre[1])
