"""Make galleries: the training photos of a manifest, as a trained Director or Expert sees them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.backbones import Backbone
from geomind.checkpoints import (
    Description,
    director_path,
    expert_path,
    gallery_path,
    read_description,
    save_gallery,
    state_checksum,
)
from geomind.devices import Device, pick_device
from geomind.director import load_director_network
from geomind.errors import CheckpointError, ManifestError
from geomind.expert import load_expert_network
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points, haversine_km
from geomind.metrics import geoscore
from geomind.progress import SILENT, Progress
from geomind.retrieval import NEIGHBOURS, Gallery, softmax, unit_rows
from geomind.training.features import FeatureCache
from geomind.training.photos import PhotoRows, TrainingPhotos
from geomind.training.stage import features_folder

logger = logging.getLogger(__name__)

DEFAULT_TEMPERATURE = 0.03
"""Where there is no validation photo to fit it on: the middle of those tried, and near the best of the demo world."""

_TEMPERATURES = np.geomspace(0.001, 1, 31)
"""Those tried; cosines lie in [-1, 1], so that at 1 all neighbours count and at 0.001 the nearest alone."""

_FIT_PHOTOS = 20_000
"""Validation photos that the temperature is fitted on, at most: their neighbours' distances are 100 numbers a photo."""

_PHOTOS_AT_ONCE = 65_536
"""Photos whose features are in memory in full precision at a time."""


@dataclass(frozen=True)
class MadeGallery:
    """What a gallery is made of, and how good it is."""

    path: Path
    photos: int
    """Rows: training photos that could be read."""
    unreadable: int
    """Training photos that are left out."""
    temperature: float
    metrics: dict[str, float]
    """Of validation photos whose nearest photo is looked for in their true region: `nearest_geoscore`,
    `nearest_median_km`; empty where there are none."""


