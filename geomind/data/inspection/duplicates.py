"""Which photos are the same file, or nearly the same picture, and where. It opens none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from h3.api import basic_int
from numpy.typing import NDArray

from geomind.data.inspection.file_checks import HASH_BITS, FileChecks
from geomind.data.inspection.findings import EXAMPLES, Finding, judge
from geomind.data.splits import block_ids
from geomind.geography.sphere import Points, haversine_km

NEAR_BITS = 7
"""Two pictures are near-duplicates if at most so many of the 128 bits of their looks differ."""

PLACE_RESOLUTION = 8
"""h3 resolution of a place, 0.5 km a side. Cells that touch are one place: two photos a step apart may be on two sides
of an edge."""

_BAND_BITS = 16
_COMPARED = 500
"""Looks that are compared with the ones next to them in each band: the bound for a million night skies."""

_BITS_SET = np.array([bin(word).count("1") for word in range(2**16)], dtype=np.uint8)


def same_files(paths: Sequence[str], files: FileChecks | None) -> NDArray[np.int64]:
    """Number the files that photos are in: (n,), the same number for the same path or for byte-equal files."""
    by_path = pd.factorize(np.asarray(paths, dtype=object))[0].astype(np.int64)
    if files is None:
        return by_path
    return np.where(files.contents >= 0, files.contents, len(paths) + by_path)


def similar_pictures(files: FileChecks) -> NDArray[np.int64]:
    """Number the sets of pictures that look alike: (n,), -1 for a picture that is like no other.

    Pictures are in one set if a chain of near-duplicates joins them. Two looks that differ by at most 7 bits agree in
    one of 8 bands of 16 bits, so that only pictures that share a band are compared.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sets = np.full(len(files.faults), -1, dtype=np.int64)
    seen = np.flatnonzero(files.has_look)
    if len(seen) < 2:
        return sets
    looks, member = np.unique(files.looks[seen], axis=0, return_inverse=True)
    bands = looks.view(np.uint16).reshape(len(looks), HASH_BITS // _BAND_BITS)
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for band in bands.T:
        order = np.lexsort((looks[:, 1], looks[:, 0], band))
        at = np.arange(len(order))
        for step in range(1, _COMPARED):
            at = at[at + step < len(order)]
            at = at[band[order[at]] == band[order[at + step]]]
            if len(at) == 0:
                break
            one, other = order[at], order[at + step]
            near = _BITS_SET[bands[one] ^ bands[other]].sum(axis=1) <= NEAR_BITS
            pairs.append(np.stack([one[near], other[near]], axis=1))
    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(looks), len(looks)))
    _, component = connected_components(graph, directed=False)
    sets[seen] = component[member.ravel()]
    sizes = np.bincount(sets[seen])
    sets[seen[sizes[sets[seen]] < 2]] = -1
    return sets


def pictures_at_one_place(sets: NDArray[np.int64], points: Points) -> NDArray[np.int64]:
    """Divide sets of similar pictures by place: (n,) numbers of ``similar_pictures``, (n, 2) degrees -> (n,), -1 stays.

    A place is a chain of touching h3 cells that hold pictures of the set.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    divided = np.full(len(sets), -1, dtype=np.int64)
    rows = np.flatnonzero(sets >= 0)
    cells = block_ids(points[rows], PLACE_RESOLUTION).astype(np.int64)
    nodes, member = np.unique(np.stack([sets[rows], cells], axis=1), axis=0, return_inverse=True)
    number_of = {(picture, cell): number for number, (picture, cell) in enumerate(nodes.tolist())}
    edges = [
        (number, number_of[picture, neighbour])
        for (picture, cell), number in number_of.items()
        for neighbour in basic_int.grid_disk(cell, 1)
        if (picture, neighbour) in number_of
    ]
    one, other = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(nodes), len(nodes)))
    divided[rows] = connected_components(graph, directed=False)[1][member.ravel()]
    return divided


def check_duplicates(
    paths: Sequence[str],
    files: NDArray[np.int64],
    sets: NDArray[np.int64] | None,
    here: NDArray[np.int64] | None,
    points: Points,
) -> list[Finding]:
    """Report photos that are there more than once; the first of each is not counted.

    Args:
        paths: (n,) as the manifest writes them.
        files: (n,) numbers of ``same_files``.
        sets: (n,) numbers of ``similar_pictures``; None if no picture was opened.
        here: (n,) numbers of ``pictures_at_one_place``; None if no picture was opened.
        points: (n, 2) degrees.
    """
    count, every = len(paths), np.arange(len(paths))
    original = _first_of_each(files)
    copy = original != every
    notes = [f"as {paths[i]}" for i in original[copy][:EXAMPLES]]
    copies = judge("duplicate_files", np.flatnonzero(copy), of=count, notes=notes)
    if sets is None or here is None:
        skipped = ("near_duplicates", "same_picture_elsewhere")
        return [copies, *(judge(check, [], of=count, skipped=True) for check in skipped)]
    first, first_here = (np.where(ids >= 0, _first_of_each(ids), every) for ids in (sets, here))
    near = np.flatnonzero((first_here != every) & ~copy)
    far = np.flatnonzero(here != here[first])
    like = [f"like {paths[i]}" for i in first_here[near][:EXAMPLES]]
    away = [
        f"like {paths[first[i]]}, {haversine_km(points[i], points[first[i]]):,.0f} km away"
        for i in far[:EXAMPLES].tolist()
    ]
    return [
        copies,
        judge("near_duplicates", near, of=count, notes=like),
        judge("same_picture_elsewhere", far, of=count, notes=away),
    ]


def _first_of_each(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the first row with each row's id: (n,) -> (n,)."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return first[inverse.ravel()]
