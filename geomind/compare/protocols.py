"""Published test sets: how many photos they have and how their papers count, so that figures compare. It trains none.

Every photo of the published set counts, whether it can be had or not: one that a manifest does not list, cannot be read
or has no answer is a miss. Papers that drop them are flattered.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

import geomind
from geomind.checkpoints import count_parameters
from geomind.compare.ladder import answer_photos
from geomind.compare.results import ANSWERS, Costs, Rung, RungKey, manifest_hash, read_rung, write_rung
from geomind.compare.table import Comparison, write_table
from geomind.data.manifest import read_manifest
from geomind.data.sources.im2gps import SIZES
from geomind.errors import ConfigError, ManifestError
from geomind.evaluation.judging import Judged, Truth
from geomind.files import make_folder
from geomind.geography.regions import RegionTable
from geomind.geolocators import checksums, load_geolocator, weights_of
from geomind.progress import SILENT, Progress


@dataclass(frozen=True)
class Protocol:
    """A published test set and how its papers count."""

    name: str
    title: str
    photos: int
    """All photos of the published set."""
    source: str
    """The paper that the set is of."""
    counts: str
    """What is counted, and how."""
    crops: str
    """What published figures look at of each photo, where ours is the central square, once."""


_THRESHOLDS = (
    "Shares within 1, 25, 200, 750 and 2,500 km (at most), great-circle distance. Published code takes a sphere of "
    "6,371 km (TIBHannover/GeoEstimation, `vectorized_gc_distance`), ours has 6,371.0088: 3.5 m at 2,500 km."
)

_CROPS = (
    "Published figures differ: some average five crops of a photo (inference of TIBHannover/GeoEstimation), some ten, "
    "mirrored ones among them (GeoCLIP: Vivanco Cepeda et al. 2023). Compare with those of one crop, or say so."
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="im2gps3k",
                title="Im2GPS3k",
                photos=SIZES["im2gps3k"],
                source='Vo, Jacobs & Hays 2017, "Revisiting IM2GPS in the Deep Learning Era"',
                counts=_THRESHOLDS,
                crops=_CROPS,
            ),
            Protocol(
                name="yfcc4k",
                title="YFCC4k",
                photos=SIZES["yfcc4k"],
                source='Vo, Jacobs & Hays 2017, "Revisiting IM2GPS in the Deep Learning Era"',
                counts=_THRESHOLDS,
                crops=_CROPS,
            ),
            Protocol(
                name="osv5m",
                title="OSV-5M test",
                photos=210_122,
                source='Astruc et al. 2024, "OpenStreetView-5M: The Many Roads to Global Visual Geolocation"',
                counts=(
                    "GeoScore 5,000 · exp(-d / 1,492.7 km) and the mean great-circle distance, on a sphere of 6,371 km "
                    "(gastruc/osv5m, `metrics/`). Its country, region, sub-region and city are those of the town "
                    "nearest to the answer; ours are the country's outlines, the 13 regions and the nearest town, and "
                    "do not compare."
                ),
                crops="So do the published configurations (gastruc/osv5m, `configs/dataset/test_transform`).",
            ),
        )
    }
)
"""Published test sets by name."""


@dataclass(frozen=True)
class Published:
    """What models came to on a published test set."""

    protocol: Protocol
    comparison: Comparison
    listed: int
    """Photos that the manifest lists; the others of the set count as misses."""
    answered: Mapping[str, int]
    """Name of the models -> photos with an answer."""


def pick_protocol(name: str) -> Protocol:
    """Give a protocol by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no protocol '{name}'. There are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def evaluate_published(
    protocol: Protocol,
    manifest: Path | str,
    models: Sequence[Path],
    output: Path | str,
    *,
    regions: RegionTable,
    progress: Progress = SILENT,
) -> Published:
    """Have models answer a published test set, and write the table; models that are finished are not asked again.

    Args:
        protocol: The test set.
        manifest: Its photos, those of the split `test` or, where no photo has a split, all.
        models: Folders of models; a row of the table each.
        output: The folder of answers and tables.
        regions: The table of regions that the column of regions is judged by.
        progress: Shows photos done.

    Raises:
        ConfigError: there are no models, or two folders of one name.
        ManifestError: the manifest lists more photos than the set has, or none.
        CheckpointError: a folder holds no models, or broken ones.
        OutputError: the output holds another comparison, or cannot be written.
    """
    names = [folder.resolve().name for folder in models]
    if not names or len(set(names)) < len(names):
        raise ConfigError("Name the models with --models, each folder by another last name: it is the row's.")
    manifest, output = Path(manifest), make_folder(output)
    split = "test" if (read_manifest(manifest)["split"] != "").any() else None
    truth = Truth.read(manifest, regions, split=split)
    missing = protocol.photos - len(truth)
    if missing < 0:
        raise ManifestError(
            f"{manifest} lists {len(truth):,} photos to judge by; {protocol.title} has {protocol.photos:,}. Leave out "
            "those that are not of the set."
        )
    rungs = [
        _answer(folder, name, protocol, truth, manifest, output, progress)
        for folder, name in zip(models, names, strict=True)
    ]
    whole = _with_missing(truth, missing)
    counted = [dataclasses.replace(rung, judged=_with_misses(rung.judged, missing)) for rung in rungs]
    return Published(
        protocol=protocol,
        comparison=write_table(counted, frozenset(), whole, output),
        listed=len(truth),
        answered={rung.key.method: int(np.isfinite(rung.judged.distance_km).sum()) for rung in rungs},
    )


def _answer(
    models: Path, name: str, protocol: Protocol, truth: Truth, manifest: Path, output: Path, progress: Progress
) -> Rung:
    digest = hashlib.blake2b(checksums(models).encode(), digest_size=16).hexdigest()
    settings = {"protocol": protocol.name, "weights": digest, "geomind": geomind.__version__}
    key = RungKey(name, 0, 0, manifest_hash(manifest), settings)
    folder = output / "rungs" / name
    if (rung := read_rung(folder, key, truth)) is not None:
        return rung
    make_folder(folder)
    answers, speed = answer_photos(load_geolocator(models), truth, manifest, folder / ANSWERS, progress)
    parameters = sum(count_parameters(path) for path in weights_of(models))
    return write_rung(folder, key, Costs(parameters, 0.0, 0, speed), answers, truth)


def _with_missing(truth: Truth, missing: int) -> Truth:
    """Add the photos that a manifest does not list, each a cluster of its own; their places stay unknown."""
    more = truth.clusters.max() + 1 + np.arange(missing)
    return dataclasses.replace(
        truth,
        image_paths=(*truth.image_paths, *(f"missing {number}" for number in range(1, missing + 1))),
        clusters=np.concatenate([truth.clusters, more]),
    )


def _with_misses(judged: Judged, missing: int) -> Judged:
    wrong = np.zeros(missing, dtype=bool)
    return Judged(
        distance_km=np.concatenate([judged.distance_km, np.full(missing, np.inf)]),
        country_right=np.concatenate([judged.country_right, wrong]),
        region_right=np.concatenate([judged.region_right, wrong]),
        city_right=np.concatenate([judged.city_right, wrong]),
        on_sea=np.concatenate([judged.on_sea, wrong]),
    )
