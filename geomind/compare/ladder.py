"""The ladder: trains and scores every method on the same photos with the same budget, and goes on where it stopped.

It knows no method. Trainings have names, so that methods which differ in how they answer share one; each is done once a
seed, and one that is finished is not done again. A method that fails is told, and the others go on.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import geomind
from geomind.cascade import Geolocator
from geomind.checkpoints import count_parameters
from geomind.compare.results import (
    ANSWERS,
    Costs,
    Rung,
    RungKey,
    manifest_hash,
    read_record,
    read_rung,
    refuse_another,
    write_rung,
)
from geomind.compare.table import Comparison, write_table
from geomind.config import DirectorConfig, ExpertConfig, TrainingConfig
from geomind.data.manifest import photo_path
from geomind.devices import torch_threads_beside
from geomind.errors import ConfigError, GeoMindError, TrainingError
from geomind.evaluation.judging import Truth
from geomind.files import atomic_path, make_folder
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.inference.engine import infer
from geomind.predictions import Prediction, name_places, read_predictions
from geomind.progress import SILENT, Progress
from geomind.training.runs import Run
from geomind.training.stage import features_folder

logger = logging.getLogger(__name__)

AnyTraining = TypeVar("AnyTraining", bound=TrainingConfig)


@dataclass(frozen=True)
class Bench:
    """What all methods have in common: the photos, the regions, and how their networks are set."""

    manifest: Path
    """Its splits `train` and `validation` are learned from, and `test` judges."""
    regions: RegionTable
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What every network takes, by the keys of ``TrainingConfig``."""
    director_settings: Mapping[str, Any] = field(default_factory=dict)
    """What a Director takes besides."""
    place_settings: Mapping[str, Any] = field(default_factory=dict)
    """What networks that answer with places take besides."""

    def config(self, kind: type[AnyTraining], *, seed: int, epochs: int, **own: Any) -> AnyTraining:
        """Make the settings of one network; what is a method's ``own`` comes on top."""
        besides = self.director_settings if issubclass(kind, DirectorConfig) else self.place_settings
        return kind(**{**self.settings, **besides, "seed": seed, "max_epochs": epochs, **own})

    @cached_property
    def described(self) -> dict[str, Any]:
        """Everything that decides results, beside photos, seed and budget, as plain values."""
        return {
            "director": self.config(DirectorConfig, seed=0, epochs=1).model_dump(mode="json"),
            "places": self.config(ExpertConfig, seed=0, epochs=1).model_dump(mode="json"),
            "regions": self.regions.fingerprint,
            "geomind": geomind.__version__,
        }


@dataclass(frozen=True)
class Job:
    """What a method is given to train or to answer, for one seed."""

    bench: Bench
    seed: int
    budget: int
    """How often each training photo may be seen, by all networks of the method together."""
    models: Path
    """The models folder of this training; in an answer, that of the method's last one."""
    runs: Path
    trained: Mapping[str, Path]
    """Name of a training of this method -> its models folder, for those that are finished."""
    progress: Progress


@dataclass(frozen=True)
class Training:
    """Something that is trained once a seed, and that several methods may answer from."""

    name: str
    train: Callable[[Job], None]
    """Leaves weights in the job's models folder and its runs in the job's runs folder; may find those of an interrupted
    attempt there."""


@dataclass(frozen=True)
class Method:
    """A rung: what is trained for it, in order, and how it answers."""

    name: str
    about: str
    """One sentence."""
    answer: Callable[[Job], Geolocator | Points]
    """Gives who answers photos; or, for one that looks at none, the place of each test photo, (n, 2) degrees."""
    trainings: tuple[Training, ...] = ()
    told_truth: bool = False
    """Whether it is told something of the truth: a floor, and no competitor."""


@dataclass(frozen=True)
class Failure:
    """A rung that could not be made, and why."""

    method: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Climb:
    """What a comparison came to."""

    rungs: tuple[Rung, ...]
    failures: tuple[Failure, ...]
    done_before: int
    """Rungs that were finished already."""
    comparison: Comparison | None
    """The table; None where no rung could be made."""


