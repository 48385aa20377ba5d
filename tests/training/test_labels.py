from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.config import DirectorConfig
from geomind.geography.sphere import haversine_km
from geomind.training.labels import label_distribution, soft_labels

REGIONS = 4

photos = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 2)), min_size=1, max_size=25)


def split(cloud: list[tuple[float, float, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(cloud)
    return rows[:, :2], rows[:, 2].astype(np.int64)


@given(
    photos,
    st.one_of(
        st.just(DirectorConfig()),
        st.floats(0, 0.9).map(lambda share: DirectorConfig(label_smoothing=share)),
        st.floats(1e-6, 1e5).map(lambda km: DirectorConfig(label_smoothing_km=km)),
    ),
)
def test_shares_sum_to_1_and_no_region_has_more_than_the_true_one(
    cloud: list[tuple[float, float, int]], config: DirectorConfig
) -> None:
    points, ids = split(cloud)
    labels = label_distribution(config, points, ids, REGIONS)
    assert labels.dtype == np.float32
    assert labels.shape == (len(ids), REGIONS)
    assert (labels >= 0).all()
    assert labels.sum(axis=1) == pytest.approx(1)
    assert labels[np.arange(len(ids)), ids] == pytest.approx(labels.max(axis=1))


@given(photos, st.floats(1, 3000))
def test_shares_are_those_of_the_formula(cloud: list[tuple[float, float, int]], tau_km: float) -> None:
    points, ids = split(cloud)
    distance = haversine_km(points[:, None], points)
    nearest = np.stack(
        [np.min(distance, axis=1, where=ids == region, initial=np.inf) for region in range(REGIONS)], axis=1
    )
    expected = np.exp(-nearest / tau_km)
    expected /= expected.sum(axis=1, keepdims=True)
    # Photos within a hundredth of tau are one place, at both ends of a distance.
    assert soft_labels(points, ids, REGIONS, tau_km=tau_km) == pytest.approx(expected, abs=0.02)


def test_a_region_without_photos_gets_no_share() -> None:
    points = np.array([(48.8566, 2.3522), (51.5074, -0.1278), (-33.9, 151.2)])
    labels = soft_labels(points, np.array([0, 1, 2]), REGIONS, tau_km=343.56)
    assert labels[:, 3].tolist() == [0, 0, 0]
    assert labels[0] == pytest.approx([1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1)), 0, 0], abs=1e-3)
    assert labels[2] == pytest.approx([0, 0, 1, 0], abs=1e-6)


def test_shares_cross_the_date_line() -> None:
    labels = soft_labels(np.array([(-17, 179.9), (-17, -179.9)]), np.array([0, 1]), 2, tau_km=500)
    assert labels[0, 1] == labels[1, 0] > 0.45


@given(photos)
def test_less_and_less_smoothing_ends_at_one_hot(cloud: list[tuple[float, float, int]]) -> None:
    points, ids = split(cloud)
    points = points.round(1) + 0.01 * ids[:, None]  # no two regions in one place
    one_hot = label_distribution(DirectorConfig(), points, ids, REGIONS)
    assert (one_hot == np.eye(REGIONS)[ids]).all()
    apart = haversine_km(points[:, None], points)[ids[:, None] != ids]
    tau_km = apart.min(initial=1) / 100
    if tau_km > 1e-9:
        assert soft_labels(points, ids, REGIONS, tau_km=tau_km) == pytest.approx(one_hot, abs=1e-6)


def test_even_smoothing_spreads_its_share_over_all_regions() -> None:
    labels = label_distribution(DirectorConfig(label_smoothing=0.2), np.zeros((1, 2)), np.array([1]), REGIONS)
    assert labels[0] == pytest.approx([0.05, 0.85, 0.05, 0.05])
