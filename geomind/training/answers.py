"""How the answers of a network mean places, in training: what it learns and how it is judged. It trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from geomind.config import CellsConfig, ExpertConfig
from geomind.decoding import Candidates, best_places
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.sphere import Points, haversine_km
from geomind.metrics import geoscore
from geomind.training.fit import Score, Task
from geomind.training.losses import Loss, cells_loss, expert_loss

_AT_ONCE = 256  # photos whose cells are weighed against each other together: some 10 MB an array


@dataclass(frozen=True)
class PlaceAnswers:
    """What places a network's answers mean."""

    encode: Callable[[Points], NDArray[np.float32]]
    """Places (n, 2) in degrees -> what it should answer, (n, …)."""
    judge: Callable[[NDArray[np.float32], Points], dict[str, float]]
    """What it answers, (n, outputs), and the truth (n, 2) in degrees -> scores by name."""
    loss: Loss
    validation_loss: Loss
    described: Mapping[str, Any]
    """What its description says of it."""

    def score(self, truth: Points) -> Score:
        """Judge the answers of photos taken there: (n, 2) degrees."""
        return lambda outputs, rows: self.judge(outputs, truth[rows])

    def task(self, title: str, network: nn.Module, truth: Points, *, whole: nn.Module | None = None) -> Task:
        """Say what is trained: a network that answers so, judged where validation photos were taken.

        Args:
            title: What the progress bar says.
            network: What learns.
            truth: (n, 2) degrees.
            whole: What is saved, if not the network itself.
        """
        return Task(
            title=title,
            network=network,
            whole=network if whole is None else whole,
            loss=self.loss,
            validation_loss=self.validation_loss,
            score=self.score(truth),
            shown="median_km",
        )


def answers_in_box(box: Box, config: ExpertConfig) -> PlaceAnswers:
    """Let two numbers in [0, 1] mean a place in a box, as in the original."""
    loss = expert_loss(config, box)
    return PlaceAnswers(
        encode=lambda points: box.normalize(points).astype(np.float32),
        judge=lambda square, truth: judge_places(box.denormalize(square), truth),
        loss=loss,
        validation_loss=loss,
        described={"box": (box.lat_min, box.lat_max, box.lon_min, box.lon_max)},
    )


def answers_in_cells(code: CellCode, level_weights: Sequence[float], config: CellsConfig) -> PlaceAnswers:
    """Let logits and offsets mean cells and a place in each.

    It is judged by the same loss without smoothing and focusing, so that the curves of recipes compare; and beside the
    distances by how often the cell of each level is right.
    """

    def judge(outputs: NDArray[np.float32], truth: Points) -> dict[str, float]:
        parts = np.split(outputs, range(_AT_ONCE, len(outputs), _AT_ONCE))
        answers = [best_places(Candidates(code.probabilities(part), code.places(part))) for part in parts]
        places, best = (np.concatenate(each) for each in zip(*answers, strict=True))
        right = (code.tree.chains[best] == code.tree.assign(truth)).mean(axis=0)
        levels = {f"{level.name}_accuracy": float(share) for level, share in zip(code.tree.levels, right, strict=True)}
        return judge_places(places, truth) | levels

    return PlaceAnswers(
        encode=code.targets,
        judge=judge,
        loss=cells_loss(
            code,
            level_weights,
            offset_weight=config.offset_weight,
            smoothing_km=config.label_smoothing_km,
            focal_gamma=config.focal_gamma,
        ),
        validation_loss=cells_loss(code, level_weights, offset_weight=config.offset_weight),
        described={"cells": code.to_dict()},
    )


def judge_places(places: Points, truth: Points) -> dict[str, float]:
    """Score places by their distances from the truth: (n, 2), (n, 2) degrees."""
    distance_km = haversine_km(places, truth)
    return {"median_km": float(np.median(distance_km)), "geoscore": float(geoscore(distance_km).mean())}
