from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, found, inspected, scene

from geomind.data.inspection.leakage import block_resolution, measure_held_out
from geomind.data.splits import split_by_place
from geomind.geography.sphere import haversine_km

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, 4, 5]))
def test_a_split_by_place_is_known_as_one_and_a_random_one_is_not(seed: int, resolution: int) -> None:
    rng = np.random.default_rng(seed)
    towns = np.column_stack([rng.uniform(40, 55, 200), rng.uniform(0, 40, 200)])
    points = np.repeat(towns, 5, axis=0) + rng.normal(0, 0.02, (1000, 2))
    by_place = split_by_place(points, shares=SHARES, resolution=resolution, seed=seed).astype(object)
    assert block_resolution(by_place, points) is not None
    at_random = rng.choice(list(SHARES), len(points)).astype(object)
    assert block_resolution(at_random, points) is None


def test_distances_to_the_nearest_training_photo() -> None:
    points = np.array([PARIS, TOKYO, LYON, PARIS])
    test, validation = measure_held_out(np.array(["train", "train", "test", "validation"], dtype=object), points)
    assert (test.name, validation.name) == ("test", "validation")
    assert test.nearest_km == pytest.approx([haversine_km(PARIS, LYON)])
    assert (validation.least_km, validation.share_within(1)) == (0, 1)
    assert measure_held_out(np.array(["test", "test"], dtype=object), points[:2]) == ()


def test_what_a_split_does_not_keep_apart(tmp_path: Path) -> None:
    for number in range(6):
        scene(tmp_path / f"{number}.jpg", number)
    (tmp_path / "1.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    scene(tmp_path / "3.jpg", 2, quality=40)
    rows = [
        at(PARIS, split="train"), at(PARIS, split="test"),  # the same file
        at(LYON, split="validation"), at(LYON, split="test"),  # the same picture, saved again
        at(TOKYO, split="train", group="walk"), at(NAIROBI, split="test", group="walk"),
    ]  # fmt: skip
    inspection = inspected(tmp_path / "m.csv", *rows, open_files=True)
    assert found(inspection, "leaking_files").rows.tolist() == [0, 1]
    assert found(inspection, "leaking_files").notes[0] == "train; 1.jpg is in test"
    assert found(inspection, "leaking_near_duplicates").rows.tolist() == [2, 3]
    assert found(inspection, "leaking_groups").rows.tolist() == [4, 5]
    assert found(inspection, "leaking_groups").detail == "1 group with 2 photos."
    assert found(inspection, "leaking_places").rows.tolist() == [0, 1, 2, 3]
    assert "of the held-out ones, 25.0% have a training photo within 1 km" in found(inspection, "leaking_places").detail
    assert {each.check for each in inspection.problems} >= {
        "leaking_files", "leaking_near_duplicates", "leaking_groups", "leaking_places",
    }  # fmt: skip


def test_a_near_duplicate_beside_a_copy_over_the_border_has_its_partner_named(tmp_path: Path) -> None:
    """Its partner is a byte-equal copy of a training photo, which is no near-duplicate itself: an IndexError."""
    scene(tmp_path / "0.jpg", 0)
    (tmp_path / "1.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    scene(tmp_path / "2.jpg", 0, quality=40)
    rows = [at(PARIS, split="train"), at(PARIS, split="test"), at(PARIS, split="train")]
    leak = found(inspected(tmp_path / "m.csv", *rows, open_files=True), "leaking_near_duplicates")
    assert (leak.rows.tolist(), leak.notes) == ([2], ("train; 1.jpg is in test",))


def test_a_split_that_keeps_all_apart_passes(tmp_path: Path) -> None:
    rows = [at(PARIS, split="train", group="a"), at(TOKYO, split="validation"), at(NAIROBI, split="test")]
    inspection = inspected(tmp_path / "m.csv", *rows, at(PARIS, split="train", group="a"))
    for check in ("leaking_groups", "leaking_places", "leaking_files", "missing_split", "unsplit_photos"):
        assert found(inspection, check).verdict == "passed"
    assert inspection.flat()["held_out"] == 2


def test_missing_and_partial_splits(tmp_path: Path) -> None:
    whole = inspected(tmp_path / "m.csv", at(PARIS), at(TOKYO))
    assert (found(whole, "unsplit_photos").verdict, found(whole, "unsplit_photos").count) == ("warning", 2)
    assert found(whole, "unsplit_photos").rows.tolist() == []  # nothing is wrong with any of them
    assert found(whole, "missing_split").verdict == "passed"
    assert found(whole, "leaking_places").verdict == "skipped"
    assert whole.flat()["leaking_places"] is None
    part = inspected(tmp_path / "m.csv", at(PARIS), at(TOKYO, split="train"), at(LYON, split="test"))
    assert found(part, "unsplit_photos").rows.tolist() == [0]
    assert found(part, "missing_split").verdict == "problem"
    assert found(part, "missing_split").detail == "No photo has the split validation."


def test_advice_replaces_no_split_that_exists(tmp_path: Path) -> None:
    """After `split --gap-km 25`, or on a published train and test, it advised `geomind split … --overwrite`."""
    rows = [at(PARIS, split="train"), at(TOKYO, split="test"), at(LYON)]
    inspection = inspected(tmp_path / "m.csv", *rows)
    for check in ("unsplit_photos", "missing_split"):
        assert found(inspection, check).verdict != "passed"
        assert "--overwrite" not in found(inspection, check).mend("m.csv", None)
    assert "geomind split m.csv --output split.csv" in found(inspection, "missing_split").mend("m.csv", None)
    whole = inspected(tmp_path / "m.csv", at(PARIS), at(TOKYO))
    assert found(whole, "unsplit_photos").mend("m.csv", None) == "Split by place: geomind split m.csv"


def test_a_test_set_lacks_nothing(tmp_path: Path) -> None:
    """A manifest for testing alone was a problem for having no training photos."""
    inspection = inspected(tmp_path / "m.csv", at(PARIS, split="test"), at(TOKYO, split="test"))
    assert found(inspection, "missing_split").verdict == "warning"
    assert inspection.purpose == "test on"
    other = inspected(tmp_path / "m.csv", at(PARIS, split="test"), at(TOKYO))
    assert found(other, "missing_split").verdict == "problem"
    assert other.purpose == "train on"