def make_director_gallery(
    data: Path | str,
    *,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    workers: int = 2,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> MadeGallery:
    """Make the gallery of the Director, which serves every Expert on its trunk too; it replaces the one that is there.

    Args:
        data: The manifest that it was trained on; of it, the photos for training.
        models: The folder of models.
        runs: The folder of runs, where features are kept.
        workers: Threads that read and decode.
        device: Where the encoder runs.
        progress: Shows photos done.

    Raises:
        GeoMindError: there is no Director, no photo can be read, or the manifest or output cannot be used.
    """
    weights = director_path(models)
    description = read_description(weights, "director")
    photos = _photos(data, description)
    encoder = _Encoder(load_director_network(weights).network.backbone, description, runs, workers, device, progress)
    return _make(gallery_path(models), encoder, photos.train, photos.validation)


def make_expert_gallery(
    data: Path | str,
    region_id: int,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    workers: int = 2,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> MadeGallery:
    """Make the gallery that a trained Expert is refined by; it replaces the one that is there.

    That is the Director's gallery, of all regions, for an Expert on the Director's trunk. An Expert with an encoder of
    its own has a gallery of its own, of its region's photos.

    Args:
        data: The manifest that it was trained on; of it, the photos for training.
        region_id: Its region.
        regions: The table of regions.
        models: The folder of models.
        runs: The folder of runs, where features are kept.
        workers: Threads that read and decode.
        device: Where the encoder runs.
        progress: Shows photos done.

    Raises:
        GeoMindError: there is no such Expert, no photo can be read, or the manifest or output cannot be used.
    """
    region = regions[region_id]
    weights = expert_path(models, region)
    description = read_description(weights, "expert", regions=regions)
    if description.trunk is not None:
        return make_director_gallery(data, models=models, runs=runs, workers=workers, device=device, progress=progress)
    photos = _photos(data, description)
    encoder = _Encoder(load_expert_network(weights).network.backbone, description, runs, workers, device, progress)
    train, validation = (rows.of(rows.region_ids == region_id) for rows in (photos.train, photos.validation))
    return _make(gallery_path(models, region), encoder, train, validation)


def make_expert_galleries(
    data: Path | str,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    workers: int = 2,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> list[MadeGallery]:
    """Make the galleries of all Experts that are there, as ``make_expert_gallery`` does; the Director's once.

    The arguments and errors are those of ``make_expert_gallery``.

    Raises:
        CheckpointError: there is no Expert.
    """
    experts = [region for region in regions.regions if expert_path(models, region).is_file()]
    if not experts:
        raise CheckpointError(
            f"No Expert in {models} to make a gallery for. Train them with `geomind train-expert --region all`."
        )
    made: dict[str, MadeGallery] = {}
    for region in experts:
        shared = read_description(expert_path(models, region), "expert").trunk is not None
        if (gallery := "shared" if shared else region.slug) not in made:
            made[gallery] = make_expert_gallery(
                data, region.id, regions=regions, models=models, runs=runs, workers=workers, device=device,
                progress=progress,
            )  # fmt: skip
    return list(made.values())


def fit_temperature(cosines: NDArray[np.float64], places: NDArray[np.float64], truth: Points) -> float:
    """Find the temperature under which the neighbours' places answer with the highest GeoScore.

    The answer is the place of the neighbour with the highest expected GeoScore. Of temperatures that are equally good
    the middle one is taken. The likelihood of the truth under the weighted places, tried first, is highest at too low
    a temperature: docs/retrieval.md has the numbers.

    Args:
        cosines: (n, K) of the photos' neighbours; -inf where there are fewer.
        places: (n, K, 2) degrees, where the neighbours were taken.
        truth: (n, 2) degrees, where the photos were taken.
    """
    if len(cosines) == 0:
        return DEFAULT_TEMPERATURE
    right = geoscore(haversine_km(places, truth[:, None]))  # (n, K)
    mutual = geoscore(haversine_km(places[:, :, None], places[:, None]))  # (n, K, K)
    scores = []
    for temperature in _TEMPERATURES:
        probabilities = softmax(cosines, temperature)
        expected = np.where(probabilities > 0, (mutual @ probabilities[..., None])[..., 0], -np.inf)
        scores.append(right[np.arange(len(right)), expected.argmax(axis=1)].mean())
    best = np.flatnonzero(np.array(scores) >= max(scores) - 1e-6)
    return float(_TEMPERATURES[best[len(best) // 2]])


class _Encoder:
    """An image encoder with the weights that it was trained to, and where the features it gives are kept."""

    def __init__(
        self,
        trunk: Backbone,
        description: Description,
        runs: Path | str,
        workers: int,
        device: Device,
        progress: Progress,
    ) -> None:
        self.description = description
        self.checksum = state_checksum(trunk.state_dict())
        self.features = trunk.features
        self._workers, self._progress = workers, progress
        trunk = trunk.to(pick_device(device))
        self._cache = FeatureCache(features_folder(runs), description.backbone, trunk, description.preprocessing)

    def encode(self, photos: PhotoRows) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """Embed photos: (n, features) of length 1, and (n,) whether a photo could be read."""
        embeddings = np.zeros((len(photos), self.features), np.float16)
        read = np.zeros(len(photos), np.bool_)
        for first in range(0, len(photos), _PHOTOS_AT_ONCE):
            some = slice(first, first + _PHOTOS_AT_ONCE)
            features, read[some] = self._cache.features(
                photos.paths[some], workers=self._workers, progress=self._progress
            )
            embeddings[some] = unit_rows(features)
        return embeddings, read


def _photos(data: Path | str, description: Description) -> TrainingPhotos:
    """Read the manifest as the training of some weights did, with the same places held out."""
    return TrainingPhotos.read(data, description.regions, int(description.config.get("seed", 0)))


def _make(path: Path, encoder: _Encoder, train: PhotoRows, validation: PhotoRows) -> MadeGallery:
    embeddings, read = encoder.encode(train)
    if not read.any():
        raise ManifestError(
            f"None of the {len(train)} photos in {train.manifest} that the gallery {path} is to be made of can be read."
        )
    # Region by region, so that a search in one of them reads its part of the file and not all of it.
    order = np.argsort(train.region_ids, kind="stable")
    order = order[read[order]]
    arrays: dict[str, NDArray[Any]] = {
        "embeddings": embeddings[order],
        "places": train.points[order].astype(np.float64),
        "region_ids": train.region_ids[order].astype(np.int32),
    }
    about = encoder.description
    description = Description(
        kind="gallery",
        region_table=about.region_table,
        preprocessing=about.preprocessing,
        backbone=about.backbone,
        config={"neighbours": NEIGHBOURS},
        training_photos=len(order),
        region_id=about.region_id,
        trunk=encoder.checksum,
        temperature=DEFAULT_TEMPERATURE,
    )
    gallery = Gallery(arrays["embeddings"], arrays["places"], arrays["region_ids"], description)
    cosines, places, truth = _neighbours(gallery, encoder, validation)
    temperature = fit_temperature(cosines, places, truth)
    metrics = {}
    if len(cosines):
        distance_km = haversine_km(places[:, 0], truth)
        metrics["nearest_geoscore"] = float(geoscore(distance_km).mean())
        metrics["nearest_median_km"] = float(np.median(distance_km))
    else:
        logger.warning("No validation photo for the gallery %s: its temperature is %g unfitted.", path, temperature)
    save_gallery(path, arrays, description.model_copy(update={"temperature": temperature, "metrics": metrics}))
    return MadeGallery(path, len(order), len(train) - len(order), temperature, metrics)


def _neighbours(
    gallery: Gallery, encoder: _Encoder, photos: PhotoRows
) -> tuple[NDArray[np.float64], NDArray[np.float64], Points]:
    """Find the neighbours of photos in their true regions: (n, K) cosines, (n, K, 2) places; and (n, 2) the truth.

    Photos that cannot be read or whose region has no row are left out; where it has fewer than K, cosines are -inf.
    """
    if len(photos) > _FIT_PHOTOS:
        some = np.zeros(len(photos), np.bool_)
        some[np.random.default_rng(0).choice(len(photos), _FIT_PHOTOS, replace=False)] = True
        photos = photos.of(some)
    embeddings, read = encoder.encode(photos)
    cosines = np.full((len(photos), NEIGHBOURS), -np.inf)
    places = np.zeros((len(photos), NEIGHBOURS, 2))
    found = np.zeros(len(photos), np.bool_)
    for region_id in np.unique(photos.region_ids):
        here = np.flatnonzero(read & (photos.region_ids == region_id))
        rows, near = gallery.search(embeddings[here].astype(np.float32), NEIGHBOURS, gallery.rows_of(region_id))
        count = rows.shape[1]
        cosines[here, :count] = near
        places[here, :count] = gallery.places[rows]
        found[here] = count > 0
    return cosines[found], places[found], photos.points[found]
