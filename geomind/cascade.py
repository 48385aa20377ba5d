"""The cascade: photo → region → place. It asks a Director and Experts; it knows neither networks nor image files.

Routing is hard where the Expert of the most probable region alone is asked, as in the original, and soft where those of
several regions are: their places are weighed by their regions' probabilities, and one is chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import Description, director_path, expert_path, gallery_path, read_description
from geomind.decoding import NEAR_KM, Candidates, best_places, distinct_places, spread_km
from geomind.devices import Device, pick_device_name
from geomind.director import Director
from geomind.errors import CheckpointError
from geomind.expert import Expert, Refine
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.heads import PlaceHead
from geomind.photos import Preprocessing
from geomind.predictions import CANDIDATE_COLUMNS, Prediction, candidates_text, name_places
from geomind.retrieval import Gallery
from geomind.runtimes import Precision, Runtime

logger = logging.getLogger(__name__)

REGION_MEDIAN = "no Expert for this region: the place is the region's median"
"""What the `error` of an answer says that a missing Expert did not give."""

Pixels = NDArray[np.float32]
"""Photos after preprocessing: (N, 3, S, S) float32."""

Features = NDArray[np.float32]
"""What the Director's image encoder makes of photos: (N, features) float32."""


class Geolocator(Protocol):
    """Whoever answers where photos were taken: the cascade, the hierarchical network, a baseline."""

    preprocessing: Preprocessing
    """How photos become the pixels that it reads."""

    extra_columns: tuple[str, ...]
    """The columns that it fills beside those of every prediction."""

    def locate(self, pixels: Pixels, image_paths: Sequence[str]) -> list[Prediction]:
        """Answer for each photo, in order: (N, 3, S, S) and their N names -> N predictions."""
        ...


