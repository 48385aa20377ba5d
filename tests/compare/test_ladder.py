"""The ladder does each thing once, goes on where it stopped, and lets no failure take the others along."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from few_photos import REGIONS

from geomind.checkpoints import Description, save_checkpoint
from geomind.compare.ladder import Bench, Job, Method, Training, climb, photos_seen
from geomind.compare.results import RECORD
from geomind.compare.table import FILES
from geomind.config import DirectorConfig, RegressionConfig
from geomind.errors import ConfigError, OutputError, TrainingError
from geomind.evaluation.judging import Truth
from geomind.photos import Preprocessing
from geomind.predictions import Prediction

ABOUT = Description(
    kind="expert", region_table=REGIONS.to_dict(), preprocessing=Preprocessing(image_size=32), backbone="scene_net",
    config={},
)  # fmt: skip


class Reader:
    """Answers 1 degree north of the place that a photo's red says: its step, see few_photos."""

    extra_columns: tuple[str, ...] = ()
    preprocessing = Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))

    def locate(self, pixels: np.ndarray, image_paths: Sequence[str]) -> list[Prediction]:
        south = {"2": 60.0, "6": 36.0, "9": -2.0}
        east = {"2": 10.0, "6": 138.0, "9": 36.0}
        steps = np.round(pixels[:, 0].mean(axis=(1, 2)) * 7)
        return [
            Prediction(image_path=path, latitude=south[path[0]] + step + 1, longitude=east[path[0]])
            for path, step in zip(image_paths, steps.tolist(), strict=True)
        ]


class Trainer:
    """Trains in no time, and keeps count."""

    def __init__(self, fails: int = 0) -> None:
        self.jobs: list[Job] = []
        self.fails = fails

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        if self.fails:
            self.fails -= 1
            raise TrainingError("the loss is not a number")
        state = {"head.1.weight": torch.zeros(3, 5), "norm.running_mean": torch.zeros(100)}
        save_checkpoint(job.models / "weights.safetensors", state, ABOUT)
        run = job.runs / "director-1"
        run.mkdir(parents=True)
        facts = {"name": "director", "data": "", "photos": 12, "epochs": job.budget, "finished": "now"}
        (run / "run.json").write_text(json.dumps(facts))


def read(job: Job) -> Reader:
    return Reader()


def at_the_truth(job: Job) -> np.ndarray:
    return Truth.read(job.bench.manifest, job.bench.regions).points


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_methods_share_a_training_and_all_files_are_there(bench: Bench, tmp_path: Path) -> None:
    train, output = Trainer(), tmp_path / "out"
    shared = Training("shared", train)
    methods = [
        Method("told", "", at_the_truth, told_truth=True),
        Method("hard", "", read, (shared,)),
        Method("soft", "", read, (shared,)),
    ]
    done = climb(bench, methods, seeds=[0, 3], budget=4, output=output)
    assert [(job.seed, job.budget) for job in train.jobs] == [(0, 4), (3, 4)]
    assert not done.failures
    assert {path.name for path in output.iterdir()} >= set(FILES)
    table = rows(output)
    assert [(row["method"], row["seed"]) for row in table] == [
        ("told", "0"), ("told", "3"), ("hard", "0"), ("hard", "3"), ("soft", "0"), ("soft", "3"),
    ]  # fmt: skip
    assert float(table[0]["geoscore"]) == 5000
    assert float(table[2]["median_km"]) == pytest.approx(111.19, abs=0.01)
    assert table[0]["images_per_s"] == ""
    assert float(table[2]["images_per_s"]) > 0
    assert [row["parameters"] for row in table] == ["0", "0", "15", "15", "15", "15"]
    assert [row["images_seen"] for row in table] == ["0", "0", "48", "48", "48", "48"]
    assert json.loads((output / "table.json").read_text())[2]["method"] == "hard"


def test_a_later_training_finds_the_earlier_ones_and_the_answer_the_last(bench: Bench, tmp_path: Path) -> None:
    first, second = Trainer(), Trainer()
    answering: list[Job] = []

    def answer(job: Job) -> Reader:
        answering.append(job)
        return Reader()

    method = Method("gallery", "", answer, (Training("trunk", first), Training("gallery", second)))
    done = climb(bench, [method], seeds=[0], budget=4, output=tmp_path / "out")
    assert first.jobs[0].models != second.jobs[0].models == answering[0].models
    assert answering[0].trained["trunk"] == first.jobs[0].models
    assert done.rungs[0].costs.parameters == 15  # those of the last, which answers
    assert done.rungs[0].costs.images_seen == 96


def test_what_is_finished_is_not_done_again(bench: Bench, tmp_path: Path) -> None:
    train, output = Trainer(), tmp_path / "out"
    hard = Method("hard", "", read, (Training("shared", train),))
    before = climb(bench, [hard], seeds=[0], budget=4, output=output)
    soft = Method("soft", "", read, hard.trainings)
    done = climb(bench, [hard, soft], seeds=[0], budget=4, output=output)
    assert len(train.jobs) == 1
    assert done.done_before == 1
    assert done.rungs[0].flat() == before.rungs[0].flat()
    assert done.rungs[1].costs.train_seconds == before.rungs[0].costs.train_seconds
    (output / "rungs" / "hard-0" / RECORD).unlink()  # as after a kill between training and answers
    assert climb(bench, [hard, soft], seeds=[0], budget=4, output=output).done_before == 1
    assert len(train.jobs) == 1


