"""Splits: which photos train, and which judge. By place, so that neighbours and bursts stay on one side.

Blocks are dealt like cards: the large ones first, each to a split drawn by the room that is left there. So shares are
met in every region, no split gets only towns or only countryside, and another seed gives another split. It knows no
photos but by their place, group and region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h3
import numpy as np
import pandas as pd
from h3.api import basic_int
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geomind.data.manifest import read_manifest, rebased_paths, write_manifest
from geomind.errors import ManifestError
from geomind.geography.sphere import Points, chord_to_km, km_to_chord, unit_vectors

By = Literal["place", "group", "random"]
"""What stays together: blocks of the Earth and groups, groups alone, or nothing."""

BLOCK_RESOLUTION = 3
"""h3 resolution of a block: about 12,400 km², 69 km a side (`h3.average_hexagon_edge_length`)."""


@dataclass(frozen=True)
class Nearest:
    """How far the photos of a split are from the nearest training photo of each."""

    least_km: float
    median_km: float
    within_1_km: float
    """Share of the photos."""
    within_25_km: float


@dataclass(frozen=True)
class Part:
    """One split of a manifest."""

    name: str
    photos: int
    share: float
    blocks: int
    nearest: Nearest | None
    """None for `train` itself, and where there is no `train`."""


@dataclass(frozen=True)
class Split:
    """What a manifest was divided into."""

    parts: tuple[Part, ...]
    left_out: int
    """Photos in no split, because one of a later split is too near."""
    blocks: int
    shared_blocks: int
    """Blocks with photos in two splits or more."""
    groups: int
    shared_groups: int
    """Groups with photos in two splits or more."""


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
    tied = tie(block_ids(points, resolution), groups)
    area = h3.average_hexagon_area(resolution, "km^2")
    return _deal(tied, shares, strata, seed, what=f"block(s) of {area:,.0f} km² or share groups", need="more places")


def split_by_group(
    groups: ArrayLike, *, shares: Mapping[str, float], strata: ArrayLike | None = None, seed: int = 0
) -> NDArray[np.str_]:
    """Give each photo a split so that no group is in two; a photo without a group is one of its own.

    Arguments, result and errors are those of ``split_by_place``. Groups may be neighbours, so this is honest only where
    a group holds all that was taken around it.
    """
    names = np.asarray(groups, dtype=object)
    tied = np.arange(len(names))
    grouped = names != ""
    tied[grouped] = len(names) + pd.factorize(names[grouped])[0]
    return _deal(np.unique(tied, return_inverse=True)[1], shares, strata, seed, what="group(s)", need="more groups")


def split_at_random(
    count: int, *, shares: Mapping[str, float], strata: ArrayLike | None = None, seed: int = 0
) -> NDArray[np.str_]:
    """Give each of ``count`` photos a split by lot. It flatters: neighbours and bursts end up on both sides.

    Arguments, result and errors are those of ``split_by_place``.
    """
    return _deal(np.arange(count), shares, strata, seed, what="photo(s)", need="more photos")


def split_manifest(
    manifest: Path | str,
    output: Path | str,
    *,
    shares: Mapping[str, float],
    by: By = "place",
    resolution: int = BLOCK_RESOLUTION,
    gap_km: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Split:
    """Fill the split column of a manifest, and tell how far apart its parts are.

    With ``gap_km``, a photo nearer than that to one of a later split is in none: its split stays empty. Later means
    after it in ``shares``, so that the test photos, named last, all stay.

    Raises:
        ManifestError: the manifest cannot be split so, or is split already and ``overwrite`` is false.
        OutputError: the output exists and is not the manifest itself, or cannot be written.
    """
    rows = read_manifest(manifest)
    in_place = Path(output).resolve() == Path(manifest).resolve()
    if in_place and (rows["split"] != "").any() and not overwrite:
        raise ManifestError(f"{manifest} is split already. Name another --output, or split it anew with --overwrite.")
    points = rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    groups, strata = rows["group"].to_numpy(dtype=object), rows["region_id"].to_numpy(dtype=np.int64, na_value=-1)
    if by == "place":
        split = split_by_place(points, shares=shares, groups=groups, strata=strata, resolution=resolution, seed=seed)
    elif by == "group":
        if not (groups != "").any():
            raise ManifestError(f"{manifest} has no groups: its column 'group' is empty. Split it by place.")
        split = split_by_group(groups, shares=shares, strata=strata, seed=seed)
    else:
        split = split_at_random(len(rows), shares=shares, strata=strata, seed=seed)
    if gap_km > 0:
        split = np.where(too_near(points, split, list(shares), gap_km), "", split)
        if empty := [name for name in shares if not (split == name).any()]:
            raise ManifestError(
                f"No photo of the split '{empty[0]}' is {gap_km:g} km from those after it. Make the gap smaller or the "
                "blocks larger."
            )
    paths = rebased_paths(rows["image_path"].tolist(), manifest, output)
    write_manifest(rows.assign(image_path=paths, split=split), output, overwrite=overwrite or in_place)
    blocks = block_ids(points, resolution)
    return Split(
        parts=tuple(_measure(points, blocks, split, list(shares))),
        left_out=int((split == "").sum()),
        blocks=len(np.unique(blocks)),
        shared_blocks=_shared(blocks, split),
        groups=len(np.unique(groups[groups != ""].astype(str))),
        shared_groups=_shared(groups[groups != ""].astype(str), split[groups != ""]),
    )


def block_ids(points: ArrayLike, resolution: int = BLOCK_RESOLUTION) -> NDArray[np.uint64]:
    """Number the h3 block of each point: (n, 2) degrees -> (n,) h3 indices."""
    latitude, longitude = np.asarray(points, dtype=np.float64).reshape(-1, 2).T.tolist()
    cells = (basic_int.latlng_to_cell(*point, resolution) for point in zip(latitude, longitude, strict=True))
    return np.fromiter(cells, dtype=np.uint64, count=len(latitude))


# ── what stays together ──────────────────────────────────────────────────────────────────────────────────────────────


def tie(blocks: NDArray[np.uint64], groups: ArrayLike | None) -> NDArray[np.int64]:
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
    return np.unique(component[block_numbers], return_inverse=True)[1].astype(np.int64)


# ── dealing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deal(
    tied: NDArray[np.int64], shares: Mapping[str, float], strata: ArrayLike | None, seed: int, *, what: str, need: str
) -> NDArray[np.str_]:
    """Deal sets of photos to splits: (n,) numbers 0, 1, 2 … of sets -> (n,) names.

    Raises:
        ManifestError: the shares do not add up, or there are fewer sets than splits.
    """
    if not shares or not abs(sum(shares.values()) - 1) <= 1e-9 or not min(shares.values()) > 0:
        raise ManifestError(f"The shares of a split must be above 0 and add up to 1, not {dict(shares)}.")
    sizes = np.bincount(tied)
    if len(sizes) < len(shares):
        raise ManifestError(f"All photos lie in {len(sizes)} {what}; {len(shares)} splits need {need}.")
    if strata is None:
        stratum = np.zeros(len(tied), dtype=np.int64)
    else:
        stratum = np.unique(np.asarray(strata), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    # Large sets first, in bins of a factor of two, so that the small ones can still even out what those left over.
    order = np.lexsort((rng.random(len(sizes)), -np.floor(np.log2(sizes))))
    room = _whole_shares(np.bincount(stratum), list(shares.values()), rng).tolist()
    contents = _contents(tied, stratum, len(sizes))
    split_of = np.zeros(len(sizes), dtype=np.int64)
    for number, luck in zip(order.tolist(), rng.random(len(sizes)).tolist(), strict=True):
        split = _draw(contents[number], room, luck)
        split_of[number] = split
        for here, photos in contents[number]:
            room[split][here] -= photos
    _fill_empty(split_of, sizes, len(shares))
    return np.array(list(shares))[split_of[tied]]


def _whole_shares(sizes: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Share out each stratum in whole photos: (strata,), (splits,) -> (splits, strata).

    Parts of photos go by lot (systematic sampling), so that 10% of many regions of five photos is one photo in every
    second region and not none in all.
    """
    ends = np.concatenate([[0.0], np.cumsum(shares)])
    ends[-1] = 1.0
    photos: NDArray[np.int64] = np.floor(ends[:, None] * sizes + rng.random(len(sizes))).astype(np.int64)
    return np.diff(photos, axis=0)


