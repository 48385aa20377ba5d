"""The one place that is chosen of many, and the few that are named: near candidates, never between two continents."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geomind.decoding import MOST_WEIGHED, NEAR_KM, Candidates, best_places, distinct_places
from geomind.geography.sphere import destination, haversine_km
from geomind.metrics import geoscore

places = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
candidates = st.lists(st.tuples(places, st.floats(0.001, 1)), min_size=1, max_size=12)

PARIS, LYON, NEW_YORK, BOSTON = (48.86, 2.35), (45.76, 4.84), (40.71, -74.01), (42.36, -71.06)


def of(*rows: tuple[tuple[float, float], float]) -> Candidates:
    """Candidates of one photo: places and their weights, scaled to 1."""
    weights = np.array([weight for _, weight in rows])
    return Candidates((weights / weights.sum())[None], np.array([[place for place, _ in rows]]))


def clusters(seed: int) -> tuple[Candidates, np.ndarray]:
    """Three to six candidates within 20 km of each of four far places: and which of the four each one is of."""
    random = np.random.default_rng(seed)
    of_cluster = np.repeat(np.arange(4), random.integers(3, 7, 4))
    middles = np.array([PARIS, NEW_YORK, (-33.87, 151.21), (-1.29, 36.82)])[of_cluster]
    spread = destination(middles, random.uniform(0, 360, len(middles)), random.uniform(0, 20, len(middles)))
    weights = random.uniform(0.1, 1, len(middles))
    return Candidates((weights / weights.sum())[None], spread[None]), of_cluster


@given(candidates)
def test_the_place_is_near_the_best_candidate_and_that_has_the_highest_expected_geoscore(
    rows: list[tuple[tuple[float, float], float]],
) -> None:
    some = of(*rows)
    (place,), (best,) = best_places(some)
    assert float(haversine_km(place, some.places[0, best])) <= NEAR_KM + 1e-3
    distance_km = haversine_km(some.places[0][:, None], some.places[0])
    expected = geoscore(distance_km) @ some.probabilities[0]
    assert expected[best] == pytest.approx(expected.max(), rel=1e-6)
    if not (np.delete(distance_km[best], best) <= NEAR_KM + 1e-3).any():
        assert (place == some.places[0, best]).all()  # to the last bit, so that hard routing answers as ever


@given(candidates, st.randoms(use_true_random=False))
def test_the_order_of_candidates_is_of_no_account(
    rows: list[tuple[tuple[float, float], float]], random: Random
) -> None:
    one = of(*rows)
    distance_km = haversine_km(one.places[0][:, None], one.places[0])
    expected = np.sort(geoscore(distance_km) @ one.probabilities[0])
    assume(len(rows) == 1 or expected[-1] - expected[-2] > 1e-3)  # of equals, the first
    assume((np.abs(distance_km - NEAR_KM) > 1e-3).all())
    shuffled = list(rows)
    random.shuffle(shuffled)
    other = of(*shuffled)
    assert float(haversine_km(best_places(one)[0], best_places(other)[0])[0]) < 1e-3


@given(st.integers(0, 2**31), places)
def test_a_candidate_that_is_hardly_probable_changes_nothing(seed: int, far: tuple[float, float]) -> None:
    some, _ = clusters(seed)
    assume((haversine_km(some.places[0], far) > 2 * NEAR_KM).all())
    more = Candidates(np.append(some.probabilities, [[1e-9]], axis=1), np.append(some.places, [[far]], axis=1))
    assert best_places(more)[0] == pytest.approx(best_places(some)[0])


@given(st.floats(0.01, 0.99))
def test_between_two_continents_it_takes_one(share: float) -> None:
    some = Candidates(np.array([[share, 1 - share]]), np.array([[PARIS, NEW_YORK]]))
    (place,), (best,) = best_places(some)
    assert tuple(place) == (PARIS if best == 0 else NEW_YORK)
    if abs(share - 0.5) > 1e-6:
        assert best == int(share < 0.5)


def test_places_near_the_best_one_are_blended_by_their_probability() -> None:
    two = Candidates(np.array([[0.6, 0.3, 0.1]]), np.array([[(0.0, 0.0), (0.0, 0.6), (50.0, 0.0)]]))
    (place,), (best,) = best_places(two)
    assert best == 0
    assert place == pytest.approx((0, 0.2), abs=1e-4)
    assert best_places(two, near_km=10)[0].tolist() == [[0, 0]]
    across = Candidates(np.array([[0.5, 0.5]]), np.array([[(0.0, 179.9), (0.0, -179.7)]]))
    assert best_places(across)[0][0] == pytest.approx((0, -179.9), abs=1e-4)


def test_two_that_agree_beat_a_more_probable_one_that_is_alone() -> None:
    some = Candidates(np.array([[0.4, 0.3, 0.3]]), np.array([[NEW_YORK, PARIS, LYON]]))
    assert best_places(some)[1].tolist() == [1]


def test_photos_do_not_meddle_with_each_other() -> None:
    one, other = clusters(1)[0], clusters(1)[0].weighted(np.array([0.5]))
    both = Candidates(np.concatenate([one.probabilities, other.probabilities[:, ::-1]]),
                      np.concatenate([one.places, other.places[:, ::-1]]))  # fmt: skip
    found, _ = best_places(both)
    assert found[0] == pytest.approx(found[1])  # probabilities need not sum to 1
    assert found[0].tolist() == best_places(one)[0][0].tolist()


def test_a_photo_without_a_probable_candidate_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no candidate with a probability above 0"):
        best_places(Candidates(np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2, 2))))


def test_an_improbable_candidate_is_never_the_best() -> None:
    """A candidate of probability 0, as fills up short lists, may lie where the others would be served well."""
    some = Candidates(np.array([[0.5, 0.0, 0.5]]), np.array([[(0.0, 0.0), (0.0, 10.0), (0.0, 20.0)]]))
    assert best_places(some)[1].tolist() == [0]


@given(candidates, st.integers(1, 14))
def test_distinct_places_count_each_candidate_once(rows: list[tuple[tuple[float, float], float]], count: int) -> None:
    some = of(*rows)
    named = distinct_places(some, count)
    assert named.places.shape == (1, count, 2)
    assert named.probabilities.sum() <= 1 + 1e-9
    if count >= len(rows):
        assert named.probabilities.sum() == pytest.approx(1)
    assert (named.places[0, 0] == best_places(some)[0][0]).all()
    for place in named.places[0, named.probabilities[0] > 0]:
        assert haversine_km(some.places[0], place).min() <= NEAR_KM + 1e-3
    filled = named.probabilities[0] > 0
    assert (np.diff(filled.astype(int)) <= 0).all()  # those that are none come last


@given(st.integers(0, 2**31))
def test_distinct_places_are_those_that_candidates_cluster_at(seed: int) -> None:
    some, of_cluster = clusters(seed)
    named = distinct_places(some, 6)
    sums = np.bincount(of_cluster, weights=some.probabilities[0])
    assert np.sort(named.probabilities[0])[::-1][:4] == pytest.approx(np.sort(sums)[::-1])
    assert (named.probabilities[0, 4:] == 0).all()
    between = haversine_km(named.places[0, :4, None], named.places[0, None, :4])
    assert (between[~np.eye(4, dtype=bool)] > NEAR_KM).all()


def test_distinct_places_of_photos_with_fewer_than_others() -> None:
    two = Candidates(np.array([[0.7, 0.3], [1.0, 0.0]]), np.array([[PARIS, NEW_YORK], [BOSTON, PARIS]]))
    named = distinct_places(two, 2)
    assert named.of_photo(0) == ((*PARIS, 0.7), (*NEW_YORK, pytest.approx(0.3)))
    assert named.of_photo(1) == ((*BOSTON, 1.0),)
    assert distinct_places(two, 0).places.shape == (2, 0, 2)


def test_the_most_probable_of_equals_is_the_first() -> None:
    some = Candidates(np.array([[0.2, 0.4, 0.4]]), np.array([[PARIS, LYON, BOSTON]]))
    kept, order = some.most_probable(2)
    assert order.tolist() == [[1, 2]]
    assert kept.places[0].tolist() == [list(LYON), list(BOSTON)]


def test_so_many_candidates_as_a_large_tree_has_are_weighed_quickly() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.full(3 * MOST_WEIGHED, 0.1), 5)
    spread = np.stack([random.uniform(-60, 60, shares.shape), random.uniform(-180, 180, shares.shape)], axis=-1)
    _, best = best_places(Candidates(shares, spread))
    assert (shares[np.arange(5), best] > 0).all()


def test_candidates_are_joined_and_weighted_photo_by_photo() -> None:
    one, other = Candidates.certain(np.array([PARIS, LYON])), Candidates.certain(np.array([BOSTON, NEW_YORK]))
    joined = Candidates.joined([one.weighted(np.array([0.9, 0.2])), other.weighted(np.array([0.1, 0.8]))])
    assert len(joined) == 2
    assert best_places(joined)[1].tolist() == [0, 1]
    assert joined.of_photo(1) == ((*LYON, 0.2), (*NEW_YORK, 0.8))
