"""The Earth from above: tiles cut from a picture of the whole Earth, in which every place is known. It learns nothing.

The picture is in plate carrée projection: longitude -180 to 180 from left to right, latitude 90 to -90 from top to
bottom, so that it is twice as wide as it is high. A tile is a square of the same size on the ground wherever it is,
north up, and not stretched as the picture is away from the equator.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from geomind.data.manifest import write_manifest
from geomind.data.splits import block_ids, split_by_place, too_near
from geomind.errors import ManifestError, OutputError, PhotoError
from geomind.files import make_folder, refuse_existing
from geomind.geography.places import country_at, on_land
from geomind.geography.regions import default_regions
from geomind.geography.sphere import Points, displaced, from_unit_vectors
from geomind.photos import open_photo
from geomind.progress import SILENT, Progress

SHARES: Final = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""Share of the tiles of each split."""

HELD_OUT: Final = {"train": 0.86, "validation": 0.05, "test": 0.09}
"""Share of the land of each split: around what is held out lies a border that none can have, so it is little, with more
tiles on it."""

TILE_KM: Final = 150.0
"""Side of a tile on the ground: 15 pixels of a picture 4,096 wide. A larger one shows more, and what may be learned
from is farther away: by colours alone, trees told the region of 44% of tiles of 150 km, and of 29% of 300 km."""

BLOCK_RESOLUTION: Final = 2
"""h3 resolution of the blocks: about 86,800 km², 183 km a side (`h3.average_hexagon_edge_length`)."""

SOUTHERNMOST: Final = -60.0
"""Degrees. South of it all land is ice of one white, and nobody's (Antarctic Treaty, article VI)."""

LEAST_HEIGHT: Final = 1024
"""Pixels; with fewer a tile is a blot. A larger JPEG is shrunk to no less than twice as many while it is decoded."""

_MOST_DRAWS: Final = 6