def test_the_time_of_an_interrupted_training_counts(bench: Bench, tmp_path: Path) -> None:
    train = Trainer()

    def interrupted(job: Job) -> None:
        if not train.jobs:
            train.jobs.append(job)
            raise KeyboardInterrupt
        train(job)

    method = Method("hard", "", read, (Training("shared", interrupted),))
    with pytest.raises(KeyboardInterrupt):
        climb(bench, [method], seeds=[0], budget=4, output=tmp_path)
    record = tmp_path / "trainings" / "shared-0" / "training.json"
    facts = json.loads(record.read_text())
    assert not facts["finished"]
    record.write_text(json.dumps({**facts, "seconds": 1000.0}))
    done = climb(bench, [method], seeds=[0], budget=4, output=tmp_path)
    assert 1000 < done.rungs[0].costs.train_seconds < 1060


def test_a_failure_is_told_and_the_others_go_on(bench: Bench, tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    train = Trainer(fails=1)
    broken = Training("broken", train)

    def bug(job: Job) -> Reader:
        raise ZeroDivisionError("oh")

    methods = [
        Method("hard", "", read, (broken,)),
        Method("soft", "", read, (broken,)),
        Method("buggy", "", bug),
        Method("told", "", at_the_truth),
    ]
    done = climb(bench, methods, seeds=[0], budget=4, output=tmp_path / "out")
    assert [(failure.method, failure.reason) for failure in done.failures] == [
        ("hard", "the loss is not a number"),
        ("soft", "its training 'broken' failed before: the loss is not a number"),
        ("buggy", "ZeroDivisionError: oh"),
    ]
    assert len(train.jobs) == 1  # an hour is not lost once a method
    assert "the loss is not a number" in heard.text
    assert [row["method"] for row in rows(tmp_path / "out")] == ["told"]
    done = climb(bench, methods[:2], seeds=[0], budget=4, output=tmp_path / "out")
    assert not done.failures
    assert len(train.jobs) == 2


def test_a_photo_that_cannot_be_read_is_a_miss(bench: Bench, tmp_path: Path) -> None:
    (bench.manifest.parent / "6-2.png").write_bytes(b"no photo")
    done = climb(bench, [Method("hard", "", read)], seeds=[0], budget=4, output=tmp_path / "out")
    distance = done.rungs[0].judged.distance_km
    assert np.isinf(distance).tolist() == [False, False, True, False, False, False]


def test_nothing_is_mixed_with_another_comparison(bench: Bench, tmp_path: Path) -> None:
    method = Method("told", "", at_the_truth)
    climb(bench, [method], seeds=[0], budget=4, output=tmp_path / "out")
    with pytest.raises(OutputError, match="budget differ"):
        climb(bench, [method], seeds=[0], budget=6, output=tmp_path / "out")
    other = replace(bench, settings={**bench.settings, "learning_rate": 0.1})
    with pytest.raises(OutputError, match="settings differ"):
        climb(other, [method], seeds=[0], budget=4, output=tmp_path / "out")


def test_what_makes_no_sense_is_refused_before_it_begins(bench: Bench, tmp_path: Path) -> None:
    told, train = Method("told", "", at_the_truth), Trainer()
    for methods, seeds, budget, reason in (
        ([], [0], 4, "There is no method"),
        ([told], [], 4, "There is no seed"),
        ([told, told], [0], 4, "method stands twice in told, told"),
        ([told], [1, 1], 4, "seed stands twice"),
        ([told], [0], 1, "2 epochs or more"),
        (
            [Method("a", "", read, (Training("t", train),)), Method("b", "", read, (Training("t", Trainer()),))],
            [0],
            4,
            "Two trainings are called 't'",
        ),
    ):
        with pytest.raises(ConfigError, match=reason):
            climb(bench, methods, seeds=seeds, budget=budget, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_are_those_of_the_bench_and_a_methods_own_on_top(bench: Bench) -> None:
    bench = replace(bench, director_settings={"label_smoothing": 0.1}, place_settings={"dropout": 0.5})
    director = bench.config(DirectorConfig, seed=3, epochs=7)
    assert (director.image_size, director.label_smoothing, director.dropout) == (32, 0.1, 0.2)
    assert (director.seed, director.max_epochs) == (3, 7)
    place = bench.config(RegressionConfig, seed=0, epochs=1, output="vector", image_size=64)
    assert (place.image_size, place.dropout, place.output) == (64, 0.5, "vector")


def test_only_runs_that_ended_count_as_seen(tmp_path: Path) -> None:
    for name, facts in (
        ("a", {"photos": 10, "epochs": 3, "finished": "now"}),
        ("b", {"photos": 5, "epochs": 2, "finished": "now"}),
        ("c", {"photos": 99}),
        ("d", {"photos": 10, "epochs": 60, "finished": "now", "freeze": "backbone"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"name": name, "data": "", **facts}))
    assert photos_seen(tmp_path, 12) == 40
    (tmp_path / "features").mkdir()
    assert photos_seen(tmp_path, 12) == 52  # the one pass over all photos that a frozen trunk takes
    assert photos_seen(tmp_path / "none", 12) == 0
