"""Clusters of places on the sphere, and trees of them: country, region, city. It knows no photos and no networks.

A tree has levels, each of which divides the one above. A place belongs to the finest cell with the nearest centre and
to the cells above that one, so that its labels never contradict each other. The file is Parquet, one row a cell: exact
numbers, read by any table program, and nothing in it that could run.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.errors import ConfigError, OutputError
from geomind.files import atomic_path, refuse_existing
from geomind.geography.nearest import Nearest
from geomind.geography.sphere import Points, from_unit_vectors, unit_vectors

FORMAT_VERSION = 1
"""Version of the file; a newer one is refused."""

NO_PARENT = -1
"""The parent of a cell of the topmost level."""

_COLUMNS = ("level", "cell", "parent", "latitude", "longitude", "photos", "name")
_DECIMALS = 5  # of a fitted centre, degrees: 1 m
_STARTS = 5  # runs of K-means, of which the best counts


@dataclass(frozen=True, eq=False)
class CellLevel:
    """The cells of one level, numbered from 0; every array has one entry a cell."""

    name: str
    centres: Points
    """(cells, 2) degrees. Those of the finest level decide where a place belongs; those above are middles."""
    parents: NDArray[np.int64]
    """(cells,) numbers of cells of the level above, ``NO_PARENT`` in the first level."""
    photos: NDArray[np.int64]
    """(cells,) how many photos the cell was fitted to."""
    names: tuple[str, ...]
    """(cells,) what a person calls them; two may have one name."""

    def __len__(self) -> int:
        return len(self.centres)


@dataclass(frozen=True, eq=False)
class CellTree:
    """Cells of one or more levels, coarse to fine.

    Raises:
        ConfigError: the levels contradict themselves or each other; the message says where.
    """

    levels: tuple[CellLevel, ...]

    def __post_init__(self) -> None:
        if not self.levels:
            raise ConfigError("A tree of cells needs at least one level.")
        if len({level.name for level in self.levels}) < len(self.levels):
            raise ConfigError(f"Two levels of cells have one name: {', '.join(level.name for level in self.levels)}.")
        for above, level in zip((None, *self.levels), self.levels, strict=False):
            _check(level, above)
        if len(_distinct(self.levels[-1].centres)) < len(self.levels[-1]):
            raise ConfigError(f"Two cells of the level '{self.levels[-1].name}' have one centre; keep one.")

    @classmethod
    def fit(
        cls,
        points: ArrayLike,
        cells: Mapping[str, int],
        *,
        min_photos: int = 1,
        seed: int = 0,
        first: ArrayLike | None = None,
    ) -> CellTree:
        """Cluster places: K-means on the sphere, then halve cells until the next level has enough, and so on.

        The cell is halved first whose halving lessens the sum of squared distances most (bisecting K-means, Steinbach,
        Karypis & Kumar 2000, "A comparison of document clustering techniques"), so that cells are small where photos
        are many and far apart. The cells have no names yet.

        Args:
            points: (n, 2) degrees.
            cells: Level -> how many cells, coarse to fine and never fewer. A level gets fewer where the photos do not
                suffice.
            min_photos: A finest cell with fewer is given up, and its photos go to its neighbours.
            seed: The same seed gives the same cells.
            first: (n,) what each place belongs to at the first level, as a country; clusters if left out.

        Raises:
            ConfigError: the numbers of cells fall, or there are no points.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        counts = list(cells.values())
        if not counts or min(counts) < 1 or counts != sorted(counts):
            raise ConfigError(f"Each level of cells needs as many as the one above or more, not {counts}.")
        if len(points) == 0:
            raise ConfigError("Cells cannot be fitted to no places at all.")
        vectors = unit_vectors(points)
        if first is None:
            labels = _nearest(cluster_centres(points, counts[0], seed=seed), points)
        else:
            labels = np.unique(np.asarray(first), return_inverse=True)[1]
        parts = [np.flatnonzero(labels == cell) for cell in np.unique(labels)]
        ancestry = [np.arange(len(parts))]  # for each level, the cell that each cell of the last one is in
        for count in counts[1:]:
            parts, parents = _halve_cells(vectors, parts, count, min_photos)
            ancestry = [raw[parents] for raw in ancestry] + [np.arange(len(parts))]
        centres = from_unit_vectors([vectors[part].mean(axis=0) for part in parts]).round(_DECIMALS)
        distinct = _distinct(centres)  # centres of photos a few metres apart may round to one
        centres, ancestry = centres[distinct], [raw[distinct] for raw in ancestry]
        kept = _large_enough(centres, points, min_photos)
        finest = _nearest(centres[kept], points)
        levels: list[CellLevel] = []
        above: NDArray[np.int64] | None = None
        for name, raw in zip(cells, ancestry, strict=True):
            _, first, of_finest = np.unique(raw[kept], return_index=True, return_inverse=True)
            last = len(levels) == len(counts) - 1
            levels.append(
                CellLevel(
                    name=name,
                    centres=centres[kept] if last else _middles(points, of_finest[finest]),
                    parents=np.full(len(first), NO_PARENT) if above is None else above[first],
                    photos=np.bincount(of_finest[finest]),
                    names=("",) * len(first),
                )
            )
            above = of_finest
        return cls(tuple(levels))

    def named(self, names: Sequence[Sequence[str]]) -> CellTree:
        """Give the cells names: one sequence a level, one name a cell."""
        return CellTree(tuple(replace(level, names=tuple(n)) for level, n in zip(self.levels, names, strict=True)))

    def assign(self, points: ArrayLike) -> NDArray[np.int64]:
        """Find the cell of each place at every level: (n, 2) degrees -> (n, levels) cell numbers, coarse to fine.

        Raises:
            ValueError: a point is not finite.
        """
        return self.chains[_nearest(self.levels[-1].centres, np.asarray(points, dtype=np.float64).reshape(-1, 2))]

    @cached_property
    def chains(self) -> NDArray[np.int64]:
        """The cells that each finest cell is in, itself last: (finest cells, levels)."""
        chain = [np.arange(len(self.levels[-1]))]
        for level in reversed(self.levels[1:]):
            chain.insert(0, level.parents[chain[0]])
        return np.stack(chain, axis=1)

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of what gives a cell number its meaning; weights of another tree do not fit."""
        digest = hashlib.sha256()
        for level in self.levels:
            digest.update(json.dumps([level.name, level.names, level.parents.tolist()]).encode())
            digest.update(level.centres.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Give what ``from_dict`` reads, of plain values."""
        return {
            level.name: {
                "centres": level.centres.tolist(),
                "parents": level.parents.tolist(),
                "photos": level.photos.tolist(),
                "names": list(level.names),
            }
            for level in self.levels
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> CellTree:
        """Read what ``to_dict`` gave.

        Raises:
            ConfigError: the levels contradict themselves or each other.
            KeyError, TypeError, ValueError: the values are something else.
        """
        return cls(
            tuple(
                CellLevel(
                    name=name,
                    centres=np.asarray(level["centres"], dtype=np.float64).reshape(-1, 2),
                    parents=np.asarray(level["parents"], dtype=np.int64),
                    photos=np.asarray(level["photos"], dtype=np.int64),
                    names=tuple(level["names"]),
                )
                for name, level in values.items()
            )
        )

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the tree as Parquet that ``read`` gives back without change.

        Raises:
            OutputError: the file ends otherwise than in .parquet, exists, or cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        if path.suffix.lower() != ".parquet":
            raise OutputError(f"A tree of cells ends in .parquet; {path} does not.")
        refuse_existing(path, overwrite=overwrite)
        tables = [
            pa.table(
                {
                    "level": [level.name] * len(level),
                    "cell": np.arange(len(level)),
                    "parent": level.parents,
                    "latitude": level.centres[:, 0],
                    "longitude": level.centres[:, 1],
                    "photos": level.photos,
                    "name": list(level.names),
                }
            )
            for level in self.levels
        ]
        about = {
            "format_version": FORMAT_VERSION,
            "kind": "cells",
            "parent": f"cell of the level above, {NO_PARENT}: none",
        }
        table = pa.concat_tables(tables).replace_schema_metadata({"geomind": json.dumps(about)})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def read(cls, path: Path | str) -> CellTree:
        """Read a tree that ``write`` wrote.

        Raises:
            ConfigError: the file is missing, no tree of cells, of a newer format, or contradicts itself.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ConfigError(
                f"Cannot read the cells {path}: {reason}. Fit them: geomind regions fit --levels."
            ) from error
        try:
            about = json.loads((table.schema.metadata or {}).get(b"geomind", b"{}"))
        except (ValueError, RecursionError):
            about = None
        version = about.get("format_version") if isinstance(about, dict) and about.get("kind") == "cells" else None
        if not isinstance(version, int) or set(_COLUMNS) - set(table.column_names):
            raise ConfigError(f"{path} is no tree of cells. Fit one: geomind regions fit --levels.")
        if version > FORMAT_VERSION:
            raise ConfigError(f"{path} has format {version}; this GeoMind reads up to {FORMAT_VERSION}. Upgrade it.")
        column = {name: table[name].to_numpy() for name in _COLUMNS}
        levels = []
        for name in dict.fromkeys(column["level"].tolist()):
            here = column["level"] == name
            if not np.array_equal(column["cell"][here], np.arange(here.sum())):
                raise ConfigError(f"{path}: the cells of the level '{name}' are not numbered 0, 1, 2 … in order.")
            levels.append(
                CellLevel(
                    name=name,
                    centres=np.stack([column["latitude"][here], column["longitude"][here]], axis=-1),
                    parents=column["parent"][here].astype(np.int64),
                    photos=column["photos"][here].astype(np.int64),
                    names=tuple(column["name"][here].tolist()),
                )
            )
        return cls(tuple(levels))


def cluster_centres(points: ArrayLike, count: int, *, seed: int = 0) -> Points:
    """Find the centres of clusters by K-means on unit vectors: (n, 2) degrees -> (at most ``count``, 2) degrees.

    The mean of a cluster's vectors is brought back to the sphere (Dhillon & Modha 2001, "Concept decompositions for
    large sparse text data using clustering"), so that date line and poles are places like any other.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    vectors = unit_vectors(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    count = min(count, len(np.unique(vectors, axis=0)))
    with warnings.catch_warnings():  # photos closer than its arithmetic can tell make fewer clusters, and may
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(count, n_init=_STARTS, random_state=seed).fit(vectors)
    return from_unit_vectors(fitted.cluster_centers_).round(_DECIMALS)


def _halve_cells(
    vectors: NDArray[np.float64], cells: Sequence[NDArray[np.int64]], count: int, min_photos: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Halve cells until there are ``count``: the indices in each new cell, and the cell that each came from."""
    parts, parents = list(cells), list(range(len(cells)))
    waiting = [
        (-saved, cell, halves) for cell, part in enumerate(parts) for saved, halves in _halve(vectors, part, min_photos)
    ]
    heapq.heapify(waiting)
    while waiting and len(parts) < count:
        _, cell, (one, other) = heapq.heappop(waiting)
        parts[cell] = one
        parts.append(other)
        parents.append(parents[cell])
        for new in (cell, len(parts) - 1):
            for saved, halves in _halve(vectors, parts[new], min_photos):
                heapq.heappush(waiting, (-saved, new, halves))
    return parts, np.array(parents, dtype=np.int64)


def _halve(
    vectors: NDArray[np.float64], part: NDArray[np.int64], min_photos: int
) -> Iterator[tuple[float, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Give the halves of a cell and what they save of its sum of squared distances; nothing where it is too small."""
    own = vectors[part]
    centred = own - own.mean(axis=0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]  # its longest direction
    side = along > 0
    for _ in range(10):  # 2-means from there; it hardly ever takes more
        if side.all() or not side.any():
            return
        one, other = own[side].mean(axis=0), own[~side].mean(axis=0)
        nearer = (own - (one + other) / 2) @ (one - other) > 0
        if (nearer == side).all():
            break
        side = nearer
    if min(side.sum(), (~side).sum()) < min_photos:  # a few far away; they shall not keep the others together
        side = along > np.median(along)
    sizes = int(side.sum()), int((~side).sum())
    if min(sizes) >= max(min_photos, 1):
        # Ward 1963, "Hierarchical grouping to optimize an objective function".
        apart = own[side].mean(axis=0) - own[~side].mean(axis=0)
        yield float(sizes[0] * sizes[1] / len(part) * (apart @ apart)), (part[side], part[~side])


def _large_enough(centres: Points, points: Points, min_photos: int) -> NDArray[np.bool_]:
    """Choose the centres to keep: one after the other the smallest cell goes, and its points to their neighbours."""
    kept = np.ones(len(centres), dtype=bool)
    labels = _nearest(centres, points)
    photos = np.bincount(labels, minlength=len(centres))
    while kept.sum() > 1 and photos[smallest := int(np.argmin(np.where(kept, photos, len(points))))] < min_photos:
        kept[smallest] = False
        moved = labels == smallest
        labels[moved] = np.flatnonzero(kept)[_nearest(centres[kept], points[moved])]
        photos = np.bincount(labels, minlength=len(centres))
    return kept


def _middles(points: Points, labels: NDArray[np.int64]) -> Points:
    """Find the mean direction of each cell's points: (n, 2), (n,) -> (cells, 2) degrees."""
    vectors = unit_vectors(points)
    sums = [np.bincount(labels, weights=vectors[:, axis]) for axis in range(3)]
    return from_unit_vectors(np.stack(sums, axis=-1)).round(_DECIMALS)


def _nearest(centres: Points, points: Points) -> NDArray[np.int64]:
    """Find the nearest centre of each point: (c, 2), (n, 2) degrees -> (n,)."""
    return Nearest(unit_vectors(centres)).query(unit_vectors(points))[1]


def _distinct(centres: Points) -> NDArray[np.int64]:
    """Find the first centre at each place, in order; a pole has many names and the date line two (9 decimals: 6 mm)."""
    _, first = np.unique(unit_vectors(centres).round(9) + 0.0, axis=0, return_index=True)
    return np.sort(first)


def _check(level: CellLevel, above: CellLevel | None) -> None:
    """Make sure that a level makes sense by itself and below the one above."""
    count = len(level)
    if count == 0 or not level.name:
        raise ConfigError(f"The level of cells '{level.name}' needs a name and at least one cell.")
    if not len(level.parents) == len(level.photos) == len(level.names) == count:
        raise ConfigError(f"The level '{level.name}' has {count} centres and not as many parents, photos or names.")
    if not (np.abs(level.centres) <= (90, 180)).all():
        raise ConfigError(f"A centre of the level '{level.name}' is not on the Earth.")
    if above is None:
        if (level.parents != NO_PARENT).any():
            raise ConfigError(f"The level '{level.name}' is the topmost; its cells have no parents.")
    elif not np.array_equal(np.unique(level.parents), np.arange(len(above))):
        raise ConfigError(
            f"The cells of '{level.name}' must have parents among the {len(above)} cells of '{above.name}', and every "
            "one of those at least one child."
        )
