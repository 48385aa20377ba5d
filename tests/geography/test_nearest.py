from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geomind.geography.nearest import FEW, Nearest
from geomind.geography.sphere import unit_vectors

points = st.tuples(st.floats(-90, 90, allow_subnormal=False), st.floats(-180, 180, allow_subnormal=False))


@given(st.lists(points, min_size=1, max_size=30), st.lists(points, min_size=1, max_size=9))
def test_few_questions_and_many_have_the_same_answers(places: list, asked: list) -> None:
    vectors, questions = unit_vectors(places), unit_vectors(asked)
    few, many = Nearest(vectors), Nearest(vectors)
    many.query(np.tile(vectors[:1], (FEW, 1)))
    by_product, by_tree = few.query(questions), many.query(questions)
    exact = np.linalg.norm(vectors[None] - questions[:, None], axis=2).min(axis=1)
    assert np.allclose(by_product[0], exact, atol=1e-7)
    assert np.allclose(by_tree[0], exact, atol=1e-7)
    for chord, which in (by_product, by_tree):
        assert np.allclose(np.linalg.norm(vectors[which] - questions, axis=1), chord)


def test_no_questions() -> None:
    chords, which = Nearest(unit_vectors([(0.0, 0.0)])).query(np.empty((0, 3)))
    assert chords.shape == which.shape == (0,)


def test_a_few_places_are_named_without_scipy_and_pandas() -> None:
    """Their imports took longer than answering one photo does."""
    code = (
        "import sys; from geomind.geography.places import city_at, country_at\n"
        "sea = [-40.0, -130.0]; oslo = [59.91, 10.75]\n"
        "countries = country_at([oslo, sea]); assert countries.tolist() == ['NO', '']\n"
        "assert city_at([oslo, sea], countries).tolist() == ['Oslo', '']\n"
        "assert not {'scipy.spatial', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
