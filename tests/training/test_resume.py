"""Real processes that are killed, told to stop, or train together: what they leave is what one of them alone leaves."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_fit
from tiny_fit import draw_manifest, draw_photos

from geomind.checkpoints import director_path, load_checkpoint

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

SETTINGS = (
    "backbone.name=scene_net", "backbone.weights=none", "image_size=32", "batch_size=3", "accumulate=2",
    "max_epochs=8", "learning_rate=1e-3", "dropout=0.3", "mixup_alpha=0.3", "workers=1", "device=cpu",
    "snapshot_seconds=0", "balanced_sampler=true", "class_weights=none",
)  # fmt: skip


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "geomind", *map(str, words)]


def train(folder: Path, data: Path) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return command(
        "train-director", "--data", data, "--models", folder / "models", "--runs-dir", folder / "runs", *sets
    )


def finish(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)


def metrics(run: Path) -> list[list[str]]:
    """Give what ``metrics.csv`` holds, without the speed."""
    with (run / "metrics.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def signal_when_further(words: list[str], runs: Path, snapshots: int, number: int) -> tuple[Path, int, str]:
    """Start a training and send it a signal once so many snapshots more were written: -> run folder, exit code."""
    with subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        seen: set[int] = set()
        deadline = time.monotonic() + 120
        while len(seen) <= snapshots and process.poll() is None and time.monotonic() < deadline:
            for snapshot in runs.glob("*/snapshot.safetensors"):
                seen.add(snapshot.stat().st_mtime_ns)
            time.sleep(0.002)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
    (run,) = runs.iterdir()
    return run, process.returncode, said


def same_weights(one: Path, other: Path) -> bool:
    states = [load_checkpoint(director_path(folder / "models"), "director")[0] for folder in (one, other)]
    return all((states[0][name] == states[1][name]).all() for name in states[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_manifest(tmp_path_factory.mktemp("data"), photos=40)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    done = finish(train(folder, data))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_training_killed_three_times_ends_as_one_that_was_not(data: Path, whole: Path, tmp_path: Path) -> None:
    words, run = train(tmp_path, data), Path()
    for snapshots in (3, 11, 17):  # in the middle of an epoch, wherever that falls in a step
        run, code, said = signal_when_further(words, tmp_path / "runs", snapshots, signal.SIGKILL)
        assert code == -signal.SIGKILL, said
        words = command("train-director", "--resume", run, "--models", tmp_path / "models")
    done = finish(words)
    assert done.returncode == 0, done.stderr
    (untouched,) = (whole / "runs").iterdir()
    assert metrics(run) == metrics(untouched)
    assert same_weights(tmp_path, whole)
    assert not list(run.glob("*snapshot*"))
    assert finish(words).returncode == 1  # it is finished


def test_sigterm_saves_and_says_how_to_go_on(data: Path, whole: Path, tmp_path: Path) -> None:
    run, code, said = signal_when_further(train(tmp_path, data), tmp_path / "runs", 7, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert f"--resume {run}" in " ".join(said.split())
    assert "Traceback" not in said
    done = finish(command("train-director", "--resume", run, "--models", tmp_path / "models", "--set", "workers=0"))
    assert done.returncode == 0, done.stderr
    (untouched,) = (whole / "runs").iterdir()
    assert metrics(run) == metrics(untouched)
    assert same_weights(tmp_path, whole)


def together(script: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a Python script in two processes that train together."""
    return finish([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script])


@pytest.mark.parametrize(("photos", "batch", "accumulate"), [(21, 4, 1), (18, 4, 2)])
def test_two_processes_learn_what_one_learns(photos: int, batch: int, accumulate: int, tmp_path: Path) -> None:
    """The same global batch, photo for photo: also where the last batch has one photo, and one process none."""
    draw_photos(tmp_path, photos + 8)
    numbers = [photos, batch, accumulate]
    alone, _ = tiny_fit.alone(tmp_path, *numbers)
    done = together([str(Path(tiny_fit.__file__)), str(tmp_path), *map(str, numbers)])
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (tmp_path / "runs").glob("*-together")  # the first process alone writes
    told = np.array([[float(cell) for cell in row] for row in metrics(run)[1:]])
    expected = np.array([list(row.values())[:-1] for row in alone.epochs])
    assert expected[-1, 1] < expected[0, 1]
    assert told == pytest.approx(expected, rel=1e-4)


def test_a_signal_to_the_whole_group_saves_too(data: Path, tmp_path: Path) -> None:
    """As slurm and `timeout` stop a job: the processes that decode died of it, and the training of them, unsaved."""
    words = [*train(tmp_path, data), "--set", "workers=2"]
    with subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/snapshot.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said


def test_two_processes_are_judged_by_one_photo(data: Path, tmp_path: Path) -> None:
    """DDP's first pass without gradients waits for all; the process that had no photo never came."""
    rows = data.read_text(encoding="utf-8").splitlines()
    few = [row for row in rows if "validation" not in row] + [row for row in rows if "validation" in row][:1]
    (tmp_path / "manifest.csv").write_text("\n".join(few) + "\n", encoding="utf-8")
    for photo in data.parent.glob("*.png"):
        (tmp_path / photo.name).symlink_to(photo)
    done = together(["-m", *train(tmp_path, tmp_path / "manifest.csv")[2:], "--set", "max_epochs=1"])
    assert done.returncode == 0, done.stderr[-2000:]


def test_torchrun_trains_the_director(data: Path, tmp_path: Path) -> None:
    words = train(tmp_path, data)[2:]  # what follows `python -m`
    done = together(["-m", *words, "--set", "max_epochs=2"])
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (tmp_path / "runs").iterdir()
    assert len(metrics(run)) == 3
    assert done.stdout.count("Director: weights") == 1
    load_checkpoint(director_path(tmp_path / "models"), "director")
