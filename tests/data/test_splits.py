from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.data.splits import block_ids, split_by_place
from geomind.errors import ManifestError

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def places(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(-60, 70, count), rng.uniform(-180, 180, count)])


def test_no_block_is_in_two_splits_and_shares_are_met() -> None:
    towns = np.repeat(places(400), 5, axis=0) + np.random.default_rng(1).normal(0, 0.05, (2000, 2))
    strata = (towns[:, 0] > 30).astype(int)
    split = split_by_place(towns, shares=SHARES, strata=strata)
    for block in np.unique(blocks := block_ids(towns)):
        assert len(set(split[blocks == block])) == 1
    for name, share in SHARES.items():
        assert (split == name).mean() == pytest.approx(share, abs=0.03)
        assert (split[strata == 1] == name).mean() == pytest.approx(share, abs=0.05)


@settings(max_examples=25)
@given(st.integers(8, 60), st.integers(0, 10_000))
def test_no_group_is_in_two_splits(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.where(rng.random(count) < 0.5, "", rng.integers(0, max(count // 3, 1), count).astype(str))
    try:
        split = split_by_place(places(count, seed), shares=SHARES, groups=groups, seed=seed)
    except ManifestError as error:
        assert "need more places" in str(error)
        return
    assert set(split) == set(SHARES)
    for group in set(groups) - {""}:
        assert len(set(split[groups == group])) == 1


def test_the_same_seed_gives_the_same_split() -> None:
    first, again, other = (split_by_place(places(200), shares=SHARES, seed=seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_a_few_photos_of_many_regions_are_split_all_the_same() -> None:
    """More folds than photos of any region stopped the split with scikit-learn's ValueError."""
    split = split_by_place(places(12), shares={"train": 0.9, "validation": 0.1}, strata=np.arange(12) // 2)
    assert set(split) == {"train", "validation"}
    split = split_by_place(places(12), shares=SHARES, strata=np.arange(12))
    assert set(split) == set(SHARES)


def test_one_place_cannot_be_split() -> None:
    with pytest.raises(ManifestError, match="need more places"):
        split_by_place([(10, 20)] * 50, shares=SHARES)
    with pytest.raises(ManifestError, match="add up to 1"):
        split_by_place(places(50), shares={"train": 0.7, "test": 0.2})
