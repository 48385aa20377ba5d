from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, found, inspected

from geomind.data.inspection.balance import (
    COVERAGE,
    effective_classes,
    effective_number,
    measure_spread,
    nearest_other_km,
)
from geomind.geography.sphere import haversine_km

counts = st.lists(st.integers(1, 10_000), min_size=1, max_size=20)
places_on_earth = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=2, max_size=30)


@given(counts)
def test_effective_classes_are_at_most_the_classes(sizes: list[int]) -> None:
    assert 1 - 1e-9 <= effective_classes(sizes) <= len(sizes) + 1e-9
    assert effective_classes([7] * len(sizes)) == pytest.approx(len(sizes))
    assert effective_classes([*sizes, 0]) == pytest.approx(effective_classes(sizes))


@given(st.integers(0, 100_000))
def test_the_effective_number_of_samples(photos: int) -> None:
    """Cui et al. 2019, equation 1, as the sum of what each photo adds."""
    assert effective_number(photos) <= min(photos, 1 / (1 - COVERAGE)) + 1e-6
    step = float(effective_number(photos + 1) - effective_number(photos))
    assert step == pytest.approx(COVERAGE**photos, abs=1e-6)


@given(places_on_earth)
def test_the_nearest_other_point_is_that_of_all_pairs(points: list[tuple[float, float]]) -> None:
    every = haversine_km(np.array(points)[:, None], np.array(points)[None])
    np.fill_diagonal(every, np.inf)
    assert nearest_other_km(np.array(points)) == pytest.approx(every.min(axis=1), abs=1e-3)


def test_thousands_of_photos_at_one_position_take_no_time() -> None:
    """A KD-tree of equal points is one leaf: 100,000 of them took 10,000,000,000 steps."""
    points = np.concatenate([np.full((100_000, 2), 7.0), [(8.0, 7.0)]])
    nearest = nearest_other_km(points)
    assert nearest[0] == 0
    assert nearest[-1] == pytest.approx(111.2, abs=0.1)


def test_the_only_photo_has_no_neighbour(tmp_path: Path) -> None:
    assert math.isinf(nearest_other_km(np.array([PARIS]))[0])
    assert inspected(tmp_path / "m.csv", at(PARIS, region_id=2)).flat()["median_nearest_km"] is None


def test_spread_counts_blocks() -> None:
    spread = measure_spread(np.array([PARIS] * 8 + [TOKYO, LYON]))
    assert (spread.occupied, spread.top_share) == (3, 1)
    assert 1 < spread.effective_blocks < 3


def test_regions_are_counted_and_the_lacking_are_named(tmp_path: Path) -> None:
    rows = [at(PARIS, region_id=2)] * 202 + [at(LYON, region_id=2), at(NAIROBI, region_id=9), at(NAIROBI, region_id=9)]
    inspection = inspected(tmp_path / "m.csv", *rows, min_photos=3)
    by_id = {region.id: region for region in inspection.balance.regions}
    assert (by_id[2].photos, by_id[2].countries, by_id[2].blocks) == (203, 1, 2)
    assert (by_id[9].photos, by_id[9].share) == (2, 2 / 205)
    assert inspection.balance.ratio == 101.5
    assert found(inspection, "imbalance").verdict == "warning"
    assert "Western & Northern Europe has 102 times the photos of Africa" in found(inspection, "imbalance").detail
    assert found(inspection, "empty_regions").count == 11
    assert found(inspection, "small_regions").detail == "Fewer than 3 photos: Africa (2)."
    assert found(inspection, "one_region").verdict == "passed"


def test_a_region_that_the_manifest_does_not_give_is_that_of_the_place(tmp_path: Path) -> None:
    inspection = inspected(tmp_path / "m.csv", at(PARIS), at(NAIROBI, region_id=99))
    assert inspection.region_ids.tolist() == [2, 9]
    assert found(inspection, "no_region").count == 2


def test_one_region_is_a_problem_and_few_places_a_warning(tmp_path: Path) -> None:
    spread_out = [at((44 + 1.1 * i, 2.5001), region_id=2) for i in range(5)]
    spread_out += [at((44 + 1.1 * i, 4.5001), region_id=2) for i in range(6)]
    inspection = inspected(tmp_path / "m.csv", *[at(PARIS, region_id=2)] * 10, *spread_out)
    assert found(inspection, "one_region").verdict == "problem"
    assert found(inspection, "narrow_spread").verdict == "warning"
    assert not inspection.fit
