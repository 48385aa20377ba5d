"""What a network's answers mean, and how they are judged."""

from __future__ import annotations

import numpy as np
import pytest

from geomind.config import CellsConfig, ExpertConfig
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.training.answers import answers_in_box, answers_in_cells

PLACES = np.array([(48.0, 2.0), (48.2, 2.3), (52.0, 13.0), (-34.0, 151.0), (-33.0, 150.0), (35.0, 139.0)])


def saying(code: CellCode, points: np.ndarray) -> np.ndarray:
    """Give what a network would answer that is sure of these places."""
    targets, outputs = code.targets(points), np.full((len(points), code.outputs), 0.0, np.float32)
    chains = code.tree.chains[targets[:, 0].astype(int)]
    first = 0
    for level, size in enumerate(code.sizes):
        outputs[np.arange(len(points)), first + chains[:, level]] = 50
        first += size
    offsets = outputs[:, first:].reshape(len(points), -1, 2)
    offsets[np.arange(len(points)), targets[:, 0].astype(int)] = targets[:, 1:]
    return outputs


def test_cells_are_judged_by_places_and_by_every_level() -> None:
    code = CellCode.fit(CellTree.fit(PLACES, {"country": 2, "city": 5}), PLACES)
    answers = answers_in_cells(code, [1.0, 1.0], CellsConfig())
    right = answers.score(PLACES)(saying(code, PLACES), np.arange(6))
    assert right["median_km"] == pytest.approx(0, abs=0.1)
    assert right["geoscore"] == pytest.approx(5000, abs=1)
    assert right["country_accuracy"] == right["city_accuracy"] == 1
    neighbours = PLACES[[2, 2, 0, 5, 5, 3]]
    wrong = answers.score(PLACES)(saying(code, neighbours), np.arange(6))
    assert wrong["city_accuracy"] < wrong["country_accuracy"] == 1
    overseas = answers.score(PLACES)(saying(code, PLACES[[3, 3, 3, 0, 0, 0]]), np.arange(6))
    assert overseas["country_accuracy"] == overseas["city_accuracy"] == 0
    some = answers.score(PLACES)(saying(code, PLACES[:2]), np.array([0, 1]))
    assert some["city_accuracy"] == 1  # of the rows that were answered


def test_more_photos_than_are_weighed_at_once() -> None:
    many = np.repeat(PLACES, 100, axis=0)
    code = CellCode.fit(CellTree.fit(PLACES, {"city": 5}), PLACES)
    scores = answers_in_cells(code, [1.0], CellsConfig()).score(many)(saying(code, many), np.arange(600))
    assert scores["city_accuracy"] == 1


def test_boxes_are_judged_by_places() -> None:
    box = Box(-10, 10, 170, 190)
    answers = answers_in_box(box, ExpertConfig())
    truth = np.array([(0.0, 180.0), (5.0, -175.0)])
    assert answers.judge(answers.encode(truth), truth)["median_km"] == pytest.approx(0, abs=0.1)
    assert answers.described == {"box": (-10, 10, 170, 190)}