class Cascade:
    """A Director that routes each photo to the Expert of its region.

    Attributes:
        regions: The table of regions that the Director knows.
        preprocessing: How photos become pixels, the same for the Director and every Expert.
        region_medians: The geodesic median place of each region, (latitude, longitude) in degrees.
    """

    def __init__(
        self,
        director: Callable[[Pixels], tuple[NDArray[np.float32], Features]],
        experts: Mapping[int, Callable[[Pixels], Candidates]],
        heads: Mapping[int, Callable[[Features], Candidates]] | None = None,
        *,
        regions: RegionTable,
        preprocessing: Preprocessing,
        region_medians: Mapping[int, tuple[float, float]],
        top_k: int = 1,
        candidates: int = 0,
        near_km: float = NEAR_KM,
    ) -> None:
        """Join a Director and Experts.

        Args:
            director: Pixels -> (N, regions) probabilities and its (N, features).
            experts: Those with an encoder of their own, by region id: pixels -> where photos may be. They are asked in
                the order in which they come, so that those in memory can come first.
            heads: Those on the Director's trunk, by region id: its features -> where photos may be.
            regions: The table of regions.
            preprocessing: How photos become pixels.
            region_medians: The median place of each region, degrees.
            top_k: How many regions' Experts are asked; 1 is hard routing.
            candidates: How many places each answer names beside its own.
            near_km: How far from the best place others may be to be blended with it; without end, the answer is the
                mean of all places, weighed by their probabilities.
        """
        self._director = director
        self._experts = experts
        self._heads = dict(heads or {})
        self.regions = regions
        self.preprocessing = preprocessing
        self.region_medians = dict(region_medians)
        self._top_k = min(top_k, len(regions))
        self._named = candidates
        self._near_km = near_km
        self.extra_columns: tuple[str, ...] = CANDIDATE_COLUMNS if candidates else ()
        self._missed: set[int] = set()

    @classmethod
    def load(
        cls,
        models: Path | str,
        *,
        runtime: Runtime = "auto",
        precision: Precision = "fp32",
        device: Device = "cpu",
        threads: int | None = None,
        max_memory_mb: int | None = None,
        top_k: int = 1,
        candidates: int = 0,
        gallery: bool = False,
        views: int = 1,
        near_km: float = NEAR_KM,
        temperature: float = 1.0,
    ) -> Cascade:
        """Load the Director of a models folder, and each Expert when the first photo needs it.

        Args:
            models: The folder.
            runtime: Who runs the networks; `auto` takes the quickest that is installed.
            precision: What they count in.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            threads: Cores that they use; None for all.
            max_memory_mb: What the networks may take together, estimated; the Experts that were not asked for the
                longest time make room. The Director and one Expert stay, whatever they take.
            top_k: How many regions' Experts are asked about a photo; 1 is hard routing.
            candidates: How many places each answer names.
            gallery: Refine their answers by the training photos that look most like it.
            views: Squares of each photo that are looked at; 1 is the central one.
            near_km: How far from the best place others may be to be blended with it.
            temperature: What the Director's logits are divided by.

        Raises:
            CheckpointError: there is no Director, a file is broken, an Expert does not fit the Director, or there is no
                gallery where it is asked for.
            ConfigError: a GPU is asked for and there is none, or the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        how: dict[str, Any] = {
            "runtime": runtime,
            "precision": precision,
            "device": pick_device_name(device),
            "threads": threads,
        }
        models = Path(models)
        description = read_description(director_path(models), "director")
        paths = expert_paths(models, description)
        on_trunk = {region_id for region_id, path in paths.items() if read_description(path).trunk is not None}
        own = {region_id: path for region_id, path in paths.items() if region_id not in on_trunk}
        refine = _load_galleries(models, description, own, on_trunk) if gallery else {}
        director = Director.load(director_path(models), temperature=temperature, **how)
        spare = None if max_memory_mb is None else max_memory_mb - director.memory_mb
        return cls(
            director.answer,
            _ExpertsOnDisk(
                own, spare, lambda region_id: Expert.load(own[region_id], refine=refine.get(region_id), **how)
            ),
            {region_id: _head(PlaceHead.load(paths[region_id]), refine.get(region_id)) for region_id in on_trunk},
            regions=description.regions,
            preprocessing=description.preprocessing.model_copy(update={"views": views}),
            region_medians=description.region_medians,
            top_k=top_k,
            candidates=candidates,
            near_km=near_km,
        )

    def locate(self, pixels: Pixels, image_paths: Sequence[str]) -> list[Prediction]:
        """Answer where photos were taken: ask the Experts of their regions, choose a place, name it.

        Each photo is (3, S, S), or (views, 3, S, S), whose answers are averaged.
        """
        probabilities, features = self._look(pixels)
        routed = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._top_k]
        candidates = self._ask(pixels, features, routed, np.take_along_axis(probabilities, routed, axis=1))
        places, best = best_places(candidates, near_km=self._near_km)
        slots = best // (candidates.places.shape[1] // self._top_k)
        named = distinct_places(candidates, self._named)  # 0 of them costs nothing
        spread = spread_km(Candidates.joined([candidates, self._elsewhere(probabilities, routed)]), places)
        return name_places(
            [
                Prediction(
                    image_path=image_path,
                    region_id=region_id,
                    region_name=self.regions[region_id].name,
                    region_probability=float(probabilities[photo, region_id]),
                    latitude=float(places[photo, 0]),
                    longitude=float(places[photo, 1]),
                    error=None if region_id in self._heads or region_id in self._experts else REGION_MEDIAN,
                    candidates=candidates_text(named.of_photo(photo)) if self._named else None,
                    spread_km=float(spread[photo]),
                )
                for photo, (image_path, region_id) in enumerate(
                    zip(image_paths, np.take_along_axis(routed, slots[:, None], axis=1)[:, 0].tolist(), strict=True)
                )
            ]
        )

    def locate_in_region(self, pixels: Pixels, region_id: int) -> Points:
        """Place photos in a region that is taken for granted: (N, 3, S, S) -> (N, 2) degrees.

        Without an Expert, the answer is the region's median place.
        """
        features = self._look(pixels)[1] if region_id in self._heads else np.empty((len(pixels), 0), np.float32)
        return best_places(self._guess(region_id, pixels, features))[0]

    def region_probabilities(self, pixels: Pixels) -> NDArray[np.float32]:
        """Ask the Director alone: (N, 3, S, S), or (N, views, 3, S, S) -> (N, views, regions), each adding up to 1."""
        probabilities = self._director(_one_by_one(pixels))[0]
        return probabilities.reshape(len(pixels), -1, probabilities.shape[1])

    def _look(self, pixels: Pixels) -> tuple[NDArray[np.float32], Features]:
        """Ask the Director: (N, regions) probabilities, of all views together, and (N, views x features)."""
        probabilities, features = self._director(_one_by_one(pixels))
        means: NDArray[np.float32] = probabilities.reshape(len(pixels), -1, probabilities.shape[1]).mean(axis=1)
        return means, features.reshape(len(pixels), -1)

    def _ask(
        self, pixels: Pixels, features: Features, routed: NDArray[np.int64], shares: NDArray[np.float32]
    ) -> Candidates:
        """Ask each photo's Experts: region ids and their probabilities (N, k) -> as many candidates of each region."""
        turn = {region_id: number for number, region_id in enumerate(self._experts)}
        answers = []
        for region_id in sorted(np.unique(routed).tolist(), key=lambda region_id: turn.get(region_id, -1)):
            photos, slots = np.nonzero(routed == region_id)
            guess = self._guess(region_id, pixels[photos], features[photos])
            answers.append((photos, slots, guess.weighted(shares[photos, slots])))
        most = max(guess.places.shape[1] for _, _, guess in answers)
        probabilities, places = np.zeros((*routed.shape, most)), np.zeros((*routed.shape, most, 2))
        for photos, slots, guess in answers:
            own = slice(guess.places.shape[1])
            probabilities[photos, slots, own], places[photos, slots, own] = guess.probabilities, guess.places
        return Candidates(probabilities.reshape(len(pixels), -1), places.reshape(len(pixels), -1, 2))

    def _elsewhere(self, probabilities: NDArray[np.float32], routed: NDArray[np.int64]) -> Candidates:
        """Give the regions whose Experts were not asked as candidates, each at its median place."""
        others = probabilities.astype(np.float64)
        np.put_along_axis(others, routed, 0, axis=1)
        medians = np.array([self.region_medians.get(region.id, (0.0, 0.0)) for region in self.regions.regions])
        others[:, [region.id not in self.region_medians for region in self.regions.regions]] = 0
        return Candidates(others, np.broadcast_to(medians, (*others.shape, 2)))

    def _guess(self, region_id: int, pixels: Pixels, features: Features) -> Candidates:
        """Ask the Expert of one region; where there is none, its median place is the only candidate."""
        views = len(_one_by_one(pixels)) // len(pixels)
        if region_id in self._heads:
            return self._heads[region_id](features.reshape(len(pixels) * views, -1)).of_views(views)
        if region_id in self._experts:
            return self._experts[region_id](_one_by_one(pixels)).of_views(views)
        if region_id not in self._missed:
            self._missed.add(region_id)
            region = self.regions[region_id]
            logger.warning(
                "No Expert for region %d '%s': its photos get the region's median place. Train it with "
                "`geomind train-expert --region %d`.",
                region.id,
                region.name,
                region.id,
            )
        return Candidates.certain(np.tile(np.array(self.region_medians[region_id]), (len(pixels), 1)))


