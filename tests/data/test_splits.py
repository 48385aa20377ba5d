"""Splits: nothing that belongs together is on two sides, and shares are met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomind.data.manifest import COLUMNS, read_manifest, write_manifest
from geomind.data.splits import block_ids, split_at_random, split_by_group, split_by_place, split_manifest
from geomind.errors import ManifestError, OutputError
from geomind.geography.sphere import haversine_km

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
    with pytest.raises(ManifestError, match="need more groups"):
        split_by_group(["a"] * 25 + ["b"] * 25, shares=SHARES)
    with pytest.raises(ManifestError, match="need more photos"):
        split_at_random(2, shares=SHARES)
    with pytest.raises(ManifestError, match="add up to 1"):
        split_by_place(places(50), shares={"train": 0.7, "test": 0.2})


def test_shares_are_met_in_every_region_though_blocks_are_large_and_small() -> None:
    """Dealing the largest block first to the split that lacks most left all towns to train."""
    rng = np.random.default_rng(0)
    sizes = (200 / (1 + np.arange(150))).astype(int) + 1
    points, strata = np.repeat(places(150), sizes, axis=0), np.repeat(rng.integers(0, 3, 150), sizes)
    largest = []
    for seed in range(40):
        split = split_by_place(points, shares=SHARES, strata=strata, seed=seed)
        for stratum in range(3):
            for name, share in SHARES.items():
                assert (split[strata == stratum] == name).mean() == pytest.approx(share, abs=0.02)
        largest.append(split[np.cumsum(sizes)[3] - 1])
    assert {"train", "test"} <= set(largest)


def test_many_small_regions_still_fill_every_split() -> None:
    """A region of five photos has half a photo for a split of 10%, and so no small region was tested on."""
    strata = np.repeat(np.arange(100), 5)
    split = split_at_random(500, shares={"train": 0.8, "validation": 0.1, "test": 0.1}, strata=strata)
    assert (split == "train").mean() == pytest.approx(0.8, abs=0.05)
    for name in ("validation", "test"):
        assert (split == name).mean() == pytest.approx(0.1, abs=0.04)


@settings(max_examples=25)
@given(st.integers(3, 80), st.integers(0, 10_000))
def test_groups_alone_stay_together(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.where(rng.random(count) < 0.5, "", rng.integers(0, count, count).astype(str)).astype(object)
    groups[:3] = ""
    split = split_by_group(groups, shares=SHARES, strata=rng.integers(0, 2, count), seed=seed)
    assert set(split) == set(SHARES)
    for group in set(groups) - {""}:
        assert len(set(split[groups == group])) == 1


# ── manifests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def manifest(path: Path, points: np.ndarray, groups: list[str] | None = None) -> Path:
    rows = {name: [""] * len(points) for name in COLUMNS} | {
        "image_path": [f"{i}.jpg" for i in range(len(points))],
        "latitude": points[:, 0],
        "longitude": points[:, 1],
        "region_id": (points[:, 0] > 0).astype(int),
    }
    write_manifest(pd.DataFrame(rows | ({"group": groups} if groups else {})), path)
    return path


def towns() -> np.ndarray:
    points = np.repeat(places(300), 10, axis=0) + np.random.default_rng(1).normal(0, 0.3, (3000, 2))
    return points.clip(-180, 180)


def test_a_manifest_is_split_and_measured(tmp_path: Path) -> None:
    points = towns()
    done = split_manifest(manifest(tmp_path / "m.csv", points), tmp_path / "m.csv", shares=SHARES)
    split = read_manifest(tmp_path / "m.csv")["split"].to_numpy()
    assert [part.name for part in done.parts] == list(SHARES)
    assert sum(part.photos for part in done.parts) == 3000
    assert (done.left_out, done.shared_blocks, done.groups) == (0, 0, 0)
    train, _, test = done.parts
    assert train.nearest is None
    assert test.nearest is not None
    distance = haversine_km(points[split == "test"][:, None], points[split == "train"]).min(axis=1)
    assert test.nearest.least_km == pytest.approx(distance.min())
    assert test.nearest.median_km == pytest.approx(np.median(distance))
    assert test.nearest.within_1_km == (distance <= 1).mean()
    assert test.nearest.within_25_km == (distance <= 25).mean()


def test_a_gap_keeps_splits_apart_and_all_test_photos(tmp_path: Path) -> None:
    points = towns()
    plain = split_manifest(manifest(tmp_path / "a.csv", points), tmp_path / "plain.csv", shares=SHARES)
    done = split_manifest(tmp_path / "a.csv", tmp_path / "gap.csv", shares=SHARES, gap_km=25)
    split = read_manifest(tmp_path / "gap.csv")["split"].to_numpy()
    assert done.left_out == (split == "").sum() > 0
    assert done.parts[-1].photos == plain.parts[-1].photos
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert haversine_km(points[split == one][:, None], points[split == other]).min() >= 25
    with pytest.raises(ManifestError, match="Make the gap smaller"):
        split_manifest(tmp_path / "a.csv", tmp_path / "none.csv", shares=SHARES, gap_km=20_000)
    assert not (tmp_path / "none.csv").exists()


def test_a_random_split_shares_blocks_and_one_by_place_none(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.csv", towns(), groups=[f"g{i // 5}" for i in range(3000)])
    flattering = split_manifest(path, tmp_path / "random.csv", shares=SHARES, by="random")
    assert flattering.shared_blocks > 100
    assert flattering.shared_groups > 100
    assert flattering.parts[-1].nearest is not None
    assert flattering.parts[-1].nearest.within_25_km > 0.5
    by_group = split_manifest(path, tmp_path / "group.csv", shares=SHARES, by="group")
    assert (by_group.shared_groups, by_group.groups) == (0, 600)
    assert by_group.shared_blocks > 100
    by_place = split_manifest(path, tmp_path / "place.csv", shares=SHARES)
    assert (by_place.shared_groups, by_place.shared_blocks) == (0, 0)


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.csv", towns())
    split_manifest(path, path, shares=SHARES)
    with pytest.raises(ManifestError, match="is split already"):
        split_manifest(path, path, shares=SHARES)
    split_manifest(path, path, shares=SHARES, seed=1, overwrite=True)
    split_manifest(path, tmp_path / "sub" / "m.csv", shares=SHARES)
    assert read_manifest(tmp_path / "sub" / "m.csv")["image_path"][0] == str(tmp_path / "0.jpg")
    with pytest.raises(OutputError, match="--overwrite"):
        split_manifest(path, tmp_path / "sub" / "m.csv", shares=SHARES)
    with pytest.raises(ManifestError, match="has no groups"):
        split_manifest(path, tmp_path / "g.csv", shares=SHARES, by="group")


def test_real_photos_split_by_place_share_no_block(shared: Path, tmp_path: Path) -> None:
    points = pd.read_csv(shared / "coordinates" / "photo_coordinates_100k.csv").to_numpy()
    done = split_manifest(
        manifest(tmp_path / "m.csv", points), tmp_path / "m.csv",
        shares={"train": 0.7, "validation": 0.1, "calibration": 0.1, "test": 0.1},
    )  # fmt: skip
    assert sum(part.photos for part in done.parts) == 100_000
    assert done.shared_blocks == 0
    assert [round(part.share, 2) for part in done.parts] == [0.7, 0.1, 0.1, 0.1]