def make_earth(
    folder: Path | str,
    image: Path | str,
    *,
    tiles: int = 3000,
    image_size: int = 64,
    tile_km: float = TILE_KM,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Cut tiles of land, split by place, and write their manifest; return the manifest's path.

    Places are drawn evenly over the land's area. Tiles lie in ``photos/train``, ``photos/validation`` and
    ``photos/test``, and no tile of one split overlaps one of another. A tile's group is its block. The same seed gives
    the same bytes.

    Args:
        folder: Where everything is put.
        image: The picture of the whole Earth.
        tiles: How many.
        image_size: Side of a tile, pixels.
        tile_km: Side of a tile on the ground, km.
        seed: Of the places and the split.
        overwrite: Replace a manifest that is there.
        progress: Shows tiles done.

    Raises:
        PhotoError: the picture cannot be read, is not twice as wide as high, or is too small.
        ManifestError: tiles of this size leave no room between the splits.
        OutputError: the folder cannot be written, or holds a manifest and ``overwrite`` is false.
    """
    folder = Path(folder)
    manifest = folder / "manifest.csv"
    refuse_existing(manifest, overwrite=overwrite)
    earth = _open_earth(image)
    table = sample_tiles(tiles, tile_km=tile_km, seed=seed)
    table = table.assign(
        image_path=[f"photos/{part}/{number:06d}.png" for number, part in enumerate(table["split"])],
        source="earth from above",
    )
    for part in SHARES:
        make_folder(folder / "photos" / part)
    with progress.track("Cutting tiles", tiles) as advance:
        for path, latitude, longitude in table[["image_path", "latitude", "longitude"]].itertuples(index=False):
            tile = cut_tile(earth, (latitude, longitude), tile_km=tile_km, image_size=image_size)
            try:
                # Not atomic: the tiles are there when their manifest is, which comes last.
                Image.fromarray(tile).save(folder / path, "PNG")
            except OSError as error:
                reason = error.strerror or error
                raise OutputError(f"Cannot write {folder / path}: {reason}. Free the disk.") from error
            advance(1)
    write_manifest(table, manifest, overwrite=overwrite)
    return manifest


def sample_tiles(tiles: int, *, tile_km: float = TILE_KM, seed: int = 0) -> pd.DataFrame:
    """Choose where tiles are cut: evenly over the land's area, in splits whose tiles do not overlap.

    More places are drawn than are needed, since those whose tile would overlap one of a later split are left out. Each
    split then has its share of ``tiles``.

    Returns:
        ``tiles`` rows of latitude, longitude (degrees), country, region_id, group (the block) and split.

    Raises:
        ManifestError: tiles of this size leave no room between the splits.
    """
    rng = np.random.default_rng(seed)
    wanted = {part: math.floor(share * tiles) for part, share in SHARES.items()}
    wanted["train"] += tiles - sum(wanted.values())
    regions = default_regions()
    points = np.empty((0, 2))
    for _ in range(_MOST_DRAWS):
        points = np.concatenate([points, _places_on_land(max(4 * tiles, len(points)), rng)])
        countries = country_at(points)
        region_ids = regions.region_ids(countries, points)
        split = split_by_place(points, shares=HELD_OUT, strata=region_ids, resolution=BLOCK_RESOLUTION, seed=seed)
        # Squares overlap only where the circles around them do; how they are turned to each other makes no difference.
        split[too_near(points, split, list(SHARES), math.sqrt(2) * tile_km)] = ""
        chosen = [np.flatnonzero(split == part)[:count] for part, count in wanted.items()]
        if all(len(rows) == count for rows, count in zip(chosen, wanted.values(), strict=True)):
            row = np.sort(np.concatenate(chosen))
            blocks = block_ids(points[row], BLOCK_RESOLUTION)
            return pd.DataFrame(
                {
                    "latitude": points[row, 0],
                    "longitude": points[row, 1],
                    "country": countries[row],
                    "region_id": region_ids[row],
                    "group": [f"block-{block:x}" for block in blocks.tolist()],
                    "split": split[row],
                }
            )
    raise ManifestError(f"Tiles of {tile_km:g} km leave no room between the splits. Make them smaller.")


def cut_tile(
    earth: NDArray[np.uint8], centre: tuple[float, float], *, tile_km: float, image_size: int
) -> NDArray[np.uint8]:
    """Cut the square around a place, north up: (H, 2H, 3) plate carrée, degrees -> (image_size, image_size, 3).

    Each pixel is blended of the four around its place; longitudes go on across the date line.
    """
    height, width = earth.shape[:2]
    steps = ((np.arange(image_size) + 0.5) / image_size - 0.5) * tile_km
    east, south = np.meshgrid(steps, steps)
    points = displaced(centre, np.stack([east, -south], axis=-1))
    x = (points[..., 1] + 180) / 360 * width - 0.5
    y = np.clip((90 - points[..., 0]) / 180 * height - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = (left + 1) % width, np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    left %= width
    upper = earth[top, left] * (1 - across) + earth[top, right] * across
    lower = earth[bottom, left] * (1 - across) + earth[bottom, right] * across
    tile: NDArray[np.uint8] = np.round(upper * (1 - down) + lower * down).astype(np.uint8)
    return tile


def _open_earth(image: Path | str) -> NDArray[np.uint8]:
    """Read a picture of the whole Earth: -> (H, 2H, 3)."""
    try:
        picture = open_photo(image, min_side=2 * LEAST_HEIGHT)
    except PhotoError as error:
        raise PhotoError(f"Cannot read {image}: {error}.") from error
    width, height = picture.size
    if width != 2 * height or height < LEAST_HEIGHT:
        raise PhotoError(
            f"{image} has {width} x {height} pixels. A picture of the whole Earth in plate carrée projection is twice "
            f"as wide as high, and here at least {2 * LEAST_HEIGHT} x {LEAST_HEIGHT}."
        )
    return np.asarray(picture)


def _places_on_land(count: int, rng: np.random.Generator) -> Points:
    """Draw places evenly over the area of the land: -> (count, 2) degrees, of 6 decimals."""
    found: list[Points] = []
    while sum(map(len, found)) < count:
        # A normal in three dimensions has no direction that it prefers.
        points = from_unit_vectors(rng.standard_normal((4 * count, 3))).round(6)
        points = points[points[:, 0] >= SOUTHERNMOST]
        found.append(points[on_land(points)])
    return np.concatenate(found)[:count]
