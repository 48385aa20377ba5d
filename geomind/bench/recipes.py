"""Recipes side by side: what settings of the Director are worth in held-out accuracy, at the same budget."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geomind.checkpoints import director_path
from geomind.config import DirectorConfig
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.world import make_world
from geomind.devices import pick_device
from geomind.director import Director
from geomind.errors import ManifestError
from geomind.geography.regions import RegionTable
from geomind.progress import SILENT, Progress
from geomind.training.director import train_director
from geomind.training.routing import route

WORLD_IMAGE_SIZE = 64
"""Side of the demo world's scenes, pixels."""

WORLD_SETTINGS = (
    "backbone.name=scene_net",
    "backbone.weights=none",
    f"image_size={WORLD_IMAGE_SIZE}",
    "max_epochs=12",
    "workers=0",
    "cache_photos=true",
)
"""What every recipe takes on the demo world: its small network, its small scenes, and a budget."""


@dataclass(frozen=True)
class RecipeScore:
    """One recipe over all seeds."""

    recipe: str
    accuracies: tuple[float, ...]
    """Share of the held-out photos whose region is right, one a seed."""
    epochs: tuple[int, ...]
    seconds: float
    """Mean time of a training."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds."""
        return statistics.fmean(self.accuracies)

    def flat(self) -> dict[str, str | float]:
        """Give the figures as flat keys for JSON."""
        return {
            "recipe": self.recipe,
            "accuracy": self.mean,
            "accuracy_least": min(self.accuracies),
            "accuracy_most": max(self.accuracies),
            "seeds": len(self.accuracies),
            "epochs": statistics.fmean(self.epochs),
            "train_seconds": self.seconds,
        }


def bench_recipes(
    recipes: Mapping[str, DirectorConfig],
    *,
    regions: RegionTable,
    seeds: int = 3,
    photos: int = 3000,
    data: Path | str | None = None,
    progress: Progress = SILENT,
) -> list[RecipeScore]:
    """Train a Director by each recipe and each seed, and judge all of them by the same photos of unseen places.

    Args:
        recipes: Name -> settings; their own seed is replaced.
        regions: The table of regions.
        seeds: Seeds 0, 1, …: of the world that is drawn, and of weights, order and random changes.
        photos: Scenes of each world.
        data: A manifest with a split `test`, in place of the demo world.
        progress: Shows trainings done.

    Raises:
        ManifestError: the manifest has no photos to judge by.
        GeoMindError: a training cannot go on.
    """
    scores: dict[str, list[tuple[float, int, float]]] = {name: [] for name in recipes}
    with (
        tempfile.TemporaryDirectory(prefix="geomind-bench-") as made,
        progress.track("Comparing recipes", seeds * len(recipes)) as advance,
    ):
        for seed in range(seeds):
            folder = Path(made) / str(seed)
            manifest = data or make_world(
                folder, photos=photos, image_size=WORLD_IMAGE_SIZE, seed=seed, progress=progress
            )
            for number, (name, recipe) in enumerate(recipes.items()):
                models = folder / f"models-{number}"
                started = time.monotonic()
                trained = train_director(
                    manifest,
                    recipe.model_copy(update={"seed": seed}),
                    regions=regions,
                    models=models,
                    runs=folder / "runs",
                    progress=progress,
                )
                seconds = time.monotonic() - started
                accuracy = _accuracy(models, recipe, Path(manifest), folder / "features")
                scores[name].append((accuracy, trained.epochs, seconds))
                advance(1, note=f"{name}: {accuracy:.1%}")
    return [_summed_up(name, done) for name, done in scores.items()]


def _summed_up(recipe: str, done: Sequence[tuple[float, int, float]]) -> RecipeScore:
    accuracies, epochs, seconds = zip(*done, strict=True)
    return RecipeScore(recipe, accuracies, epochs, statistics.fmean(seconds))


def _accuracy(models: Path, recipe: DirectorConfig, manifest: Path, features: Path) -> float:
    """Measure the share of right regions among the photos of the split `test`; one that cannot be read is wrong."""
    rows = read_manifest(manifest)
    rows = rows[rows["split"] == "test"]
    if len(rows) == 0:
        raise ManifestError(f"{manifest} has no row with split 'test' to judge by. Split it with `geomind split`.")
    director = Director.load(director_path(models), pick_device(recipe.device))
    chosen = route(director, [photo_path(manifest, path) for path in rows["image_path"]], features)
    return float((chosen == rows["region_id"].to_numpy(dtype=np.int64)).mean())
