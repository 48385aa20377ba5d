"""All Experts in one go: what is skipped, what fails alone, and how it goes on after an interruption."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from few_photos import DIRECTOR, EXPERT, PLACES, REGIONS, Interrupted

from geomind.checkpoints import expert_path, load_checkpoint
from geomind.config import BackboneConfig, ExpertConfig
from geomind.errors import (
    CheckpointError,
    ConfigError,
    GeoMindError,
    ManifestError,
    MissingExtraError,
    OutputError,
    TrainingError,
)
from geomind.progress import Progress
from geomind.training import expert, experts
from geomind.training.director import train_director
from geomind.training.expert import train_expert
from geomind.training.experts import Failed, Outcome, Skipped, train_all_experts
from geomind.training.stage import Trained

pytestmark = pytest.mark.usefixtures("no_curves")


def config(**settings: Any) -> ExpertConfig:
    return EXPERT.model_copy(update=settings)


def of(kind: type[Outcome], outcomes: list[Outcome]) -> list[int]:  # type: ignore[valid-type]
    return [number for number, outcome in enumerate(outcomes) if isinstance(outcome, kind)]


def test_regions_without_photos_and_experts_there_already_are_skipped(data: Path, folders: dict[str, Any]) -> None:
    first = train_expert(data, 6, EXPERT, **folders)
    before = first.weights.read_bytes()
    done = train_all_experts(data, EXPERT, **folders)
    assert of(Trained, done) == [2, 9]
    assert of(Skipped, done) == [r for r in range(13) if r not in (2, 9)]
    assert [outcome.name for outcome in done] == [region.name for region in REGIONS.regions]
    assert "there already" in done[6].reason  # type: ignore[union-attr]
    assert first.weights.read_bytes() == before
    with pytest.raises(TrainingError, match="has one already, or no photos"):
        train_all_experts(data, EXPERT, **folders)
    assert of(Trained, train_all_experts(data, EXPERT, **folders, overwrite=True)) == [2, 6, 9]


def test_a_failure_does_not_stop_the_others(
    data: Path, folders: dict[str, Any], heard: pytest.LogCaptureFixture
) -> None:
    for path in data.parent.glob("6-*.png"):
        path.write_bytes(b"no photo")
    done = train_all_experts(data, EXPERT, **folders)
    assert of(Trained, done) == [2, 9]
    assert done[6] == Failed("East Asia", "None of the training photos could be read; see the warnings above.")
    assert "Expert 6 'East Asia' failed: None of the training photos" in heard.text
    assert not expert_path(folders["models"], REGIONS[6]).exists()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"backbone": BackboneConfig(name="scene_nett", weights="none")}, ConfigError, "scene_nett"),
        ({"backbone": BackboneConfig(name="scene_net", weights="none.pth")}, CheckpointError, r"none\.pth"),
        ({"freeze": "blocks:50"}, ConfigError, "this backbone has 5 blocks"),
        ({"device": "cuda"}, ConfigError, "no CUDA GPU"),
        ({"precision": "fp16"}, ConfigError, "needs a GPU"),
        ({"tensorboard": True}, MissingExtraError, "TensorBoard is not installed"),
        ({"routed": True}, CheckpointError, "routed=true"),
    ],
)
def test_what_is_wrong_for_all_experts_is_said_once_and_at_once(
    data: Path, folders: dict[str, Any], settings: dict[str, Any], error: type[GeoMindError], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`--region all` met a misspelt backbone 13 times and then named another reason."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(error, match=said):
        train_all_experts(data, config(**settings), **folders)
    assert not folders["runs"].exists()


def test_folders_that_cannot_be_used_are_said_at_once(data: Path, folders: dict[str, Any]) -> None:
    with pytest.raises(OutputError, match="is a file"):
        train_all_experts(data, EXPERT, **{**folders, "models": data})
    with pytest.raises(ManifestError, match=r"none\.csv"):
        train_all_experts("none.csv", EXPERT, **folders)
    train_director(data, DIRECTOR, **folders)
    with pytest.raises(ConfigError, match="--set image_size=32"):
        train_all_experts(data, config(image_size=64), **folders)


def test_processes_of_torchrun_share_each_expert(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="leave out --jobs"):
        train_all_experts(data, EXPERT, **folders, jobs=2)


def test_routed_experts_ask_the_director_once(
    data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_director(data, DIRECTOR, **folders)
    asked, route = [], expert.route

    def counted(*arguments: Any, **more: Any) -> Any:
        asked.append(route(*arguments, **more))
        return asked[-1]

    monkeypatch.setattr(expert, "route", counted)
    done = train_all_experts(data, config(routed=True), **folders)
    assert of(Trained, done) == list(PLACES)  # others get no Expert, whatever is sent there
    (routed,) = asked
    for region_id in PLACES:
        others = int((routed == region_id).sum()) + 6
        own = [number for number, place in enumerate([2] * 6 + [6] * 6 + [9] * 6) if place == region_id]
        assert done[region_id].photos == others - int((routed[own] == region_id).sum())  # type: ignore[union-attr]


# ── going on after an interruption ──

LONGER = config(max_epochs=3, batch_size=2)
"""Nine batches a region."""


def test_an_interrupted_expert_is_gone_on_with_by_itself(data: Path, folders: dict[str, Any]) -> None:
    whole = train_expert(data, 6, LONGER, **{**folders, "models": data.parent / "elsewhere"})
    with pytest.raises(KeyboardInterrupt):
        train_all_experts(data, LONGER, **folders, progress=Interrupted(9 + 4))  # in the second region
    runs_before = set(folders["runs"].iterdir())
    (begun,) = (path.parent for path in folders["runs"].glob("expert-06-*/snapshot.safetensors"))
    done = train_all_experts(data, LONGER, **folders)
    assert isinstance(done[2], Skipped)  # it was ready
    gone_on, fresh = done[6], done[9]
    assert isinstance(gone_on, Trained)
    assert isinstance(fresh, Trained)
    assert gone_on.run == begun
    assert fresh.run not in runs_before
    (left, _), (right, _) = (load_checkpoint(trained.weights, "expert") for trained in (gone_on, whole))
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not (begun / "snapshot.safetensors").exists()


def test_an_interrupted_expert_of_other_settings_is_begun_anew(data: Path, folders: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_all_experts(data, LONGER, **folders, progress=Interrupted(4))
    (begun,) = (path.parent for path in folders["runs"].glob("expert-02-*/snapshot.safetensors"))
    done = train_all_experts(data, config(max_epochs=2), **folders)
    assert isinstance(done[2], Trained)
    assert done[2].run != begun
    assert (begun / "snapshot.safetensors").exists()


# ── in processes; what they do stands here by name, so that a process of its own finds it ──


def _give_threads(progress: Progress) -> Any:
    return torch.get_num_threads()


def _refuse(progress: Progress) -> Any:
    raise TrainingError("No photo could be read.")


def _die(progress: Progress) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(progress: Progress) -> Any:
    os._exit(3)


def _sleep(progress: Progress) -> Any:
    time.sleep(120)


def test_what_happens_to_one_process_is_no_matter_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    work = {5: _die, 3: _give_threads, 2: _leave}
    assert dict(experts._side_by_side(work, jobs=2)) == {
        5: "its process was ended by SIGKILL. See its run.log, and lower --jobs if memory ran out.",
        3: 3,  # each its share of the cores
        2: "its process ended with exit code 3. See its run.log, and lower --jobs if memory ran out.",
    }


def test_an_interruption_ends_what_is_at_work_and_begins_nothing_more() -> None:
    """The one that began in the moment of the interruption was not told, and was waited for to its end."""
    started = time.monotonic()
    answers = experts._side_by_side({1: _refuse, 2: _sleep, 3: _sleep, 4: _sleep}, jobs=2)
    assert next(answers) == (1, "No photo could be read.")
    answers.close()  # as Ctrl-C does
    assert time.monotonic() - started < 100
    assert not multiprocessing.active_children()
