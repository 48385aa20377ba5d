"""Many scenes: places over the world's land by country, and a folder of their photos with a manifest. It draws nothing.

The processes that draw import this module and need no tables, so it imports those where they are used.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from geomind.data.world.scenes import draw_scene
from geomind.errors import OutputError
from geomind.files import make_folder, refuse_existing
from geomind.progress import SILENT, Progress

if TYPE_CHECKING:
    import pandas as pd

SHARES: Final[Mapping[str, float]] = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""Share of each split, which are blocks of the Earth."""

EVENNESS: Final = 0.5
"""How much of the photos is shared out evenly over the regions, so that none is left with a few."""

OUT_OF_TOWN_KM: Final = 20.0
"""Mean distance of a photo from the town it is near."""

_PER_TASK: Final = 50


def sample_places(count: int, *, seed: int) -> pd.DataFrame:
    """Choose where photos are taken: by country, then near a town, one in five places twice.

    Half of the photos are shared out evenly over the regions, half by the weight of their countries; a country weighs
    the geometric mean of its people and its land, for photos are taken by people and of land. Within a country a town
    weighs the square root of its people.

    Returns:
        ``count`` rows of latitude, longitude (degrees), country, region_id and group, which names the place.
    """
    import pandas as pd

    from geomind.geography.places import cities, countries
    from geomind.geography.regions import default_regions

    rng = np.random.default_rng(seed)
    towns = cities()
    codes, first = np.unique(towns.country, return_index=True)  # towns are ordered by country
    known = [countries()[code] for code in codes]
    weight = np.sqrt([float(max(country.population, 1)) * max(country.area_km2, 1) for country in known])
    regions = default_regions().region_ids(codes)
    of_region = np.bincount(regions, weight)
    share = (1 - EVENNESS) * of_region / of_region.sum() + EVENNESS / np.count_nonzero(of_region)
    chance = weight * (share / of_region)[regions]

    places = count - count // 6
    ends = [*first[1:], len(towns.country)]
    chosen = np.empty(places, dtype=np.int64)
    country = rng.choice(len(codes), places, p=chance / chance.sum())
    for number in np.unique(country):
        people = np.sqrt(towns.population[first[number] : ends[number]] + 1.0)
        here = country == number
        chosen[here] = first[number] + rng.choice(len(people), int(here.sum()), p=people / people.sum())
    points = _leave_town(towns.points[chosen], codes[country], rng).round(6)
    row = np.concatenate([np.arange(places), rng.choice(places, count - places, replace=False)])
    row.sort()
    return pd.DataFrame(
        {
            "latitude": points[row, 0],
            "longitude": points[row, 1],
            "country": codes[country[row]],
            "region_id": regions[country[row]],
            "group": [f"place-{number:06d}" for number in row],
        }
    )


def make_world(
    folder: Path | str,
    *,
    photos: int,
    image_size: int = 64,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Draw a world of photos, split by place, and write its manifest; return the manifest's path.

    Photos lie in ``photos/train``, ``photos/validation`` and so on, a folder for each of the ``shares``. The same seed
    gives the same bytes, however many processes draw.

    Raises:
        OutputError: the folder cannot be written, or holds a manifest and ``overwrite`` is false.
        ManifestError: there are too few photos to split.
    """
    from geomind.data.manifest import write_manifest
    from geomind.data.splits import split_by_place

    folder = Path(folder)
    manifest = folder / "manifest.csv"
    refuse_existing(manifest, overwrite=overwrite)
    table = sample_places(photos, seed=seed)
    split = split_by_place(
        table[["latitude", "longitude"]].to_numpy(),
        shares=shares,
        groups=table["group"].to_numpy(),
        strata=table["region_id"].to_numpy(),
        seed=seed,
    )
    table = table.assign(
        image_path=[f"photos/{part}/{number:06d}.jpg" for number, part in enumerate(split)],
        split=split,
        source="geomind world",
    )
    for part in shares:
        make_folder(folder / "photos" / part)
    rows = table[["image_path", "latitude", "longitude", "country"]].itertuples(index=False, name=None)
    tasks = [(number, *row) for number, row in enumerate(rows)]
    chunks = [tasks[start : start + _PER_TASK] for start in range(0, photos, _PER_TASK)]
    processes = min(os.cpu_count() or 1, len(chunks))
    # Fresh processes, not forks: a fork of a program that has torch's threads can hang.
    fresh = multiprocessing.get_context("spawn")
    with (
        progress.track("Drawing the world", photos) as advance,
        ProcessPoolExecutor(processes, mp_context=fresh) as pool,
    ):
        for drawn in pool.map(partial(_draw, folder, image_size, seed), chunks):
            advance(drawn)
    write_manifest(table, manifest, overwrite=overwrite)
    return manifest


def _leave_town(points: np.ndarray, country: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move places out of their town, but neither into the sea nor over a border: (n, 2) degrees -> (n, 2)."""
    from geomind.geography.places import country_at, on_land
    from geomind.geography.sphere import destination

    points = np.asarray(points, dtype=np.float64)
    away = destination(points, rng.uniform(0, 360, len(points)), rng.exponential(OUT_OF_TOWN_KM, len(points)))
    good = on_land(away) & (country_at(away) == country)
    return np.where(good[:, None], away, points)


def _draw(folder: Path, image_size: int, seed: int, tasks: list[tuple[int, str, float, float, str]]) -> int:
    """Draw some photos in a process of its own; return how many."""
    for number, image_path, latitude, longitude, country in tasks:
        rng = np.random.default_rng([seed, number])
        scene = draw_scene(latitude, longitude, country, rng, image_size)
        path = folder / image_path
        try:
            # Not atomic: a world is there when its manifest is, which comes last.
            scene.save(path, "JPEG", quality=int(rng.integers(72, 93)))
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}. Free the disk.") from error
    return len(tasks)
