from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from few_photos import DIRECTOR, EXPERT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geomind.config import DirectorConfig, ExpertConfig, TrainingConfig, load_config
from geomind.errors import ConfigError, OutputError
from geomind.training.runs import FREE_TO_CHANGE, Origin, Run, git_commit

ORIGIN = Origin("director", "/data/manifest.csv", "abc", "0123", "trunk", photos=18, validation_photos=6)
EPOCHS = [
    {"epoch": number, "train_loss": 2 / number, "val_loss": 3 / number, "val_accuracy": 0.5, "learning_rate": 1e-3}
    for number in (1.0, 2.0, 3.0)
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.start(tmp_path / "runs", ORIGIN, DIRECTOR)


def test_a_run_says_what_it_is_made_of(run: Run) -> None:
    assert run.folder.name.startswith("director-")
    assert load_config(DirectorConfig, run.settings) == DIRECTOR
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts == run.facts
    assert {name: facts[name] for name in vars(ORIGIN)} == vars(ORIGIN)
    assert facts.keys() >= {"command", "started", "git_commit", "geomind", "torch", "python", "cores"}
    assert "finished" not in facts


def test_two_runs_may_start_in_one_second(tmp_path: Path) -> None:
    assert len({Run.start(tmp_path, ORIGIN, DIRECTOR).folder for _ in range(5)}) == 5


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Run.start(tmp_path / "file" / "runs", ORIGIN, DIRECTOR)


def test_metrics_are_there_for_anybody_who_watches(run: Run) -> None:
    for seen in (1, 2, 3):
        run.log_epochs(EPOCHS[:seen])
        with (run.folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2", "3"][:seen]
        assert float(rows[-1]["train_loss"]) == pytest.approx(2 / seen, rel=1e-5)


def test_what_is_said_goes_to_the_runs_log(run: Run) -> None:
    with run.log():
        logging.getLogger("geomind.training").info("hello")
    assert "hello" in (run.folder / "run.log").read_text()


def test_a_finished_run_has_curves_and_no_snapshot(run: Run) -> None:
    run.snapshot.write_bytes(b"")
    before = run.facts
    run.finish(EPOCHS)
    assert not run.snapshot.exists()
    assert run.facts == {**before, "finished": run.facts["finished"], "epochs": 3}
    assert json.loads((run.folder / "run.json").read_text()) == run.facts
    with Image.open(run.folder / "curves.png") as curves:
        assert curves.width > 600
    with pytest.raises(ConfigError, match=r"is finished: there is nothing to resume. Start a new run without --resume"):
        Run.resume(run.folder, ORIGIN, DIRECTOR)


def test_the_same_training_is_resumed(run: Run) -> None:
    assert Run.resume(run.folder, ORIGIN, DIRECTOR) == run
    assert Run.resume(str(run.folder), replace(ORIGIN, data="/elsewhere/manifest.csv"), DIRECTOR) == run  # it moved


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"name": "expert-05"}, "it trains director, not expert-05"),
        ({"regions": "4567"}, "it knows another table of regions"),
        ({"data_hash": "abd"}, "its manifest was another, or /data/manifest.csv has changed since"),
        ({"photos": 19}, "it learned from 18 photos, not 19"),
    ],
)
def test_another_training_is_refused(run: Run, other: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Run.resume(run.folder, replace(ORIGIN, **other), DIRECTOR)
    assert str(refused.value) == f"{run.folder} is another training: {said}. Start a new run without --resume."


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", "\x00"])
def test_what_is_no_run_folder(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json"):
        Run.resume(tmp_path, ORIGIN, DIRECTOR)


def settings_of(config: TrainingConfig) -> list[str]:
    keys = []
    for key, value in config.model_dump().items():
        keys += [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else [key]
    return keys


def with_another(config: TrainingConfig, key: str) -> TrainingConfig:
    """Change one setting to whatever else, allowed or not."""
    name, _, inner = key.partition(".")
    if inner:
        return config.model_copy(update={name: with_another(getattr(config, name), inner)})
    old = getattr(config, name)
    new = not old if isinstance(old, bool) else f"{old}x" if isinstance(old, str) else old + 1
    return config.model_copy(update={name: new})


@pytest.mark.parametrize("config", [DIRECTOR, EXPERT], ids=["director", "expert"])
def test_every_setting_that_decides_what_is_learned_must_be_the_same(tmp_path: Path, config: TrainingConfig) -> None:
    run = Run.start(tmp_path, ORIGIN, config)
    assert set(settings_of(config)) >= FREE_TO_CHANGE
    for key in settings_of(config):
        other = with_another(config, key)
        if key in FREE_TO_CHANGE:
            assert Run.resume(run.folder, ORIGIN, other) == run
        else:
            with pytest.raises(ConfigError, match=rf"it was started with {key}=.*, not "):
                Run.resume(run.folder, ORIGIN, other)


@given(rate=st.floats(1e-12, 1e6), seed=st.integers(0, 2**32 - 1), name=st.text(max_size=20))
def test_settings_come_back_from_the_run_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rate: float, seed: int, name: str
) -> None:
    config = ExpertConfig.model_validate({"learning_rate": rate, "seed": seed, "backbone": {"name": name}})
    run = Run.start(tmp_path_factory.mktemp("runs"), ORIGIN, config)
    assert Run.resume(run.folder, ORIGIN, config) == run
    assert load_config(ExpertConfig, run.settings) == config


def test_the_newest_interrupted_run_of_the_same_training_is_found(tmp_path: Path) -> None:
    origin = replace(ORIGIN, name="expert-05")

    def start(moment: str, *, origin: Origin = origin, config: TrainingConfig = EXPERT, snapshot: bool = True) -> Run:
        run = Run.start(tmp_path, origin, config)
        named = Run(run.folder.rename(tmp_path / f"{origin.name}-20260101-{moment}"))
        if snapshot:
            named.snapshot.write_bytes(b"")
        return named

    def found() -> Run | None:
        return Run.find_unfinished(tmp_path, origin, EXPERT)

    assert found() is None
    older = start("000001")
    assert found() == older
    newer = start("000002")
    start("000003", snapshot=False)  # killed before it had one
    start("000004", config=EXPERT.model_copy(update={"seed": 1}))
    start("000005", origin=replace(origin, data_hash="other"))
    start("000006").finish(EPOCHS)
    (tmp_path / "expert-05-mine").mkdir()
    start("000007", origin=replace(origin, name="expert-051"))
    assert found() == newer
    newer.finish(EPOCHS)
    assert found() == older


def test_weights_are_named_by_what_they_were_chosen_by(run: Run) -> None:
    assert run.weights("accuracy") == run.folder / "best-accuracy.safetensors"
    assert run.weights("last") == run.folder / "last.safetensors"


def test_outside_of_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() == ""
    monkeypatch.setenv("PATH", "")
    assert git_commit() == ""
