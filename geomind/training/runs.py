"""The folder of one training: its settings, its origin, its metrics epoch by epoch. It trains nothing."""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import geomind
from geomind.config import TrainingConfig, to_yaml
from geomind.errors import OutputError
from geomind.files import atomic_path, make_folder
from geomind.training.curves import draw_curves


@dataclass
class Run:
    """A run folder: ``config.yaml``, ``run.json``, ``metrics.csv``, ``curves.png``, ``best.safetensors``."""

    folder: Path
    epochs: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, runs: Path | str, name: str, config: TrainingConfig, **origin: str | int) -> Run:
        """Make the folder ``<name>-<time>`` and write what the training is made of.

        Args:
            runs: The folder of all runs.
            name: What is trained, as in `director`.
            config: The settings, written whole.
            origin: Facts to keep beside versions and git commit, such as the manifest and its number of photos.

        Raises:
            OutputError: the folder cannot be made.
        """
        folder = _new_folder(Path(runs), f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
        with atomic_path(folder / "config.yaml") as temporary:
            temporary.write_text(to_yaml(config), encoding="utf-8")
        facts = {
            **origin,
            "command": " ".join(["geomind", *sys.argv[1:]]),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(),
            "geomind": geomind.__version__,
            "torch": _torch_version(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        }
        with atomic_path(folder / "run.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return cls(folder)

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self.folder / "best.safetensors"

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        """Add one epoch's metrics to ``metrics.csv`` for anybody who watches."""
        self.epochs.append(dict(metrics))
        with atomic_path(self.folder / "metrics.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.epochs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: f"{value:.6g}" for key, value in epoch.items()} for epoch in self.epochs)

    def finish(self) -> None:
        """Draw the curves of all epochs."""
        draw_curves(self.epochs, self.folder / "curves.png", title=self.folder.name)


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
