"""Splits by place: neighbours and bursts stay on one side. It never splits at random; random splits flatter."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h3
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geomind.data.manifest import photo_path, read_manifest, stored_path, write_manifest
from geomind.errors import ManifestError
from geomind.geography.sphere import chord_to_km, unit_vectors

BLOCK_RESOLUTION = 3
"""h3 resolution of a block: about 12,400 km², 60 km a side (h3's table of cell statistics)."""

FOLDS = 20
"""Shares are met in steps of one fold, 5%."""


def split_by_place(
    points: ArrayLike,
    *,
    shares: Mapping[str, float],
    groups: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    resolution: int = BLOCK_RESOLUTION,
    seed: int = 0,
) -> NDArray[np.str_]:
    """Give each photo a split so that no block of the Earth and no group is in two.

    Args:
        points: (n, 2) degrees.
        shares: Split name -> share of photos, together 1; met per stratum as nearly as whole blocks allow.
        groups: (n,) names of what must stay together beside the block; "" is a group of its own.
        strata: (n,) classes, usually region ids, that every split should hold in the same proportion.
        resolution: h3 resolution of the blocks, 0 (continents) to 15 (a square metre).
        seed: The same seed gives the same split.

    Returns:
        (n,) names of splits.

    Raises:
        ManifestError: the shares do not add up, or there are fewer blocks than splits.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) <= 0:
        raise ManifestError(f"The shares of a split must be above 0 and add up to 1, not {dict(shares)}.")
    tied = _tie(block_ids(points, resolution), groups)
    strata = np.zeros(len(points), dtype=int) if strata is None else np.asarray(strata)
    blocks = len(np.unique(tied))
    if blocks < len(shares):
        raise ManifestError(
            f"All photos lie in {blocks} block(s) of {h3.average_hexagon_area(resolution, 'km^2'):,.0f} km² or share "
            f"groups; {len(shares)} splits by place need more places."
        )
    folds = np.zeros(len(points), dtype=int)
    if (largest := int(np.unique(strata, return_counts=True)[1].max())) < len(shares):
        strata, largest = np.zeros(len(points), dtype=int), len(points)  # too few photos of any region to share out
    splitter = StratifiedGroupKFold(n_splits=min(FOLDS, blocks, largest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a region with few photos cannot be in every fold, and that is fine
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, held) in enumerate(splitter.split(points, strata, tied)):
            folds[held] = fold
    # Folds go to the split that lacks most of its share; a split always gets at least one.
    names = list(shares)
    lacking = {name: share * len(points) for name, share in shares.items()}
    split_of: dict[int, str] = {}
    sizes = np.bincount(folds)
    for position, fold in enumerate(np.argsort(-sizes, kind="stable")):
        empty = [name for name in names if name not in split_of.values()]
        must_fill = len(empty) >= len(sizes) - position
        name = max(empty if must_fill else names, key=lambda name: lacking[name])
        split_of[int(fold)] = name
        lacking[name] -= sizes[fold]
    return np.array([split_of[int(fold)] for fold in folds])


@dataclass(frozen=True)
class Part:
    """One split of a manifest, and how far its photos are from those that one trains on."""

    name: str
    photos: int
    share: float
    blocks: int
    nearest_km: float | None
    """Smallest distance from one of its photos to a training photo; None for `train` itself."""
    median_nearest_km: float | None
    """Median of these distances."""


def split_manifest(
    manifest: Path | str,
    output: Path | str,
    *,
    shares: Mapping[str, float],
    resolution: int = BLOCK_RESOLUTION,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Part]:
    """Fill the split column of a manifest by place, and tell how far apart its parts are.

    Raises:
        ManifestError: the manifest cannot be split so, or is split already and ``overwrite`` is false.
        OutputError: the output exists and is not the manifest itself, or cannot be written.
    """
    rows = read_manifest(manifest)
    in_place = Path(output).resolve() == Path(manifest).resolve()
    if in_place and (rows["split"] != "").any() and not overwrite:
        raise ManifestError(f"{manifest} is split already. Name another --output, or split it anew with --overwrite.")
    points = rows[["latitude", "longitude"]].to_numpy()
    split = split_by_place(
        points,
        shares=shares,
        groups=rows["group"].to_numpy(),
        strata=rows["region_id"].to_numpy(),
        resolution=resolution,
        seed=seed,
    )
    rows["split"] = split
    if Path(output).parent.resolve() != Path(manifest).parent.resolve():  # paths are relative to the manifest's folder
        folder = os.path.abspath(Path(output).parent)  # noqa: PTH100 - links stay as they were written
        photos = [os.path.abspath(photo_path(manifest, path)) for path in rows["image_path"]]  # noqa: PTH100
        rows["image_path"] = [stored_path(photo, folder) for photo in photos]
    write_manifest(rows, output, overwrite=overwrite or in_place)
    blocks = block_ids(points, resolution)
    learned = cKDTree(unit_vectors(points[split == "train"])) if "train" in shares else None
    parts = []
    for name in shares:
        here = split == name
        nearest = None
        if learned is not None and name != "train":
            nearest = chord_to_km(learned.query(unit_vectors(points[here]))[0])
        parts.append(
            Part(
                name=name,
                photos=int(here.sum()),
                share=float(here.mean()),
                blocks=len(np.unique(blocks[here])),
                nearest_km=None if nearest is None else float(nearest.min()),
                median_nearest_km=None if nearest is None else float(np.median(nearest)),
            )
        )
    return parts


def block_ids(points: ArrayLike, resolution: int = BLOCK_RESOLUTION) -> NDArray[np.str_]:
    """Name the h3 block of each point: (n, 2) degrees -> (n,) h3 cell names."""
    return np.array([h3.latlng_to_cell(latitude, longitude, resolution) for latitude, longitude in np.asarray(points)])


def _tie(blocks: NDArray[np.str_], groups: ArrayLike | None) -> NDArray[np.int64]:
    """Number the sets of photos that share a block or a group, directly or through others: (n,) -> (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    block_numbers, _ = pd.factorize(blocks)
    if groups is None:
        return block_numbers.astype(np.int64)
    names = np.asarray(groups, dtype=object)
    grouped = names != ""
    group_numbers, _ = pd.factorize(names[grouped])
    nodes = int(block_numbers.max()) + 1
    size = nodes + (int(group_numbers.max()) + 1 if grouped.any() else 0)
    edges = (np.ones(int(grouped.sum())), (block_numbers[grouped], nodes + group_numbers))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    tied: NDArray[np.int64] = component[block_numbers].astype(np.int64)
    return tied
