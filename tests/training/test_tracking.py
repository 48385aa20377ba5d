from __future__ import annotations

import sys
from pathlib import Path

import pytest
from few_photos import DIRECTOR, REGIONS, write_photos

from geomind.errors import MissingExtraError
from geomind.training.director import train_director
from geomind.training.tracking import Events, require_tensorboard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the event files as TensorBoard does."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def test_without_wanting_any_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    with Events(tmp_path, wanted=False) as events:
        events.add({"loss": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []


def test_wanting_them_needs_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "geomind\[track\]", or --set tensorboard=false'):
        require_tensorboard()
    with pytest.raises(MissingExtraError):
        Events(tmp_path, wanted=True)


def test_scalars_are_in_the_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Events(tmp_path, wanted=True) as events:
        for batch in (1, 2, 3):
            events.add({"batch_loss": 1 / batch}, batch)
        events.add({"val_loss": 0.25, "val_accuracy": 0.5}, 3)
    assert scalars(tmp_path) == {
        "batch_loss": [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))],
        "val_loss": [(3, 0.25)],
        "val_accuracy": [(3, 0.5)],
    }


def test_what_came_after_the_snapshot_is_told_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Events(tmp_path, wanted=True) as events:
        for batch in (1, 2, 3, 4):
            events.add({"batch_loss": float(batch)}, batch)
    with Events(tmp_path, wanted=True, first=2) as events:  # killed, and gone on with after batch 2
        for batch in (3, 4):
            events.add({"batch_loss": float(10 * batch)}, batch)
    told = scalars(tmp_path)["batch_loss"]
    assert told[-2:] == [(3, 30.0), (4, 40.0)]
    assert len([batch for batch, _ in told if batch >= 3]) == 2


def test_a_training_writes_them_into_its_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = DIRECTOR.model_copy(update={"tensorboard": True, "max_epochs": 2, "batch_size": 9})
    trained = train_director(
        write_photos(tmp_path), config, regions=REGIONS, models=tmp_path / "models", runs=tmp_path / "runs"
    )
    told = scalars(trained.run)
    assert [batch for batch, _ in told["batch_loss"]] == [1, 2, 3, 4]
    assert [batch for batch, _ in told["val_loss"]] == [2, 4]
    best = min(value for _, value in told["val_loss"])
    assert best == pytest.approx(trained.metrics["val_loss"], rel=1e-5)
    assert {"epoch", "train_loss", "val_accuracy", "val_geoscore", "learning_rate", "photos_per_s"} <= told.keys()