def _one_by_one(pixels: Pixels) -> Pixels:
    """Give every view as a photo of its own: (N, 3, S, S) or (N, views, 3, S, S) -> (N x views, 3, S, S)."""
    return pixels.reshape(-1, *pixels.shape[-3:])


class _ExpertsOnDisk(Mapping[int, Callable[[Pixels], Candidates]]):
    """The Experts that a models folder holds, each loaded when first asked; those in memory come first."""

    def __init__(self, paths: Mapping[int, Path], max_memory_mb: float | None, load: Callable[[int], Expert]) -> None:
        self._paths = paths
        self._max_memory_mb = max_memory_mb
        self._load = load
        self._loaded: dict[int, Expert] = {}  # the one asked last comes last

    def __getitem__(self, region_id: int) -> Callable[[Pixels], Candidates]:
        expert = self._loaded.pop(region_id, None)
        if expert is None:
            expert = self._load(region_id)
            self._make_room(expert.memory_mb)
        self._loaded[region_id] = expert
        return expert.guess

    def _make_room(self, needed_mb: float) -> None:
        while (
            self._loaded
            and self._max_memory_mb is not None
            and needed_mb + sum(expert.memory_mb for expert in self._loaded.values()) > self._max_memory_mb
        ):
            del self._loaded[next(iter(self._loaded))]

    def __contains__(self, region_id: object) -> bool:
        return region_id in self._paths

    def __iter__(self) -> Iterator[int]:
        yield from self._loaded
        yield from (region_id for region_id in self._paths if region_id not in self._loaded)

    def __len__(self) -> int:
        return len(self._paths)


def _head(head: PlaceHead, refine: Refine | None) -> Callable[[Features], Candidates]:
    return head.guess if refine is None else lambda features: refine(head.guess(features), features)


def _load_galleries(
    models: Path, director: Description, own: Iterable[int], on_trunk: Iterable[int]
) -> dict[int, Refine]:
    """Open the galleries that there are, by region id: the Director's for all on its trunk, of each other its own.

    Raises:
        CheckpointError: there is none at all, or one is broken or of other weights.
    """
    refine: dict[int, Refine] = {}
    for region_id in own:
        region = director.regions[region_id]
        if (path := gallery_path(models, region)).is_file():
            refine[region_id] = partial(_refine, Gallery.load(path, expert_path(models, region)), region_id)
    if gallery_path(models).is_file():
        shared = Gallery.load(gallery_path(models), director_path(models))
        refine |= {region_id: partial(_refine, shared, region_id) for region_id in on_trunk}
    if not refine:
        raise CheckpointError(
            f"There is no gallery in {models}. Make it with `geomind train-expert --region all --gallery`."
        )
    return refine


def _refine(gallery: Gallery, region_id: int, guess: Candidates, features: Features) -> Candidates:
    return gallery.refine(guess, features, region_id)


def expert_paths(models: Path, director: Description) -> dict[int, Path]:
    """Find the Experts of a models folder, by region id.

    Raises:
        CheckpointError: one is broken, or does not fit the Director.
    """
    paths = {r.id: path for r in director.regions.regions if (path := expert_path(models, r)).is_file()}
    for region_id, path in paths.items():
        expert = read_description(path, "expert", regions=director.regions)
        if expert.region_id != region_id:
            raise CheckpointError(f"{path} is the Expert of region {expert.region_id}, not {region_id}. Move it.")
        if expert.preprocessing != director.preprocessing:
            raise CheckpointError(
                f"{path} was trained on other pixels ({expert.preprocessing}) than the Director "
                f"({director.preprocessing}). Train it again with "
                f"--set image_size={director.preprocessing.image_size}."
            )
        if expert.trunk is not None and expert.trunk != director.trunk:
            raise CheckpointError(
                f"{path} answers from the features of another Director than the one in {models}. Train it again with "
                f"`geomind train-expert --region {region_id} --trunk director --overwrite`."
            )
    return paths