def _contents(tied: NDArray[np.int64], stratum: NDArray[np.int64], sets: int) -> list[list[tuple[int, int]]]:
    """List the (stratum, photos) of each set; most lie in one stratum."""
    strata = int(stratum.max()) + 1
    cells, photos = np.unique(tied * strata + stratum, return_counts=True)
    contents: list[list[tuple[int, int]]] = [[] for _ in range(sets)]
    for cell, count in zip(cells.tolist(), photos.tolist(), strict=True):
        contents[cell // strata].append((cell % strata, count))
    return contents


def _draw(content: Sequence[tuple[int, int]], room: Sequence[Sequence[int]], luck: float) -> int:
    """Choose the split of a set of photos: by lot, with luck in [0, 1), among those with room for it."""
    free = []
    for left in room:
        fits = all(left[stratum] >= photos for stratum, photos in content)
        free.append(sum(left[stratum] * photos for stratum, photos in content) if fits else 0)
    if not (total := sum(free)):  # too large for any: where it sticks out least
        return max(range(len(room)), key=lambda split: sum(room[split][stratum] * n for stratum, n in content))
    luck *= total
    for split, weight in enumerate(free):  # noqa: B007
        luck -= weight
        if luck < 0:
            break
    return split


def _fill_empty(split_of: NDArray[np.int64], sizes: NDArray[np.int64], splits: int) -> None:
    """Give every split at least one set of photos: the smallest of the split that has most sets."""
    for split in range(splits):
        held = np.bincount(split_of, minlength=splits)
        if held[split] == 0:
            candidates = np.flatnonzero(split_of == held.argmax())
            split_of[candidates[sizes[candidates].argmin()]] = split


# ── how far apart ────────────────────────────────────────────────────────────────────────────────────────────────────


def too_near(points: Points, split: NDArray[np.str_], names: Sequence[str], gap_km: float) -> NDArray[np.bool_]:
    """Find the photos that are nearer than a gap to one of a later split: (n,).

    Args:
        points: (n, 2) degrees.
        split: (n,) names of splits.
        names: The splits in order; of two photos too near each other, that of the later split stays.
        gap_km: The least distance that photos of different splits may have.
    """
    vectors = unit_vectors(points)
    near = np.zeros(len(points), dtype=bool)
    for i, name in enumerate(names[:-1]):
        here, later = np.flatnonzero(split == name), np.isin(split, names[i + 1 :])
        distance, _ = cKDTree(vectors[later]).query(vectors[here], distance_upper_bound=km_to_chord(gap_km))
        near[here[np.isfinite(distance)]] = True
    return near


def _measure(points: Points, blocks: NDArray[np.uint64], split: NDArray[np.str_], names: Sequence[str]) -> list[Part]:
    """Count each split's photos and blocks, and measure how far its photos are from the nearest training photo."""
    learned = cKDTree(unit_vectors(points[split == "train"])) if "train" in names else None
    parts = []
    for name in names:
        here = split == name
        nearest = None
        if learned is not None and name != "train":
            distance_km = chord_to_km(learned.query(unit_vectors(points[here]))[0])
            nearest = Nearest(
                least_km=float(distance_km.min()),
                median_km=float(np.median(distance_km)),
                within_1_km=float((distance_km <= 1).mean()),
                within_25_km=float((distance_km <= 25).mean()),
            )
        parts.append(Part(name, int(here.sum()), float(here.mean()), len(np.unique(blocks[here])), nearest))
    return parts


def _shared(sets: NDArray[np.uint64] | NDArray[np.str_], split: NDArray[np.str_]) -> int:
    """Count the sets with photos in two splits or more; photos in no split do not count."""
    used = split != ""
    pairs = pd.DataFrame({"set": sets[used], "split": split[used]}).drop_duplicates()
    return int((pairs["set"].value_counts() > 1).sum())
