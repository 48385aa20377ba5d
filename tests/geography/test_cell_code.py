"""What a network answers in cells: places there and back, and levels that never contradict each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_cells import towns

from geomind.errors import ConfigError
from geomind.geography.cell_code import FURTHEST, SMALLEST_SCALE_KM, CellCode
from geomind.geography.cells import CellTree
from geomind.geography.sphere import haversine_km

CODE = CellCode.fit(CellTree.fit(towns(), {"country": 3, "region": 6, "city": 12}, min_photos=5), towns())
"""Of 12 cells all over the Earth."""

outputs = arrays(np.float32, (3, CODE.outputs), elements=st.floats(-50, 50, width=32))
places = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def sure_of(code: CellCode, targets: np.ndarray) -> np.ndarray:
    """What a network would answer that is sure of its targets: (n, 3) -> (n, outputs)."""
    answers = np.zeros((len(targets), code.outputs), dtype=np.float64)
    finest = targets[:, 0].astype(int)
    first = 0
    for level, size in enumerate(code.sizes):
        answers[np.arange(len(targets)), first + code.tree.chains[finest, level]] = 200
        first += size
    answers[np.arange(len(targets)), first + 2 * finest] = targets[:, 1]
    answers[np.arange(len(targets)), first + 2 * finest + 1] = targets[:, 2]
    return answers


@given(st.lists(places, min_size=1, max_size=20))
@example([(90.0, 0.0), (-90.0, 0.0), (0.0, 180.0), (0.0, -180.0)])
def test_a_place_that_is_said_is_given_back(cloud: list[tuple[float, float]]) -> None:
    targets = CODE.targets(cloud)
    assert targets.dtype == np.float32
    answers = sure_of(CODE, targets)
    finest = targets[:, 0].astype(int)
    assert CODE.probabilities(answers).argmax(axis=1).tolist() == finest.tolist()
    said = CODE.places(answers)[np.arange(len(cloud)), finest]
    within = np.linalg.norm(targets[:, 1:], axis=1) < FURTHEST
    distance_km = haversine_km(said, np.array(cloud))
    # Antipodes of a centre, half the Earth away, are further than any offset goes; float32 counts 20,000 km in 2 m.
    assert (distance_km[within] < 0.1).all()


@given(outputs)
def test_probabilities_sum_to_1_and_levels_do_not_contradict(answers: np.ndarray) -> None:
    shares = CODE.probabilities(answers)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert (shares >= 0).all()
    finest = CODE.of_level(shares, 2)
    assert (finest == shares).all()
    for level in (0, 1):
        above, below = CODE.of_level(shares, level), CODE.of_level(shares, level + 1)
        assert above.sum(axis=1) == pytest.approx(1)
        for cell in range(CODE.sizes[level]):
            children = CODE.tree.levels[level + 1].parents == cell
            assert above[:, cell] == pytest.approx(below[:, children].sum(axis=1), abs=1e-12)
    chains = CODE.tree.chains[shares.argmax(axis=1)]  # of the chosen cell: no parent is less probable than its child
    along = [CODE.of_level(shares, level)[np.arange(3), chains[:, level]] for level in range(3)]
    assert (along[0] >= along[1] - 1e-12).all()
    assert (along[1] >= along[2] - 1e-12).all()


@given(outputs)
def test_no_offset_goes_further_than_a_few_scales(answers: np.ndarray) -> None:
    answers = answers * 100
    distance_km = haversine_km(CODE.places(answers), CODE.tree.levels[-1].centres)
    half_turn = np.pi * 6371.0088
    assert (distance_km <= np.minimum(FURTHEST * CODE.scale_km, half_turn) * (1 + 1e-6) + 1e-3).all()


def test_probabilities_are_the_product_down_the_levels() -> None:
    answers = np.random.default_rng(0).normal(size=(1, CODE.outputs))
    levels, first = [], 0
    for size in CODE.sizes:
        shares = np.exp(answers[0, first : first + size])
        levels.append(shares / shares.sum())
        first += size
    product = np.prod([shares[CODE.tree.chains[:, level]] for level, shares in enumerate(levels)], axis=0)
    assert CODE.probabilities(answers)[0] == pytest.approx(product / product.sum())


def test_a_network_that_says_nothing_answers_with_the_centres() -> None:
    assert haversine_km(CODE.places(np.zeros((2, CODE.outputs))), CODE.tree.levels[-1].centres).max() < 1e-6


def test_the_scale_is_the_root_mean_square_distance_and_never_0() -> None:
    tree = CellTree.fit([(0.0, 0.0), (0.0, 2.0), (60.0, 90.0)], {"city": 2})
    code = CellCode.fit(tree, [(0.0, 0.0), (0.0, 2.0), (60.0, 90.0)])
    assert np.sort(code.scale_km) == pytest.approx([SMALLEST_SCALE_KM, 111.195], rel=1e-4)
    assert code.sizes == (2,)
    assert code.outputs == 2 + 4
    assert CellCode.fit(tree, np.empty((0, 2))).scale_km.tolist() == [SMALLEST_SCALE_KM] * 2  # no photo of its own


def test_it_reads_back_from_plain_values() -> None:
    read = CellCode.from_dict(json.loads(json.dumps(CODE.to_dict())))
    assert read.tree.fingerprint == CODE.tree.fingerprint
    assert (read.scale_km == CODE.scale_km).all()
    assert (read.targets(towns()) == CODE.targets(towns())).all()


@pytest.mark.parametrize("scales", [[], [1.0], [0.0] * 12, [-1.0] * 12, [float("nan")] * 12])
def test_scales_that_make_no_sense_are_refused(scales: list[float]) -> None:
    with pytest.raises(ValueError, match="needs a scale above 0"):
        CellCode.from_dict({**CODE.to_dict(), "scale_km": scales})


def test_a_tree_that_contradicts_itself_is_refused() -> None:
    values = CODE.to_dict()
    values["tree"]["region"]["parents"] = [0] * 6
    with pytest.raises(ConfigError, match="must have parents among the 3 cells"):
        CellCode.from_dict(values)


def test_distances_between_centres_are_measured_once() -> None:
    between = CODE.centre_distances_km
    assert between.shape == (12, 12)
    assert np.diag(between).max() == 0
    assert (between == between.T).all()
    assert CODE.centre_distances_km is between
