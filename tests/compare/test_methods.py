"""The rungs: what each trains with its budget, that an interrupted one goes on, and what the medians are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_photos import PLACES, REGIONS, Interrupted

from geomind.checkpoints import director_path, expert_path, read_description
from geomind.compare import methods
from geomind.compare.ladder import Bench, Job, Training, climb, photos_seen
from geomind.compare.methods import DIRECTOR, EXPERTS_BOX, HEADS, LADDER, WHOLE_DIRECTOR, pick_methods
from geomind.errors import ConfigError, TrainingError
from geomind.progress import SILENT
from geomind.training import runs
from geomind.training.experts import Failed


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "draw_curves", lambda *_, **__: None)


def job(bench: Bench, folder: Path, budget: int = 4) -> Job:
    return Job(bench, 0, budget, folder / "models", folder / "runs", {}, SILENT)


def test_every_name_holds_its_word_and_every_rung_says_what_it_is() -> None:
    words = ("cascade", "regression", "cells", "hierarchical", "retrieval", "median")
    for method in LADDER:
        assert any(word in method.name for word in words), method.name
        assert method.about.endswith(".")
        assert method.told_truth == ("told" in method.about)
    assert len({method.name for method in LADDER}) == len(LADDER)


def test_methods_are_picked_by_name_or_by_word() -> None:
    assert pick_methods([]) == list(LADDER)
    assert [method.name for method in pick_methods(["regression", "median-world"])] == [
        "median-world", "regression-latlon", "regression-vector",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"no method 'cascades'.*cascade-hard-box"):
        pick_methods(["cascades"])


def climbed(training: Training, begun: Job) -> Job:
    """Do a training after the Director that it needs."""
    DIRECTOR.train(begun)
    own = replace(begun, models=begun.models.with_name("own"), trained={DIRECTOR.name: begun.models})
    training.train(own)
    return own


def test_a_cascade_shares_its_budget(bench: Bench, tmp_path: Path) -> None:
    own = climbed(EXPERTS_BOX, job(bench, tmp_path, budget=5))
    assert read_description(director_path(own.models)).config["max_epochs"] == 2
    for region_id in PLACES:
        expert = read_description(expert_path(own.models, REGIONS[region_id]))
        assert expert.config["max_epochs"] == 3
        assert expert.config["backbone"]["weights"] == "director.safetensors"
    assert photos_seen(tmp_path / "runs", 12) == 5 * 12  # as much as one network sees


def test_heads_on_a_trunk_take_one_pass_of_the_budget(bench: Bench, tmp_path: Path) -> None:
    begun = job(bench, tmp_path, budget=5)
    WHOLE_DIRECTOR.train(begun)
    assert photos_seen(begun.runs, 12) == 5 * 12  # four epochs and the gallery's pass
    own = replace(
        begun, models=tmp_path / "own", runs=tmp_path / "own-runs", trained={WHOLE_DIRECTOR.name: begun.models}
    )
    HEADS.train(own)
    assert photos_seen(own.runs, 12) == 12
    expert = read_description(expert_path(own.models, REGIONS[6]))
    assert expert.trunk == read_description(director_path(own.models)).trunk
    assert expert.cells is not None


def test_an_interrupted_cascade_goes_on(bench: Bench, tmp_path: Path) -> None:
    bench = replace(bench, settings={**bench.settings, "snapshot_seconds": 0.0, "batch_size": 4})
    begun = job(bench, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        climbed(EXPERTS_BOX, replace(begun, progress=Interrupted(at_batch=4)))
    assert methods.unfinished_run(begun.runs, "director") is not None
    climbed(EXPERTS_BOX, begun)
    assert methods.unfinished_run(begun.runs, "director") is None
    assert len(list(begun.runs.glob("director-*"))) == 1
    assert photos_seen(begun.runs, 12) == 4 * 12
    climbed(EXPERTS_BOX, begun)  # as after a kill before its record was written
    assert photos_seen(begun.runs, 12) == 4 * 12


def test_a_cascade_without_one_of_its_experts_is_no_rung(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "train_all_experts", lambda *_, **__: [Failed("East Asia", "no memory")])
    with pytest.raises(TrainingError, match="Expert East Asia failed: no memory"):
        climbed(EXPERTS_BOX, job(bench, tmp_path))


def test_medians_know_what_they_are_told_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    places = {method.name: method.answer(job(bench, tmp_path)) for method in pick_methods(["median"])}
    world = places["median-world"]
    assert isinstance(world, np.ndarray)
    assert len(np.unique(world, axis=0)) == 1
    for name in ("median-region", "median-country"):
        told: Any = places[name]
        assert np.abs(told - np.repeat(list(PLACES.values()), 2, axis=0)).max() < 6  # of the steps to the north


def test_the_whole_ladder_climbs(bench: Bench, tmp_path: Path) -> None:
    done = climb(bench, LADDER, seeds=[0], budget=2, output=tmp_path / "out")
    assert not done.failures
    trained = [rung for rung in done.rungs if rung.key.method.split("-")[0] != "median"]
    seen = {rung.key.method: rung.costs.images_seen for rung in trained}
    # Heads look once more: the Director looked for its gallery.
    assert {name: photos // 12 for name, photos in seen.items() if photos != 2 * 12} == dict.fromkeys(
        ("cascade-trunk-cells", "cascade-trunk-retrieval"), 3
    )
    assert all(np.isfinite(rung.judged.distance_km).all() for rung in done.rungs)
    cascade, regression = (
        next(rung.costs.parameters for rung in trained if rung.key.method == name)
        for name in ("cascade-hard-box", "regression-latlon")
    )
    assert 3.9 < cascade / regression < 4.1  # a Director and three Experts
    costs = {rung.key.method: rung.costs for rung in done.rungs}
    assert costs["cascade-trunk-retrieval"].parameters == costs["cascade-trunk-cells"].parameters  # a gallery is photos
    assert costs["cascade-soft-box"].train_seconds == costs["cascade-hard-box"].train_seconds