def climb(
    bench: Bench,
    methods: Sequence[Method],
    *,
    seeds: Sequence[int],
    budget: int,
    output: Path | str,
    progress: Progress = SILENT,
) -> Climb:
    """Make every rung that is not finished, and write the table after each.

    All methods are made with one seed before the next, so that the first table is there soon.

    Args:
        bench: The photos, and how networks are set.
        methods: The rungs, in the order of the table.
        seeds: One training of each method a seed.
        budget: How often each method may see each training photo.
        output: The folder of trainings, rungs and tables; what is finished there is not done again.
        progress: Shows rungs done, and each training.

    Raises:
        ConfigError: there is no method or no seed, one stands twice, or the budget is too small.
        ManifestError: the manifest has no photo to judge by.
        OutputError: the folder holds another comparison, or cannot be written.
    """
    _check(methods, seeds, budget)
    output = make_folder(output)
    truth = Truth.read(bench.manifest, bench.regions)
    key = RungKey("", 0, budget, manifest_hash(bench.manifest), bench.described)
    wanted = [(seed, method) for seed in seeds for method in methods]
    rungs: list[Rung] = []
    failures: list[Failure] = []
    folders = {(seed, method.name): output / "rungs" / f"{method.name}-{seed}" for seed, method in wanted}
    for seed, method in wanted:  # another comparison is refused before the first hour
        own = dataclasses.replace(key, method=method.name, seed=seed)
        if (rung := read_rung(folders[seed, method.name], own, truth)) is not None:
            rungs.append(rung)
    done_before = len(rungs)
    finished = {(rung.key.seed, rung.key.method) for rung in rungs}
    broken: dict[tuple[str, int], str] = {}
    with progress.track("Comparing methods", len(wanted)) as advance:
        advance(done_before)
        for seed, method in wanted:
            if (seed, method.name) in finished:
                continue
            own = dataclasses.replace(key, method=method.name, seed=seed)
            try:
                rungs.append(_make_rung(method, own, bench, truth, output, broken, progress))
            except GeoMindError as error:
                failures.append(Failure(method.name, seed, str(error)))
                logger.error("%s with seed %d failed: %s", method.name, seed, error)
            except Exception as error:  # a bug in one is no reason to go without the others
                failures.append(Failure(method.name, seed, f"{type(error).__name__}: {error}"))
                logger.exception("%s with seed %d met with a bug.", method.name, seed)
            else:
                write_table(_in_order(rungs, methods), methods_told(methods), truth, output)
            advance(1, note=method.name)
    rungs = _in_order(rungs, methods)
    comparison = write_table(rungs, methods_told(methods), truth, output) if rungs else None
    return Climb(tuple(rungs), tuple(failures), done_before, comparison)


def methods_told(methods: Sequence[Method]) -> frozenset[str]:
    """Name the methods that are told something of the truth."""
    return frozenset(method.name for method in methods if method.told_truth)


@dataclass(frozen=True)
class PhotosOfManifest:
    """Some photos of a manifest, by the names that it has for them."""

    manifest: Path
    image_paths: tuple[str, ...]

    @property
    def described(self) -> str:
        """What they are, in words that another run can be compared with."""
        return f"{len(self.image_paths)} photos of {self.manifest.absolute()}"

    def names(self) -> Iterator[str]:
        """Name the photos."""
        return iter(self.image_paths)

    def path(self, name: str) -> str:
        """Say where the photo of a name is."""
        return str(photo_path(self.manifest, name))


def answer_photos(
    answerer: Geolocator | Points, truth: Truth, manifest: Path, output: Path, progress: Progress
) -> tuple[list[Prediction], float | None]:
    """Ask for the places of all photos; give the answers and how many photos a second were answered.

    The time is that of reading, decoding, answering and writing; loading networks that are loaded at the first photo
    that needs them is in it. A photo that cannot be read has no answer.
    """
    if isinstance(answerer, np.ndarray):
        told = [
            Prediction(image_path=image_path, latitude=latitude, longitude=longitude)
            for image_path, (latitude, longitude) in zip(truth.image_paths, answerer.tolist(), strict=True)
        ]
        return name_places(told), None
    began = time.monotonic()
    with torch_threads_beside(workers=1):
        infer(PhotosOfManifest(manifest, truth.image_paths), output, answerer, workers=1, overwrite=True,
              progress=progress)  # fmt: skip
    seconds = time.monotonic() - began
    return read_predictions(output), len(truth) / max(seconds, 1e-9)


