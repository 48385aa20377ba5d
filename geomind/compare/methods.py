"""The rungs of the ladder: what each trains with the budget, and how it answers. It runs none."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from geomind.baselines import Regression, median_places
from geomind.cascade import Cascade, Geolocator
from geomind.checkpoints import director_path, expert_path, hierarchical_path, regression_path
from geomind.compare.ladder import Job, Method, Training
from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig, HierarchicalConfig, RegressionConfig
from geomind.errors import ConfigError, TrainingError
from geomind.evaluation.judging import Truth
from geomind.files import atomic_path, make_folder
from geomind.geography.sphere import Points
from geomind.hierarchical import Hierarchical
from geomind.retrieval import NearestPhoto
from geomind.training.director import train_director
from geomind.training.experts import Failed, train_all_experts
from geomind.training.gallery import make_director_gallery
from geomind.training.hierarchical import train_hierarchical
from geomind.training.regression import train_regression

DIRECTOR_SHARE = 0.5
"""Of a cascade's budget; the Experts have the rest. Each photo has one Expert, so that all of them together see each
photo once an epoch."""

TOP_K = 5
"""Regions whose Experts are asked under soft routing."""

LEVELS: Mapping[str, int] = MappingProxyType({"country": 16, "region": 64, "city": 256})
"""Cells of the hierarchical network, at most; the one network of cells alone has those of the last level."""

HEAD_EPOCHS, HEAD_RATE = 60, 1e-2
"""Epochs and rate of heads on features that are computed once: the budget counts what an encoder sees, and that is one
pass."""

EXPERT_CELLS = 20
"""Cells of each Expert, at most: those of all 13 are about as many as the one network has."""


# ── medians: nothing is looked at ────────────────────────────────────────────────────────────────────────────────────


def _world_median(job: Job) -> Points:
    train, test = _truths(job)
    return median_places(train.points, np.zeros(len(train)), np.zeros(len(test)))


def _region_median(job: Job) -> Points:
    train, test = _truths(job)
    return median_places(train.points, train.region_ids, test.region_ids)


def _country_median(job: Job) -> Points:
    train, test = _truths(job)
    return median_places(train.points, train.countries, test.countries)


def _truths(job: Job) -> tuple[Truth, Truth]:
    train, test = (Truth.read(job.bench.manifest, job.bench.regions, split=split) for split in ("train", "test"))
    return train, test


# ── one network ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _train_square(job: Job) -> None:
    _train_regression(job, job.bench.config(RegressionConfig, seed=job.seed, epochs=job.budget, output="square"))


def _train_vector(job: Job) -> None:
    _train_regression(job, job.bench.config(RegressionConfig, seed=job.seed, epochs=job.budget, output="vector"))


def _train_regression(job: Job, config: RegressionConfig) -> None:
    if not regression_path(job.models).is_file():
        train_regression(job.bench.manifest, config, **_where(job, f"regression-{config.output}"))


def _train_cells(job: Job) -> None:
    _train_hierarchy(job, {"city": LEVELS["city"]})


def _train_hierarchical(job: Job) -> None:
    _train_hierarchy(job, LEVELS)


def _train_hierarchy(job: Job, levels: Mapping[str, int]) -> None:
    config = job.bench.config(HierarchicalConfig, seed=job.seed, epochs=job.budget, levels=levels)
    if not hierarchical_path(job.models).is_file():
        train_hierarchical(job.bench.manifest, config, **_where(job, "hierarchical"))


def _hierarchical(job: Job) -> Geolocator:
    return Hierarchical.load(hierarchical_path(job.models), runtime="torch")


def _regression(job: Job) -> Geolocator:
    # In torch, like all: other runtimes would make their files first, in the time that is measured.
    return Regression.load(regression_path(job.models), runtime="torch")


# ── cascades ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _train_director(job: Job) -> None:
    _director(job, _director_epochs(job))


def _train_whole_director(job: Job) -> None:
    """Train a Director with all of the budget but one pass, in which it looks at the photos for its gallery."""
    config = _director(job, max(1, job.budget - 1))
    make_director_gallery(
        job.bench.manifest, models=job.models, runs=job.runs, workers=max(1, config.workers), device=config.device,
        progress=job.progress,
    )  # fmt: skip


def _director_epochs(job: Job) -> int:
    return max(1, round(DIRECTOR_SHARE * job.budget))


def _director(job: Job, epochs: int) -> DirectorConfig:
    config = job.bench.config(DirectorConfig, seed=job.seed, epochs=epochs)
    if not director_path(job.models).is_file():
        train_director(job.bench.manifest, config, **_where(job, "director"))
    return config


def _train_own_experts(job: Job, **own: object) -> None:
    """Train Experts with encoders of their own beside the Director of this seed."""
    _copy_models(job.trained[DIRECTOR.name], job.models)
    settings = dict(own)
    backbone = job.bench.config(DirectorConfig, seed=job.seed, epochs=1).backbone
    if backbone.weights == "none":  # from nothing, an Expert of a few hundred photos would hardly learn to see
        settings["backbone"] = BackboneConfig(name=backbone.name, weights=str(director_path(job.models)))
    _train_experts(job, job.budget - _director_epochs(job), **settings)


def _train_heads(job: Job) -> None:
    """Train Experts with cells as heads on the trunk of the Director that had all of the budget."""
    _copy_models(job.trained[WHOLE_DIRECTOR.name], job.models)
    _train_experts(job, HEAD_EPOCHS, trunk="director", head="cells", cells_count=EXPERT_CELLS, learning_rate=HEAD_RATE)


def _train_experts(job: Job, epochs: int, **own: object) -> None:
    """Train all Experts; go on where an earlier attempt stopped.

    Raises:
        TrainingError: an Expert failed.
        GeoMindError: the manifest or the settings cannot be used.
    """
    bench, regions = job.bench, job.bench.regions
    with_photos = np.unique(Truth.read(bench.manifest, regions, split="train").region_ids).tolist()
    if all(expert_path(job.models, regions[region_id]).is_file() for region_id in with_photos):
        return
    config = bench.config(ExpertConfig, seed=job.seed, epochs=epochs, **own)
    outcomes = train_all_experts(
        bench.manifest, config, regions=regions, models=job.models, runs=job.runs, progress=job.progress
    )
    if failed := [outcome for outcome in outcomes if isinstance(outcome, Failed)]:
        raise TrainingError(f"Expert {failed[0].name} failed: {failed[0].reason}")


def _copy_models(models: Path, to: Path) -> None:
    for path in sorted(models.rglob("*.safetensors")):
        copy = to / path.relative_to(models)
        if not copy.is_file():
            make_folder(copy.parent)
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)


def _hard_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch")


def _soft_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch", top_k=TOP_K)


def _centroid_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch", top_k=TOP_K, near_km=math.inf)


def _refined_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch", top_k=TOP_K, gallery=True)


def _nearest_photo(job: Job) -> Geolocator:
    return NearestPhoto.load(job.models, runtime="torch")


def _where(job: Job, run_name: str) -> dict[str, Any]:
    """Say where a training puts what it makes, and which interrupted run of it there is to go on with."""
    return {
        "regions": job.bench.regions,
        "models": job.models,
        "runs": job.runs,
        "resume": unfinished_run(job.runs, run_name),
        "progress": job.progress,
    }


def unfinished_run(runs: Path, name: str) -> Path | None:
    """Find the newest interrupted run of a name that can be gone on with, if there is one."""
    folders = [path.parent for path in runs.glob(f"{name}-*/snapshot.safetensors")]
    return max(folders, default=None)


# ── the ladder ───────────────────────────────────────────────────────────────────────────────────────────────────────

DIRECTOR = Training("director", _train_director)
EXPERTS_BOX = Training("experts-box", _train_own_experts)
EXPERTS_CELLS = Training("experts-cells", partial(_train_own_experts, head="cells", cells_count=EXPERT_CELLS))
WHOLE_DIRECTOR = Training("director-whole", _train_whole_director)
HEADS = Training("heads", _train_heads)
REGRESSION_SQUARE = Training("regression-square", _train_square)
REGRESSION_VECTOR = Training("regression-vector", _train_vector)
CELLS = Training("cells", _train_cells)
HIERARCHICAL = Training("hierarchical", _train_hierarchical)

LADDER: Sequence[Method] = (
    Method("median-world", "The median place of all training photos.", _world_median),
    Method("median-region", "The median place of the true region, which is told.", _region_median, told_truth=True),
    Method("median-country", "The median place of the true country, which is told.", _country_median, told_truth=True),
    Method(
        "retrieval-nearest", "A Director's embedding: the place of the training photo most like it.",
        _nearest_photo, (WHOLE_DIRECTOR,),
    ),
    Method(
        "regression-latlon", "One network, two sigmoids: latitude and longitude in one box around the globe.",
        _regression, (REGRESSION_SQUARE,),
    ),
    Method(
        "regression-vector", "One network, three outputs: a unit vector on the sphere.",
        _regression, (REGRESSION_VECTOR,),
    ),
    Method("cells", "One network: which of the world's cells, and the offset in it.", _hierarchical, (CELLS,)),
    Method(
        "hierarchical", "The second system, one network: country, region, city, and the offset in it.",
        _hierarchical, (HIERARCHICAL,),
    ),
    Method(
        "cascade-hard-box", "The original: the Director's best region, and a point in the box of its Expert.",
        _hard_cascade, (DIRECTOR, EXPERTS_BOX),
    ),
    Method(
        "cascade-soft-box", "The same networks: the best place of the Experts of several regions.",
        _soft_cascade, (DIRECTOR, EXPERTS_BOX),
    ),
    Method(
        "cascade-centroid-box", "The same networks: the mean of those places, weighed by their probabilities.",
        _centroid_cascade, (DIRECTOR, EXPERTS_BOX),
    ),
    Method(
        "cascade-hard-cells", "The Director's best region, and a cell and offset of its Expert.",
        _hard_cascade, (DIRECTOR, EXPERTS_CELLS),
    ),
    Method(
        "cascade-soft-cells", "The same networks: the best place of the Experts of several regions.",
        _soft_cascade, (DIRECTOR, EXPERTS_CELLS),
    ),
    Method(
        "cascade-centroid-cells", "The same networks: the mean of those places, weighed by their probabilities.",
        _centroid_cascade, (DIRECTOR, EXPERTS_CELLS),
    ),
    Method(
        "cascade-trunk-cells", "The Director with the whole budget, Experts as heads on its trunk; soft routing.",
        _soft_cascade, (WHOLE_DIRECTOR, HEADS),
    ),
    Method(
        "cascade-trunk-retrieval", "The same, refined by the training photos most like it in those regions.",
        _refined_cascade, (WHOLE_DIRECTOR, HEADS),
    ),
)  # fmt: skip
"""Every rung, in the order of the table."""


def pick_methods(names: Sequence[str]) -> list[Method]:
    """Give the methods of some names, or those that hold a word: `cascade` is every cascade. No name is all of them.

    Raises:
        ConfigError: no method has such a name.
    """
    chosen: dict[str, Method] = {}
    for name in names or [""]:
        exact = [method for method in LADDER if method.name == name]
        found = exact or [method for method in LADDER if name in method.name]
        if not found:
            known = ", ".join(method.name for method in LADDER)
            raise ConfigError(
                f"There is no method '{name}'. There are {known}; a part of a name takes all that hold it."
            )
        chosen |= {method.name: method for method in found}
    return [method for method in LADDER if method.name in chosen]
