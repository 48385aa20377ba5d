from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from inspected import LYON, PARIS, at, found, inspected, scene

from geomind.data.inspection.duplicates import NEAR_BITS, pictures_at_one_place, similar_pictures
from geomind.data.inspection.file_checks import FileChecks
from geomind.geography.sphere import destination


def checks_of(looks: np.ndarray) -> FileChecks:
    none, every = np.zeros(len(looks), dtype=bool), np.ones(len(looks), dtype=bool)
    faults = np.array([""] * len(looks), dtype=object)
    return FileChecks(faults, none, none, none, looks, every, np.arange(len(looks)))


def flipped(look: np.ndarray, bits: list[int]) -> np.ndarray:
    changed = np.unpackbits(look.view(np.uint8))
    changed[bits] ^= 1
    return np.packbits(changed).view(np.uint64)


@settings(deadline=None)
@given(st.lists(st.integers(0, 127), unique=True, max_size=12), st.integers(0, 10_000))
def test_looks_are_similar_up_to_seven_bits_wherever_they_are(bits: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    looks = rng.integers(0, 2**63, (50, 2)).astype(np.uint64)
    looks[31] = flipped(looks[7], bits)
    sets = similar_pictures(checks_of(looks))
    assert (sets[7] == sets[31] >= 0) == (len(bits) <= NEAR_BITS)
    assert (np.delete(sets, [7, 31]) == -1).all()


def test_a_chain_of_similar_looks_is_one_set_and_blank_pictures_are_in_none() -> None:
    looks = np.zeros((5, 2), dtype=np.uint64)
    looks[1] = flipped(looks[0], list(range(6)))
    looks[2] = flipped(looks[1], list(range(60, 66)))
    checks = checks_of(looks)
    checks.has_look[4] = False
    assert similar_pictures(checks).tolist() == [0, 0, 0, 0, -1]


def test_a_hundred_thousand_equal_looks_are_no_hundred_thousand_squared() -> None:
    looks = np.zeros((100_000, 2), dtype=np.uint64)
    assert set(similar_pictures(checks_of(looks)).tolist()) == {0}


@settings(deadline=None)
@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(0, 360))
def test_a_place_has_no_edge(latitude: float, longitude: float, bearing: float) -> None:
    here = np.array([latitude, longitude])
    near, far = destination(here, bearing, 0.3), destination(here, bearing, 5.0)
    places = pictures_at_one_place(np.array([4, 4, 4, 2, -1]), np.stack([here, near, far, here, here]))
    assert places[0] == places[1]
    assert len({places[0], places[2], places[3], -1}) == 4
    assert places[4] == -1


def test_copies_near_duplicates_and_one_picture_elsewhere(tmp_path: Path) -> None:
    original = scene(tmp_path / "0.jpg", 0)
    (tmp_path / "1.jpg").write_bytes(original.read_bytes())
    scene(tmp_path / "2.jpg", 0, quality=40)
    scene(tmp_path / "3.jpg", 1)
    scene(tmp_path / "4.jpg", 0, size=(200, 150))
    (tmp_path / "5.jpg").write_bytes((tmp_path / "3.jpg").read_bytes())
    places = [PARIS, PARIS, PARIS, PARIS, LYON, PARIS]
    inspection = inspected(tmp_path / "m.csv", *[at(place) for place in places], at(PARIS, image_path="0.jpg"),
                           open_files=True)  # fmt: skip
    assert found(inspection, "duplicate_files").rows.tolist() == [1, 5, 6]
    assert found(inspection, "duplicate_files").notes == ("as 0.jpg", "as 3.jpg", "as 0.jpg")
    assert found(inspection, "near_duplicates").rows.tolist() == [2]
    assert found(inspection, "near_duplicates").notes == ("like 0.jpg",)
    assert found(inspection, "same_picture_elsewhere").rows.tolist() == [4]
    assert found(inspection, "same_picture_elsewhere").notes == ("like 0.jpg, 391 km away",)


def test_without_opening_files_the_same_path_is_still_found(tmp_path: Path) -> None:
    rows = [at(PARIS, image_path="a/b.jpg"), at(PARIS, image_path="a/../a/./b.jpg"), at(PARIS, image_path="c.jpg")]
    inspection = inspected(tmp_path / "m.csv", *rows)
    assert found(inspection, "duplicate_files").rows.tolist() == [1]
    assert found(inspection, "near_duplicates").verdict == "skipped"