def _check(methods: Sequence[Method], seeds: Sequence[int], budget: int) -> None:
    for what, names in (("method", [method.name for method in methods]), ("seed", list(seeds))):
        if not names:
            raise ConfigError(f"There is no {what} to compare with. Name one.")
        if len(set(names)) < len(names):
            raise ConfigError(f"A {what} stands twice in {', '.join(map(str, names))}. Name it once.")
    if budget < 2:
        raise ConfigError("The budget must be 2 epochs or more: a cascade shares it between Director and Experts.")
    trainings: dict[str, Training] = {}
    for training in itertools.chain.from_iterable(method.trainings for method in methods):
        if trainings.setdefault(training.name, training) != training:
            raise ConfigError(f"Two trainings are called '{training.name}'. Rename one.")


def _make_rung(
    method: Method,
    key: RungKey,
    bench: Bench,
    truth: Truth,
    output: Path,
    broken: dict[tuple[str, int], str],
    progress: Progress,
) -> Rung:
    """Train what is not trained yet, answer the test photos, and keep the rung."""
    trained: dict[str, Path] = {}
    seconds, seen = 0.0, 0
    job = Job(bench, key.seed, key.budget, output, output, trained, progress)
    for training in method.trainings:
        folder = output / "trainings" / f"{training.name}-{key.seed}"
        job = dataclasses.replace(job, models=folder / "models", runs=folder / "runs")
        if reason := broken.get((training.name, key.seed)):
            raise TrainingError(f"its training '{training.name}' failed before: {reason}")
        try:
            record = _train(training, job, dataclasses.replace(key, method=training.name), folder)
        except Exception as error:
            broken[training.name, key.seed] = str(error)
            raise
        seconds, seen = seconds + record["seconds"], seen + record["images_seen"]
        trained[training.name] = job.models
    # The last training's folder holds all that answers.
    parameters = sum(map(count_parameters, learned_weights(job.models))) if method.trainings else 0
    folder = make_folder(output / "rungs" / f"{method.name}-{key.seed}")
    answers, speed = answer_photos(method.answer(job), truth, bench.manifest, folder / ANSWERS, progress)
    costs = Costs(parameters=parameters, train_seconds=seconds, images_seen=seen, images_per_s=speed)
    return write_rung(folder, key, costs, answers, truth)


def _train(training: Training, job: Job, key: RungKey, folder: Path) -> dict[str, Any]:
    """Do a training, or go on with it; give its record, which says what it took in all attempts."""
    path = folder / "training.json"
    record: dict[str, Any] = {"key": dataclasses.asdict(key), "finished": False, "seconds": 0.0, "images_seen": 0}
    if path.is_file():
        record = read_record(path)
        refuse_another(folder, key, record)
        if record["finished"]:
            return record
    _write(path, record)
    began = time.monotonic()
    try:
        training.train(job)
        photos = len(Truth.read(job.bench.manifest, job.bench.regions, split="train"))
        record |= {"finished": True, "images_seen": photos_seen(job.runs, photos)}
    finally:
        record["seconds"] += time.monotonic() - began
        _write(path, record)
    return record


def learned_weights(models: Path) -> list[Path]:
    """List the weights of a folder of models; a gallery is photos, and none were learned."""
    return [path for path in sorted(models.rglob("*.safetensors")) if not path.name.endswith("gallery.safetensors")]


def photos_seen(runs: Path, photos: int) -> int:
    """Count the photos that encoders saw in the finished runs of a folder, each time that they did.

    Heads on a frozen trunk learn from features: its one pass over the ``photos`` counts, and not their epochs.
    """
    finished = [facts for path in runs.glob("*/run.json") if "finished" in (facts := Run(path.parent).facts)]
    seen: int = sum(facts["photos"] * facts["epochs"] for facts in finished if facts.get("freeze") != "backbone")
    return seen + (photos if features_folder(runs).is_dir() else 0)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _in_order(rungs: Sequence[Rung], methods: Sequence[Method]) -> list[Rung]:
    turn = {method.name: number for number, method in enumerate(methods)}
    return sorted(rungs, key=lambda rung: (turn[rung.key.method], rung.key.seed))
