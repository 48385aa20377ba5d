"""The demo: the whole story on the synthetic world, from no photos at all to a map of truth and guess."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from geomind.backbones import build_backbone
from geomind.cascade import Cascade
from geomind.checkpoints import director_path
from geomind.config import AugmentConfig, BackboneConfig, DirectorConfig, ExpertConfig
from geomind.data.world import make_world
from geomind.devices import torch_threads_beside
from geomind.errors import OutputError
from geomind.evaluation.calibrate import calibrate
from geomind.evaluation.plots import PICTURES, draw_evaluation
from geomind.evaluation.report import write_report
from geomind.evaluation.scoring import Evaluation, evaluate, write_metrics
from geomind.files import atomic_path, make_folder
from geomind.geography.regions import default_regions
from geomind.geolocators import Answering, load_geolocator
from geomind.inference.engine import infer
from geomind.outputs.web_map import write_map
from geomind.progress import SILENT, Progress
from geomind.training.director import train_director
from geomind.training.experts import train_all_experts

MARK = ".geomind-demo"
"""A file that says that a folder is a demo's, and may be made anew."""


@dataclass(frozen=True)
class DemoSize:
    """How much of everything a demo makes."""

    photos: int
    director_epochs: int
    expert_epochs: int


FULL = DemoSize(photos=8700, director_epochs=12, expert_epochs=8)
QUICK = DemoSize(photos=2350, director_epochs=8, expert_epochs=5)
"""For tests: the same steps in under a minute, with less accuracy."""

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.61, "validation": 0.085, "calibration": 0.135, "test": 0.17})
"""Share of each split; the calibration photos are in no training and no judgement."""

MADE = (
    "photos", "saved_models", "runs", "manifest.csv", "predictions.csv", "metrics.json", "report.html", "map.html",
    *PICTURES,
)  # fmt: skip
"""Everything that a demo puts into its folder."""

IMAGE_SIZE = 64
"""Side of the scenes and of what the networks see, pixels."""

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "image_size": IMAGE_SIZE,
        "schedule": "one_cycle",
        "learning_rate": 4e-3,
        "weight_decay": 0.05,
        "dropout": 0.1,
        "workers": 1,
        "cache_photos": True,
        "device": "cpu",
    }
)
"""What every network of the world's scenes is trained with."""

DIRECTOR_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "augment": AugmentConfig(crop_scale_min=0.8, color_jitter=0.2, hue_jitter=0),
        "class_weights": "none",  # the world's regions differ by a factor of three only
        "label_smoothing": 0.1,
    }
)

PLACE_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        # Gentler than the Director's: a crop lifts the sun, and the height of the sun is the latitude.
        "augment": AugmentConfig(crop_scale_min=0.9, color_jitter=0.1, hue_jitter=0),
    }
)
"""What networks that answer with places are trained with besides."""


@dataclass(frozen=True)
class Demo:
    """What a demo made, and how good it was on places that it had not seen."""

    evaluation: Evaluation
    seconds: float
    manifest: Path
    predictions: Path
    metrics: Path
    world_map: Path
    models: Path
    report: Path
    """The page with all of it."""
    web_map: Path
    """The map to move about in."""


def run_demo(
    folder: Path | str,
    *,
    quick: bool = False,
    backbone: str = "scene_net",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Demo:
    """Draw a world, train the Director and all Experts on it, calibrate, locate held-out scenes, judge, report.

    Args:
        folder: Where everything is put.
        quick: Less of everything.
        backbone: The image encoder; `efficientnet_b0` is the real one and takes its time.
        seed: The same seed gives the same world and, on a CPU, the same answers.
        overwrite: Replace an earlier demo in this folder.
        progress: Shows each step.

    Raises:
        OutputError: the folder holds something that is not a demo, or a demo and ``overwrite`` is false.
        ConfigError: no image encoder has this name, or it cannot see the scenes' size.
    """
    started = time.monotonic()
    build_backbone(backbone, IMAGE_SIZE)  # a name that is none is refused before an earlier demo is cleared
    folder = _fresh_folder(Path(folder), overwrite=overwrite)
    size = QUICK if quick else FULL
    models, runs = folder / "saved_models", folder / "runs"
    regions = default_regions()

    manifest = make_world(
        folder, photos=size.photos, image_size=IMAGE_SIZE, shares=SHARES, seed=seed, progress=progress
    )
    shared: dict[str, Any] = {**SETTINGS, "seed": seed}
    director = DirectorConfig(
        **shared,
        **DIRECTOR_SETTINGS,
        backbone=BackboneConfig(name=backbone, weights="none"),
        max_epochs=size.director_epochs,
    )
    train_director(manifest, director, regions=regions, models=models, runs=runs, progress=progress)
    expert = ExpertConfig(
        **shared,
        **PLACE_SETTINGS,
        backbone=BackboneConfig(name=backbone, weights=str(director_path(models))),
        max_epochs=size.expert_epochs,
    )
    train_all_experts(manifest, expert, regions=regions, models=models, runs=runs, progress=progress)

    predictions = folder / "predictions.csv"
    how = Answering(runtime="torch")  # which is there already; others would make files first
    with torch_threads_beside(workers=1):
        calibrate(manifest, models, how, progress=progress)
        cascade = load_geolocator(models, how)
        infer(folder / "photos" / "test", predictions, cascade, batch_size=64, workers=1, progress=progress)
        evaluation = evaluate(
            predictions, manifest, split="test", cascade=Cascade.load(models, runtime="torch"), progress=progress
        )
    metrics = folder / "metrics.json"
    write_metrics(evaluation, metrics)
    pictures = draw_evaluation(evaluation, folder)
    report, web_map = folder / "report.html", folder / "map.html"
    write_report(evaluation, report, title="The demo's world", progress=progress)
    write_map(evaluation.predictions, web_map)
    return Demo(
        evaluation=evaluation,
        seconds=time.monotonic() - started,
        manifest=manifest,
        predictions=predictions,
        metrics=metrics,
        world_map=pictures[0],
        models=models,
        report=report,
        web_map=web_map,
    )


def _fresh_folder(folder: Path, *, overwrite: bool) -> Path:
    """Make the demo's folder, or clear an earlier demo's; what is not a demo's is never touched."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file. Choose another --output.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise OutputError(f"{folder} holds something else than a demo. Choose another --output.")
        if not overwrite:
            raise OutputError(
                f"{folder} holds a demo already. Choose another --output, or replace it with --overwrite."
            )
        for made in MADE:
            if (folder / made).is_dir():
                shutil.rmtree(folder / made)
            else:
                (folder / made).unlink(missing_ok=True)
    make_folder(folder)
    with atomic_path(folder / MARK) as temporary:
        temporary.write_text("A demo of GeoMind; `geomind demo --overwrite` makes it anew.\n", encoding="utf-8")
    return folder
