"""The rungs of the ladder: what each trains with the budget, and how it answers. It runs none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from geomind.baselines import Regression, median_places
from geomind.cascade import Cascade, Geolocator
from geomind.checkpoints import director_path, expert_path, hierarchical_path, regression_path
from geomind.compare.ladder import Job, Method, Training
from geomind.compare.results import Truth
from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig, HierarchicalConfig, RegressionConfig
from geomind.errors import ConfigError, TrainingError
from geomind.geography.sphere import Points
from geomind.hierarchical import Hierarchical
from geomind.retrieval import NearestPhoto
from geomind.training.director import train_director
from geomind.training.experts import Failed, train_all_experts
from geomind.training.gallery import make_director_gallery, make_expert_galleries
from geomind.training.hierarchical import train_hierarchical
from geomind.training.regression import train_regression

DIRECTOR_SHARE = 0.5
"""Of a cascade's budget; the Experts have the rest. Each photo has one Expert, so that all of them together see each
photo once an epoch."""

TOP_K = 3
"""Regions whose Experts soft routing asks."""


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
        train_regression(
            job.bench.manifest, config, regions=job.bench.regions, models=job.models, runs=job.runs,
            resume=unfinished_run(job.runs, f"regression-{config.output}"), progress=job.progress,
        )  # fmt: skip


def _regression(job: Job) -> Geolocator:
    # In torch like all rungs: other runtimes would make their files first, in the time that is measured.
    return Regression.load(regression_path(job.models), runtime="torch")


def _train_cells(job: Job) -> None:
    one_level = {"levels": {"city": 256}, "level_weights": {"city": 1.0}, "pooling": "average"}
    _train_hierarchical(job, job.bench.config(HierarchicalConfig, seed=job.seed, epochs=job.budget, **one_level))


def _train_levels(job: Job) -> None:
    _train_hierarchical(job, job.bench.config(HierarchicalConfig, seed=job.seed, epochs=job.budget))


def _train_hierarchical(job: Job, config: HierarchicalConfig) -> None:
    if not hierarchical_path(job.models).is_file():
        train_hierarchical(
            job.bench.manifest, config, regions=job.bench.regions, models=job.models, runs=job.runs,
            resume=unfinished_run(job.runs, "hierarchical"), progress=job.progress,
        )  # fmt: skip


def _hierarchical(job: Job) -> Geolocator:
    return Hierarchical.load(hierarchical_path(job.models), runtime="torch")


def _train_director(job: Job, epochs: int | None = None) -> DirectorConfig:
    """Train a Director, with the whole budget unless told otherwise; give its settings."""
    config = job.bench.config(DirectorConfig, seed=job.seed, epochs=epochs or job.budget)
    if not director_path(job.models).is_file():
        train_director(
            job.bench.manifest, config, regions=job.bench.regions, models=job.models, runs=job.runs,
            resume=unfinished_run(job.runs, "director"), progress=job.progress,
        )  # fmt: skip
    return config


def _train_retrieval(job: Job) -> None:
    config = _train_director(job)
    make_director_gallery(
        job.bench.manifest, models=job.models, runs=job.runs, workers=max(1, config.workers), device=config.device,
        progress=job.progress,
    )  # fmt: skip


def _nearest_photo(job: Job) -> Geolocator:
    return NearestPhoto.load(job.models, runtime="torch")


# ── cascades ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def train_cascade(job: Job, **expert_settings: object) -> None:
    """Train a Director and all Experts, each with its share of the budget; go on where an earlier attempt stopped.

    Raises:
        TrainingError: an Expert failed.
        GeoMindError: the manifest or the settings cannot be used.
    """
    bench, regions = job.bench, job.bench.regions
    director_epochs = max(1, round(DIRECTOR_SHARE * job.budget))
    director = _train_director(job, director_epochs)
    backbone = director.backbone
    if backbone.weights == "none":  # from nothing, an Expert of a few hundred photos would hardly learn to see
        backbone = BackboneConfig(name=backbone.name, weights=str(director_path(job.models)))
    settings = {"backbone": backbone, **expert_settings}
    expert = bench.config(ExpertConfig, seed=job.seed, epochs=job.budget - director_epochs, **settings)
    with_photos = np.unique(Truth.read(bench.manifest, regions, split="train").region_ids).tolist()
    if all(expert_path(job.models, regions[region_id]).is_file() for region_id in with_photos):
        return
    outcomes = train_all_experts(
        bench.manifest, expert, regions=regions, models=job.models, runs=job.runs, progress=job.progress
    )
    if failed := [outcome for outcome in outcomes if isinstance(outcome, Failed)]:
        raise TrainingError(f"Expert {failed[0].name} failed: {failed[0].reason}")


def _train_galleries(job: Job) -> None:
    """Make the galleries of the cascade with cells, beside its Experts, which is where they are looked for."""
    workers = max(1, job.bench.config(ExpertConfig, seed=0, epochs=1).workers)
    make_expert_galleries(
        job.bench.manifest, regions=job.bench.regions, models=job.trained[CASCADE_CELLS.name], runs=job.runs,
        workers=workers, progress=job.progress,
    )  # fmt: skip


def _hard_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch")


def _soft_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.models, runtime="torch", top_k=TOP_K)


def _refined_cascade(job: Job) -> Geolocator:
    return Cascade.load(job.trained[CASCADE_CELLS.name], runtime="torch", top_k=TOP_K, gallery=True)


def unfinished_run(runs: Path, name: str) -> Path | None:
    """Find the newest interrupted run of a name that can be gone on with, if there is one."""
    folders = [path.parent for path in runs.glob(f"{name}-*/snapshot.safetensors")]
    return max(folders, default=None)


# ── the ladder ───────────────────────────────────────────────────────────────────────────────────────────────────────

CASCADE_BOX = Training("cascade-box", train_cascade)
CASCADE_CELLS = Training("cascade-cells", partial(train_cascade, head="cells"))
GALLERIES = Training("cascade-galleries", _train_galleries)
CELLS = Training("cells", _train_cells)
HIERARCHICAL = Training("hierarchical", _train_levels)
RETRIEVAL = Training("retrieval", _train_retrieval)
REGRESSION_SQUARE = Training("regression-square", _train_square)
REGRESSION_VECTOR = Training("regression-vector", _train_vector)

LADDER: Sequence[Method] = (
    Method("median-world", "The median place of all training photos.", _world_median),
    Method(
        "median-region", "The median place of the true region, which is told.", _region_median, told_truth=True
    ),
    Method(
        "median-country", "The median place of the true country, which is told.", _country_median, told_truth=True
    ),
    Method(
        "regression-latlon", "One network, two sigmoids: latitude and longitude in one box around the globe.",
        _regression, (REGRESSION_SQUARE,),
    ),
    Method(
        "regression-vector", "One network, three outputs: a unit vector on the sphere.",
        _regression, (REGRESSION_VECTOR,),
    ),
    Method("cells", "One network, one level of cells and the offset in the cell.", _hierarchical, (CELLS,)),
    Method(
        "hierarchical", "One network, three levels of cells and the offset in the finest: the second system.",
        _hierarchical, (HIERARCHICAL,),
    ),
    Method(
        "retrieval-nearest", "The place of the training photo most like it, by the features of a Director.",
        _nearest_photo, (RETRIEVAL,),
    ),
    Method(
        "cascade-hard-box", "The original: the Director's best region, and a point in the box of its Expert.",
        _hard_cascade, (CASCADE_BOX,),
    ),
    Method(
        "cascade-soft-box", f"The same networks; the Experts of the {TOP_K} most probable regions are asked.",
        _soft_cascade, (CASCADE_BOX,),
    ),
    Method(
        "cascade-hard-cells", "The Director's best region, and a cell of its Expert's with the offset in it.",
        _hard_cascade, (CASCADE_CELLS,),
    ),
    Method(
        "cascade-soft-cells", f"The same networks; the Experts of the {TOP_K} most probable regions are asked.",
        _soft_cascade, (CASCADE_CELLS,),
    ),
    Method(
        "cascade-soft-retrieval", "The same, refined by the training photos most like a photo.",
        _refined_cascade, (CASCADE_CELLS, GALLERIES),
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
