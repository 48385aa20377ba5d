"""The cascade: photo → region → place. It asks a Director and Experts; it knows neither networks nor image files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import check_regions, director_path, expert_path, read_description
from geomind.devices import Device, pick_device
from geomind.errors import CheckpointError
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, name_places

logger = logging.getLogger(__name__)

REGION_MEDIAN = "no Expert for this region: the place is the region's median"
"""What the `error` of an answer says that a missing Expert did not give."""

Pixels = NDArray[np.float32]
"""Photos after preprocessing: (N, 3, S, S) float32."""


class Geolocator(Protocol):
    """Whoever answers where photos were taken: the cascade, the hierarchical network, a baseline."""

    preprocessing: Preprocessing
    """How photos become the pixels that it reads."""

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
        director: Callable[[Pixels], NDArray[np.float32]],
        experts: Mapping[int, Callable[[Pixels], Points]],
        *,
        regions: RegionTable,
        preprocessing: Preprocessing,
        region_medians: Mapping[int, tuple[float, float]],
    ) -> None:
        """Join a Director (pixels -> (N, regions) probabilities) and Experts by region id (-> (N, 2) degrees)."""
        self._director = director
        self._experts = experts
        self.regions = regions
        self.preprocessing = preprocessing
        self.region_medians = dict(region_medians)
        self._missed: set[int] = set()

    @classmethod
    def load(cls, models: Path | str, *, device: Device = "cpu") -> Cascade:
        """Load the Director of a models folder, and each Expert when the first photo needs it.

        Args:
            models: The folder.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

        Raises:
            CheckpointError: there is no Director, a file is broken, or an Expert does not fit the Director.
            ConfigError: a GPU is asked for and there is none.
        """
        from geomind.director import Director

        used = pick_device(device)
        director = Director.load(director_path(models), used)
        description = director.description
        experts = _ExpertsOnDisk(Path(models), description.regions, description.preprocessing, used)
        return cls(
            director.probabilities,
            experts,
            regions=description.regions,
            preprocessing=description.preprocessing,
            region_medians=description.region_medians,
        )

    def locate(self, pixels: Pixels, image_paths: Sequence[str]) -> list[Prediction]:
        """Answer where photos were taken: route each to its region, ask that region's Expert, name the place."""
        probabilities = self._director(pixels)
        routed = probabilities.argmax(axis=1)
        places = np.empty((len(pixels), 2))
        for region_id in np.unique(routed):
            here = routed == region_id
            places[here] = self.locate_in_region(pixels[here], int(region_id))
        return name_places(
            [
                Prediction(
                    image_path=image_path,
                    region_id=int(region_id),
                    region_name=self.regions[int(region_id)].name,
                    region_probability=float(probability[region_id]),
                    latitude=float(latitude),
                    longitude=float(longitude),
                    error=None if int(region_id) in self._experts else REGION_MEDIAN,
                )
                for image_path, region_id, probability, (latitude, longitude) in zip(
                    image_paths, routed, probabilities, places, strict=True
                )
            ]
        )

    def locate_in_region(self, pixels: Pixels, region_id: int) -> Points:
        """Place photos in a region that is taken for granted: (N, 3, S, S) -> (N, 2) degrees.

        Without an Expert, the answer is the region's median place.
        """
        if region_id in self._experts:
            return self._experts[region_id](pixels)
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
        return np.tile(np.array(self.region_medians[region_id], dtype=np.float64), (len(pixels), 1))


class _ExpertsOnDisk(Mapping[int, Callable[[Pixels], Points]]):
    """The Experts that a models folder holds, each loaded when first asked; all are checked against the Director."""

    def __init__(self, models: Path, regions: RegionTable, preprocessing: Preprocessing, device: str) -> None:
        self._regions = regions
        self._device = device
        self._paths = {r.id: path for r in regions.regions if (path := expert_path(models, r)).is_file()}
        self._loaded: dict[int, Callable[[Pixels], Points]] = {}
        for region_id, path in self._paths.items():
            expert = read_description(path)
            check_regions(path, expert, regions)
            if expert.region_id != region_id:
                raise CheckpointError(f"{path} is the Expert of region {expert.region_id}, not {region_id}. Move it.")
            if expert.preprocessing != preprocessing:
                raise CheckpointError(
                    f"{path} was trained on other pixels ({expert.preprocessing}) than the Director ({preprocessing}). "
                    f"Train it again with --set image_size={preprocessing.image_size}."
                )

    def __getitem__(self, region_id: int) -> Callable[[Pixels], Points]:
        if region_id not in self._loaded:
            from geomind.expert import Expert

            expert = Expert.load(self._paths[region_id], regions=self._regions, device=self._device)
            self._loaded[region_id] = expert.locate
        return self._loaded[region_id]

    def __contains__(self, region_id: object) -> bool:
        return region_id in self._paths

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
