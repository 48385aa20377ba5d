"""What Experts answer with the true region given: a cascade is asked again where its Director was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geomind.errors import PhotoError
from geomind.evaluation.judging import RegionIds
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.inference.engine import locate_photos
from geomind.metrics import Distances, distances_km
from geomind.photos import Preprocessing
from geomind.predictions import Prediction
from geomind.progress import Progress


class SupportsOracle(Protocol):
    """A cascade whose Experts can be asked with the true region given."""

    @property
    def regions(self) -> RegionTable:
        """The table of regions it was trained for."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos become the pixels it reads."""
        ...

    @property
    def region_medians(self) -> Mapping[int, tuple[float, float]]:
        """Region id -> the median place of its training photos, degrees."""
        ...

    def locate_in_region(self, pixels: NDArray[np.float32], region_id: int) -> Points:
        """Place photos in a region that is taken for granted: (n, 3, S, S) -> (n, 2) degrees."""
        ...


class _InTrueRegion:
    """Answers photos whose region is known, as the engine asks a geolocator."""

    extra_columns: tuple[str, ...] = ()

    def __init__(self, cascade: SupportsOracle, region_id: int) -> None:
        self.preprocessing = cascade.preprocessing
        self._cascade = cascade
        self._region_id = region_id

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        points = self._cascade.locate_in_region(pixels, self._region_id)
        return [
            Prediction(image_path=path, region_id=self._region_id, latitude=latitude, longitude=longitude)
            for path, (latitude, longitude) in zip(image_paths, points.tolist(), strict=True)
        ]


def ask_true_regions(
    cascade: SupportsOracle,
    photos: Sequence[Path],
    *,
    true_regions: RegionIds,
    routed: RegionIds,
    distance_km: Distances,
    truth: Points,
    progress: Progress,
) -> Distances:
    """Measure the answers with the true region given: (n,) km.

    An answer in the right region stands; a photo without an answer stays without one.

    Args:
        cascade: who answered.
        photos: (n,) the files.
        true_regions: (n,) their regions.
        routed: (n,) the regions answered.
        distance_km: (n,) km of the answers, infinite where there is none.
        truth: (n, 2) degrees.
        progress: shows the photos that are asked again.

    Raises:
        PhotoError: a photo that was answered cannot be read again.
    """
    oracle = distance_km.copy()
    wrong = (routed != true_regions) & np.isfinite(distance_km)
    with progress.track("Asking the true regions' Experts", int(wrong.sum())) as advance:
        for region_id in np.unique(true_regions[wrong]).tolist():
            asked = np.flatnonzero(wrong & (true_regions == region_id))
            files = [photos[i] for i in asked.tolist()]
            answers = locate_photos(files, [str(file) for file in files], _InTrueRegion(cascade, region_id))
            for i, answer in zip(asked.tolist(), answers, strict=True):
                if answer.place is None:
                    raise PhotoError(
                        f"{answer.image_path} has an answer and cannot be read again: {answer.error}. Evaluate where "
                        "the manifest's photos are, or without --models."
                    )
                oracle[i] = distances_km(truth[i], answer.place)
                advance(1)
    return oracle
