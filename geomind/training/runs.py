"""The folder of one training: its settings, its origin, its metrics epoch by epoch. It trains nothing."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import geomind
from geomind.config import TrainingConfig, load_config, to_yaml
from geomind.errors import ConfigError, OutputError
from geomind.files import atomic_path, make_folder
from geomind.logs import log_file
from geomind.training.curves import draw_curves

FREE_TO_CHANGE = frozenset({"workers", "snapshot_seconds", "tensorboard", "device", "select"})
"""Settings that may change when a training is taken up again: they do not decide what is learned."""


@dataclass(frozen=True)
class Origin:
    """What a training is made of beside its settings; it must be the same for a training to be taken up again."""

    name: str
    """What is trained, as in `director` or `expert-05`."""
    data: str
    """The manifest, as an absolute path."""
    data_hash: str
    """Hash of the manifest's bytes."""
    regions: str
    """Fingerprint of the table of regions."""
    trunk: str
    """Checksum of the image encoder's weights before training."""
    photos: int
    validation_photos: int
    cells: str = ""
    """Fingerprint of the cells that it answers with, where these do not follow from manifest and settings."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    ``config.yaml`` and ``run.json`` say what it is; ``metrics.csv``, ``curves.png`` and ``run.log`` how it went;
    ``best-loss``, ``best-accuracy``, ``best-geoscore`` and ``last.safetensors`` are weights to serve, and
    ``snapshot.safetensors``, which goes when all is done, is what ``--resume`` goes on from.
    """

    folder: Path

    @classmethod
    def start(cls, runs: Path | str, origin: Origin, config: TrainingConfig) -> Run:
        """Make the folder ``<name>-<time>`` and write what the training is made of.

        Raises:
            OutputError: the folder cannot be made.
        """
        run = cls(_new_folder(Path(runs), f"{origin.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"))
        with atomic_path(run.folder / "config.yaml") as temporary:
            temporary.write_text(to_yaml(config), encoding="utf-8")
        run._write_facts(
            {
                **vars(origin),
                "freeze": config.freeze,
                "command": shlex.join(["geomind", *sys.argv[1:]]),
                "started": _now(),
                "git_commit": git_commit(),
                "geomind": geomind.__version__,
                "torch": _torch_version(),
                "python": platform.python_version(),
                "cores": os.cpu_count(),
            }
        )
        return run

    @classmethod
    def resume(cls, folder: Path | str, origin: Origin, config: TrainingConfig) -> Run:
        """Open the folder of a training that was interrupted.

        Raises:
            ConfigError: it is no run folder, or one that is finished, or of another training than this one.
        """
        run = cls(Path(folder))
        if "finished" in run.facts:
            raise ConfigError(f"{folder} is finished: there is nothing to resume. Start a new run without --resume.")
        if difference := run._difference(origin, config):
            raise ConfigError(f"{folder} is another training: {difference}. Start a new run without --resume.")
        return run

    @classmethod
    def find_unfinished(cls, runs: Path | str, origin: Origin, config: TrainingConfig) -> Run | None:
        """Find the newest interrupted run of exactly this training, if there is one."""
        for folder in sorted(Path(runs).glob(f"{origin.name}-*"), reverse=True):
            with contextlib.suppress(ConfigError):
                if (run := cls.resume(folder, origin, config)).snapshot.is_file():
                    return run
        return None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        try:
            facts = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.folder} is no run folder: it holds no readable run.json. Name one in the folder of runs."
            ) from error
        if not isinstance(facts, dict) or not facts.keys() >= {"name", "data"}:
            raise ConfigError(f"{self.folder / 'run.json'} is damaged. Start a new run.")
        return facts

    @property
    def settings(self) -> Path:
        """The settings as they were."""
        return self.folder / "config.yaml"

    @property
    def snapshot(self) -> Path:
        """What an interrupted training goes on from."""
        return self.folder / "snapshot.safetensors"

    def weights(self, chosen_by: str) -> Path:
        """Say where the weights of an epoch lie: the best by `loss`, `accuracy` or `geoscore`, or the `last`."""
        return self.folder / ("last.safetensors" if chosen_by == "last" else f"best-{chosen_by}.safetensors")

    def log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Write the metrics of all epochs to ``metrics.csv`` for anybody who watches."""
        with atomic_path(self.folder / "metrics.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(epochs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: f"{value:.6g}" for key, value in epoch.items()} for epoch in epochs)

    def log(self) -> contextlib.AbstractContextManager[None]:
        """Keep what is said while the block runs in ``run.log``."""
        return log_file(self.folder / "run.log")

    def finish(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Draw the curves, note that all is done, and drop the snapshot."""
        draw_curves(epochs, self.folder / "curves.png", title=self.folder.name)
        self._write_facts({**self.facts, "finished": _now(), "epochs": len(epochs)})
        self.snapshot.unlink(missing_ok=True)

    def _difference(self, origin: Origin, config: TrainingConfig) -> str:
        """Say what this run was started with that is not the same now, or ""."""
        if self.facts.get("name") != origin.name:
            return f"it trains {self.facts.get('name')}, not {origin.name}"
        if self.facts.get("regions") != origin.regions:
            return "it knows another table of regions"
        if self.facts.get("trunk") != origin.trunk:
            return "its image encoder started from other weights"
        if self.facts.get("data_hash") != origin.data_hash:
            return f"its manifest was another, or {origin.data} has changed since"
        if self.facts.get("cells", "") != origin.cells:
            return "it answers with other cells than --cells, or its lack, says"
        if self.facts.get("photos") != origin.photos:  # of the same manifest: another Director routes them
            return f"it learned from {self.facts.get('photos')} photos, not {origin.photos}"
        before = load_config(type(config), self.settings)
        for (key, old), (_, new) in zip(_flat(before), _flat(config), strict=True):
            if old != new and key not in FREE_TO_CHANGE:
                return f"it was started with {key}={old}, not {new}"
        return ""

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        with atomic_path(self.folder / "run.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        self.__dict__.pop("facts", None)


def _flat(config: TrainingConfig) -> Iterator[tuple[str, Any]]:
    """List settings with dots between levels; groups have the same keys in any two of one kind."""
    for key, value in config.model_dump().items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield key, value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def git_commit() -> str:
    """Give the commit of the folder that one works in, with `+` where it has changes, or "" outside of git."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def _new_folder(runs: Path, name: str) -> Path:
    make_folder(runs)
    for number in range(1, 1000):  # two trainings may start in one second
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                f"Cannot make the run folder {folder}: {error.strerror}. Choose another --runs-dir."
            ) from error
        return folder
    raise OutputError(f"{runs} holds 999 runs named {name}. Choose another --runs-dir.")
