"""The photos of a manifest that trainings use, with the split settled. It knows no networks."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.config import TrainingConfig
from geomind.data.dataset import PhotoDataset
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.shards import shard_of
from geomind.data.splits import split_by_place
from geomind.errors import ManifestError
from geomind.geography.regions import Region, RegionTable
from geomind.geography.sphere import Points
from geomind.photos import Preprocessing
from geomind.training.augment import build_augment
from geomind.training.routing import rows_of_expert

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
"""Held out by place where the manifest has no split, as in the original project (90/10)."""


@dataclass(frozen=True)
class PhotoRows:
    """Some rows of a manifest, as one network sees them."""

    manifest: Path
    rows: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def paths(self) -> list[Path]:
        """The photos' files."""
        return [photo_path(self.manifest, path) for path in self.rows["image_path"]]

    @cached_property
    def points(self) -> Points:
        """(n, 2) degrees, where they were taken."""
        return self.rows[["latitude", "longitude"]].to_numpy()

    @cached_property
    def region_ids(self) -> NDArray[np.int64]:
        """(n,) their regions."""
        return self.rows["region_id"].to_numpy(dtype=np.int64)

    @cached_property
    def shards(self) -> NDArray[np.int64] | None:
        """(n,) which tar shard each lies in, or None where that makes no difference."""
        numbers = shard_of(self.rows["image_path"].tolist())
        return numbers if numbers.any() else None

    def of(self, chosen: NDArray[np.bool_]) -> PhotoRows:
        """Give some of the rows."""
        return PhotoRows(self.manifest, self.rows[chosen])

    def dataset(self, targets: NDArray[Any], config: TrainingConfig, *, augment: bool) -> PhotoDataset:
        """Make the torch data set of these rows, their photos changed at random or as they are."""
        preprocessing = Preprocessing(image_size=config.image_size)
        return PhotoDataset(
            self.paths,
            targets,
            preprocessing,
            augment=build_augment(config.augment, preprocessing) if augment else None,
            cache=config.cache_photos,
        )


@dataclass(frozen=True)
class TrainingPhotos:
    """The training and validation rows of a manifest."""

    manifest: Path
    manifest_hash: str
    train: PhotoRows
    validation: PhotoRows
    split_here: bool
    """The manifest had no split, so one by place was made."""

    @classmethod
    def read(cls, manifest: Path | str, regions: RegionTable, seed: int) -> TrainingPhotos:
        """Read a manifest's training and validation rows; without a split, hold out places.

        Raises:
            ManifestError: there is no such manifest, a region id is not in the table, or no row is for training.
        """
        rows = read_manifest(manifest)
        _check_regions(manifest, rows, regions)
        split_here = bool((rows["split"] == "").all())
        if split_here:
            rows = rows.assign(split=_hold_out(rows, seed))
            logger.info("%s has no split: %.0f%% of its places are held out.", manifest, 100 * VALIDATION_SHARE)
        elif unsplit := int((rows["split"] == "").sum()):
            logger.warning("%s: %d photos have no split and are left out.", manifest, unsplit)
        if not (rows["split"] == "train").any():
            raise ManifestError(f"{manifest} has no row with split 'train'. Split it with `geomind split {manifest}`.")
        path = Path(manifest)
        train, validation = (PhotoRows(path, rows[rows["split"] == split]) for split in ("train", "validation"))
        return cls(path, hashlib.blake2b(path.read_bytes()).hexdigest()[:32], train, validation, split_here)

    def require_validation(self) -> None:
        """Make sure that there are photos to judge by.

        Raises:
            ManifestError: there are none.
        """
        if len(self.validation) == 0:
            raise ManifestError(
                f"{self.manifest} has no row with split 'validation'. Split it with `geomind split {self.manifest}`."
            )

    def of_region(self, region: Region, routed: NDArray[np.int64] | None = None) -> TrainingPhotos:
        """Give the photos of one region's Expert: its own and, to learn from, those that are routed to it.

        Args:
            region: The region.
            routed: (training rows,) the region that the Director sends each to.
        """
        own = self.train.region_ids == region.id
        train = self.train.of(own if routed is None else rows_of_expert(self.train.region_ids, routed, region.id))
        validation = self.validation.of(self.validation.region_ids == region.id)
        if self.split_here and not own.any():
            train = validation  # the region's few places happened to be held out, by us
        return TrainingPhotos(self.manifest, self.manifest_hash, train, validation, self.split_here)


def _check_regions(manifest: Path | str, rows: pd.DataFrame, regions: RegionTable) -> None:
    ids = rows["region_id"].to_numpy(dtype=np.int64, na_value=-1)
    if ((ids < 0) | (ids >= len(regions))).any():
        worst = rows["image_path"].iloc[int(np.argmax((ids < 0) | (ids >= len(regions))))]
        raise ManifestError(
            f"{manifest}: {worst} has no region of the table '{regions.name}' (0 to {len(regions) - 1}). "
            "Make the manifest again with `geomind prepare`."
        )
    told = regions.region_ids(rows["country"], rows[["latitude", "longitude"]].to_numpy())
    if (other := int((told != ids).sum())) > len(rows) // 2:
        raise ManifestError(
            f"{manifest}: {other:,} of {len(rows):,} photos have another region than the table '{regions.name}' "
            f"gives them. Name their table with --regions, or relabel them: `geomind regions assign {manifest}`."
        )


def _hold_out(rows: pd.DataFrame, seed: int) -> NDArray[np.str_]:
    return split_by_place(
        rows[["latitude", "longitude"]].to_numpy(),
        shares={"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE},
        groups=rows["group"].to_numpy(),
        strata=rows["region_id"].to_numpy(dtype=np.int64),
        seed=seed,
    )
