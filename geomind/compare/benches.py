"""The photos that methods are compared on: the demo world, the Earth from above, or any manifest. It trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomind.compare.ladder import Bench
from geomind.config import AugmentConfig, BackboneConfig, TrainingConfig, load_config
from geomind.data.earth import make_earth
from geomind.data.manifest import read_manifest
from geomind.data.world import make_world
from geomind.demo import DIRECTOR_SETTINGS, IMAGE_SIZE, PLACE_SETTINGS, SETTINGS
from geomind.errors import OutputError
from geomind.geography.regions import RegionTable, default_regions
from geomind.progress import SILENT, Progress

WORLD_PHOTOS, EARTH_TILES, QUICK_PHOTOS = 5000, 3000, 2000
"""How many photos each bench has, and how many with ``quick``."""

BUDGET, QUICK_BUDGET = 16, 12
"""Epochs of each method, on the benches that are drawn."""

_SMALL: Mapping[str, Any] = {
    **SETTINGS,
    "backbone": BackboneConfig(name="scene_net", weights="none"),
    "pooling": "attention",  # it finds the small signs of a scene, in every method alike
}

_AUGMENT_TILES = AugmentConfig(crop_scale_min=0.8, color_jitter=0.1, hue_jitter=0)
"""Neither flips nor turns: north is up in every tile, and the relief's shadows say where the sun stands."""


def demo_world(folder: Path | str, *, quick: bool, overrides: Sequence[str] = (), progress: Progress = SILENT) -> Bench:
    """Draw the demo world into a folder, or take it from there: the same for all seeds of training.

    Raises:
        OutputError: the folder cannot be written, or holds a world of another size.
        ConfigError: an override is no setting.
    """
    photos = QUICK_PHOTOS if quick else WORLD_PHOTOS
    manifest = Path(folder) / "manifest.csv"
    if not _is_there(manifest, photos):
        make_world(folder, photos=photos, image_size=IMAGE_SIZE, progress=progress)
    settings = _with_overrides(_SMALL, overrides)
    return Bench(manifest, default_regions(), settings, DIRECTOR_SETTINGS, PLACE_SETTINGS)


def earth_from_above(
    folder: Path | str,
    image: Path | str,
    *,
    quick: bool,
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Bench:
    """Cut tiles from a picture of the whole Earth into a folder, or take them from there.

    Raises:
        PhotoError: the picture cannot be read, or is not of the whole Earth.
        OutputError: the folder cannot be written, or holds tiles of another number.
        ConfigError: an override is no setting.
    """
    tiles = QUICK_PHOTOS if quick else EARTH_TILES
    manifest = Path(folder) / "manifest.csv"
    if not _is_there(manifest, tiles):
        make_earth(folder, image, tiles=tiles, image_size=IMAGE_SIZE, progress=progress)
    director = {**DIRECTOR_SETTINGS, "augment": _AUGMENT_TILES}
    return Bench(manifest, default_regions(), _with_overrides(_SMALL, overrides), director, {"augment": _AUGMENT_TILES})


def own_photos(manifest: Path | str, regions: RegionTable, *, quick: bool, overrides: Sequence[str] = ()) -> Bench:
    """Take a manifest with splits, and the settings that `geomind train-director` and `train-expert` have.

    The one difference is the schedule: `one_cycle` uses the whole budget, where `plateau` stops each method at another
    epoch. ``quick`` takes the demo's small network.

    Raises:
        ConfigError: an override is no setting.
    """
    settings = dict(_SMALL) if quick else {"schedule": "one_cycle"}
    return Bench(Path(manifest), regions, _with_overrides(settings, overrides))


def _is_there(manifest: Path, photos: int) -> bool:
    if not manifest.exists():
        return False
    if (found := len(read_manifest(manifest))) != photos:
        raise OutputError(
            f"{manifest.parent} holds {found:,} photos, not {photos:,}: it was begun with or without --quick. Choose "
            "another --output."
        )
    return True


def _with_overrides(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Put `key=value` of the command line above settings; a group keeps the keys that are not named."""
    given = load_config(TrainingConfig, None, overrides).model_dump(exclude_unset=True)
    merged = dict(settings)
    for key, value in given.items():
        before = merged.get(key)
        if isinstance(value, dict):
            own = {} if before is None else before.model_dump()
            merged[key] = {**own, **value}
        else:
            merged[key] = value
    return merged
