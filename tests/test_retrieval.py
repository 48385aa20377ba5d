from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from geomind import retrieval
from geomind.checkpoints import (
    director_path,
    expert_path,
    gallery_path,
    load_checkpoint,
    read_description,
    read_trunk,
    save_checkpoint,
    save_gallery,
    state_checksum,
)
from geomind.director import Director
from geomind.errors import CheckpointError
from geomind.geography.regions import RegionTable, default_regions
from geomind.retrieval import Gallery, NearestPhoto, softmax, unit_rows

REGIONS = default_regions()
FEATURES = 6


def random_rows(count: int, seed: int = 0, features: int = FEATURES) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)


def gallery(features: np.ndarray, region_ids: Any = 2, temperature: float = 0.1) -> Gallery:
    """Make a gallery whose photos lie at (row, row) hundredths of a degree."""
    rows = np.arange(len(features))
    places = np.stack([rows, rows], axis=1) / 100
    ids = np.broadcast_to(np.asarray(region_ids, np.int32), len(features))
    description = describe("gallery", REGIONS, trunk="t", temperature=temperature)
    return Gallery(unit_rows(features).astype(np.float16), places, ids, description)


def by_hand(features: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Measure all cosines in float64, without rounding rows to float16: (N, n)."""
    rows, asked = features.astype(np.float64), asked.astype(np.float64)
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None, :]
    return asked @ rows.T / lengths


@pytest.fixture
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_BYTES", 1 << 13)
        patch.setattr(retrieval, "_BLOCK_PHOTOS", 3)
        yield


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_nearest_of_a_photo_is_itself(count: int, seed: int) -> None:
    features = random_rows(count, seed) * np.float32(37)
    rows, cosines = gallery(features).search(features)
    assert rows[:, 0].tolist() == list(range(count))
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-6)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert all(len(set(row)) == min(count, retrieval.NEIGHBOURS) for row in rows.tolist())


ROUNDING = 2.0**-11 + 1e-5
"""What rounding a unit row to float16 changes of a cosine at most (a half of the last of 11 bits, by Cauchy-Schwarz),
and float32 beside it."""


@given(st.integers(1, 80), st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_what_is_found_is_the_best_but_for_rounding(count: int, asked: int, neighbours: int, seed: int) -> None:
    features, queries = random_rows(count, seed), random_rows(asked, seed + 1)
    rows, cosines = gallery(features).search(queries, neighbours)
    true = by_hand(features, queries)
    assert rows.shape == cosines.shape == (asked, min(neighbours, count))
    np.testing.assert_allclose(cosines, np.take_along_axis(true, rows, axis=1), atol=2 * ROUNDING)
    best = -np.sort(-true, axis=1)[:, : rows.shape[1]]
    np.testing.assert_allclose(np.take_along_axis(true, rows, axis=1), best, atol=4 * ROUNDING)


@given(
    st.integers(1, 90),
    st.integers(0, 8),
    st.integers(1, 9),
    st.integers(64, 4096),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_blocks_of_any_size_find_the_same(
    count: int, asked: int, neighbours: int, block_bytes: int, photos: int, seed: int
) -> None:
    # Whole numbers: their products are exact, so that equals are equal however a block is multiplied.
    random = np.random.default_rng(seed)
    features = random.integers(-1, 2, (count, FEATURES)).astype(np.float32)
    queries = random.integers(-2, 3, (asked, FEATURES)).astype(np.float32)
    whole = gallery(features)
    whole.embeddings = features.astype(np.float16)
    some = np.flatnonzero(random.random(count) < 0.7)
    expected = [whole.search(queries, neighbours, rows) for rows in (None, some)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_BYTES", block_bytes)
        patch.setattr(retrieval, "_BLOCK_PHOTOS", photos)
        for rows, (found, cosines) in zip((None, some), expected, strict=True):
            again, near = whole.search(queries, neighbours, rows)
            np.testing.assert_array_equal(again, found)
            np.testing.assert_array_equal(near, cosines)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_a_region_is_searched_as_if_there_were_no_other(count: int, seed: int) -> None:
    features, queries = random_rows(count, seed), random_rows(5, seed + 1)
    ids = np.random.default_rng(seed).integers(0, 3, count)
    whole = gallery(features, ids)
    for region_id in range(3):
        own = np.flatnonzero(ids == region_id)
        rows, cosines = whole.search(queries, 4, whole.rows_of(region_id))
        alone, near = gallery(features[own]).search(queries, 4)
        np.testing.assert_array_equal(rows, own[alone] if len(own) else alone)
        np.testing.assert_allclose(cosines, near, atol=1e-9)


def test_of_equals_the_lower_row_comes_first(small_blocks: None) -> None:
    one, other = random_rows(2)
    features = np.stack([other, one] * 200)
    rows, cosines = gallery(features).search(one[None], 4)
    assert rows.tolist() == [[1, 3, 5, 7]]
    assert len(set(cosines[0])) == 1


def test_more_neighbours_than_photos_are_as_many_as_there_are() -> None:
    rows, cosines = gallery(random_rows(3)).search(random_rows(2), 10)
    assert rows.shape == cosines.shape == (2, 3)


def test_a_photo_without_any_feature_is_like_none() -> None:
    features = random_rows(4)
    features[2] = 0
    rows, cosines = gallery(features).search(np.zeros((1, FEATURES), np.float32), 4)
    assert rows.tolist() == [[0, 1, 2, 3]]
    assert cosines.tolist() == [[0, 0, 0, 0]]


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no number"):
        gallery(random_rows(4)).search(np.full((1, FEATURES), np.nan, np.float32))


@pytest.mark.parametrize("scale", [1e-37, 1e-3, 1e19, 1e37])
def test_rows_of_any_length_become_units(scale: float) -> None:
    rows = random_rows(5) * np.float32(scale)
    np.testing.assert_allclose(np.linalg.norm(unit_rows(rows).astype(np.float64), axis=1), 1, atol=1e-6)
    assert unit_rows(np.zeros((2, 3), np.float32)).tolist() == [[0] * 3] * 2
    assert unit_rows(np.zeros((0, 3), np.float32)).shape == (0, 3)


# ── candidates ───────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 40), st.floats(1e-3, 1), st.integers(0, 2**32 - 1))
def test_candidates_are_neighbours_with_probabilities(count: int, temperature: float, seed: int) -> None:
    features, queries = random_rows(count, seed), random_rows(6, seed + 1)
    ids = np.random.default_rng(seed).integers(0, 3, count)
    whole, asked = gallery(features, ids, temperature), np.array([0, 1, 2, 0, 1, 2])
    probabilities, places = whole.candidates(queries, asked, 5)
    size = min(5, count)
    assert (probabilities.shape, places.shape) == ((6, size), (6, size, 2))
    for photo, region_id in enumerate(asked):
        own = whole.rows_of(int(region_id))
        if len(own) == 0:
            assert (probabilities[photo] == 0).all()
            assert (places[photo] == 0).all()
            continue
        rows, cosines = whole.search(queries[photo : photo + 1], 5, own)
        assert probabilities[photo].sum() == pytest.approx(1)
        found = len(rows[0])
        np.testing.assert_allclose(probabilities[photo, :found], softmax(cosines, temperature)[0], atol=1e-9)
        np.testing.assert_array_equal(places[photo, :found], whole.places[rows[0]])
        assert (probabilities[photo, found:] == 0).all()
        np.testing.assert_array_equal(places[photo, found:], np.tile(whole.places[rows[0, 0]], (size - found, 1)))
        assert (np.diff(probabilities[photo]) <= 1e-12).all()


def test_the_world_is_searched_where_no_region_is_named() -> None:
    features = random_rows(30)
    whole = gallery(features, np.arange(30) % 3)
    probabilities, places = whole.candidates(features[7:8], count=4)
    assert (probabilities.shape, places.shape) == ((1, 4), (1, 4, 2))
    assert places[0, 0].tolist() == [0.07, 0.07]


def test_a_region_without_photos_is_said_once(heard: pytest.LogCaptureFixture) -> None:
    whole = gallery(random_rows(4), 2)
    for _ in range(2):
        whole.candidates(random_rows(2), np.array([11, 2]))
    said = [record.getMessage() for record in heard.records]
    assert said == ["The gallery has no photo of region 11 'Oceania': no neighbours there."]


@given(st.integers(1, 9), st.integers(0, 99))
def test_a_low_temperature_trusts_the_nearest_and_a_high_one_all(count: int, seed: int) -> None:
    cosines = -np.sort(-np.random.default_rng(seed).uniform(-1, 1, (3, count)), axis=1)
    cosines[:, 1:] -= 0.1
    np.testing.assert_allclose(softmax(cosines, 1e-3)[:, 0], 1, atol=1e-12)
    np.testing.assert_allclose(softmax(cosines, 1e6), 1 / count, atol=1e-5)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stored(models: Path) -> Path:
    """The gallery of a models folder's Director: 24 photos of random features, of regions 2 and 5."""
    ids = np.array([2] * 12 + [5] * 12, np.int32)
    places = np.stack([np.linspace(40, 60, 24), np.linspace(0, 30, 24)], axis=1)
    arrays = {
        "embeddings": unit_rows(random_rows(24, features=384)).astype(np.float16),
        "places": places,
        "region_ids": ids,
    }
    trunk = read_trunk(director_path(models))
    save_gallery(gallery_path(models), arrays, describe("gallery", REGIONS, trunk=trunk, temperature=0.05))
    return gallery_path(models)


def test_a_gallery_comes_back_from_the_disk(models: Path, stored: Path) -> None:
    assert stored == models / "director" / "gallery.safetensors"
    assert gallery_path(models, REGIONS[5]) == models / "experts" / "05-russia-cyrillic.gallery.safetensors"
    found = Gallery.load(stored, director_path(models))
    assert isinstance(found.embeddings, np.memmap)
    assert len(found) == 24
    np.testing.assert_array_equal(found.embeddings, unit_rows(random_rows(24, features=384)).astype(np.float16))
    assert found.places[-1].tolist() == [60, 30]
    assert found.rows_of(5).tolist() == list(range(12, 24))
    assert found.description.temperature == 0.05
    assert found.search(np.asarray(found.embeddings[3:4], np.float32))[0][0, 0] == 3
    assert {path.name for path in stored.parent.iterdir()} == {"director.safetensors", "gallery.safetensors"}


def test_a_gallery_keeps_no_path(stored: Path) -> None:
    data = stored.read_bytes()
    assert set(load_file(stored)) == {"embeddings", "places", "region_ids"}
    assert b"image_path" not in data
    assert str(stored.parent.parent).encode() not in data


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.999])
def test_a_truncated_gallery_is_refused(models: Path, stored: Path, share: float) -> None:
    stored.write_bytes(stored.read_bytes()[: int(stored.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        Gallery.load(stored, director_path(models))


def test_a_flipped_bit_of_a_gallery_is_noticed(models: Path, stored: Path) -> None:
    data = bytearray(stored.read_bytes())
    for position in (-5, -3000, -6000, -15000):
        mutated = bytearray(data)
        mutated[position] ^= 0x04
        stored.write_bytes(mutated)
        with pytest.raises(CheckpointError, match="checksum does not match"):
            Gallery.load(stored, director_path(models))


def test_every_flipped_byte_of_a_gallerys_header_is_survived(models: Path, stored: Path) -> None:
    data = stored.read_bytes()
    for position in range(0, 8 + int.from_bytes(data[:8], "little"), 11):
        mutated = bytearray(data)
        mutated[position] ^= 0x10
        stored.write_bytes(mutated)
        try:
            Gallery.load(stored, director_path(models))
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_what_is_no_gallery_is_refused(models: Path, tmp_path: Path) -> None:
    weights = director_path(models)
    with pytest.raises(CheckpointError, match=r"No gallery at .*--gallery"):
        Gallery.load(gallery_path(models), weights)
    with pytest.raises(CheckpointError, match="kind 'director', where 'gallery'"):
        Gallery.load(weights, weights)
    save_file({"embeddings": np.zeros((1, 2), np.float16)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="another program"):
        Gallery.load(tmp_path / "foreign.safetensors", weights)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("places", np.array([[91.0, 0.0]] * 24), "off the Earth"),
        ("places", np.array([[np.nan, 0.0]] * 24), "off the Earth"),
        ("places", np.zeros((23, 2)), "do not fit together"),
        ("places", np.zeros((24, 3)), "do not fit together"),
        ("places", np.zeros(24), "arrays of a gallery"),
        ("region_ids", np.full(24, 13, np.int32), "not in its table"),
        ("region_ids", np.full(24, -1, np.int32), "not in its table"),
        ("region_ids", np.zeros(24, np.int64), "another type"),
        ("region_ids", np.zeros(0, np.int32), "empty"),
        ("embeddings", np.zeros((24, 384), np.float64), "arrays of a gallery"),
        ("more", np.zeros(3), "arrays of a gallery"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    models: Path, stored: Path, name: str, array: np.ndarray, said: str
) -> None:
    description = read_description(stored)
    save_gallery(stored, {**load_file(stored), name: array}, description)
    with pytest.raises(CheckpointError, match=said):
        Gallery.load(stored, director_path(models))


def test_a_gallery_of_another_trunk_size_or_table_is_refused(
    models: Path, stored: Path, two_regions: RegionTable
) -> None:
    weights, arrays, about = director_path(models), load_file(stored), read_description(stored)
    for other in (
        {"trunk": "of another"},
        {"preprocessing": about.preprocessing.model_copy(update={"image_size": 64})},
    ):
        save_gallery(stored, arrays, about.model_copy(update=other))
        with pytest.raises(CheckpointError, match="another image encoder or other pixels"):
            Gallery.load(stored, weights)
    arrays["region_ids"][:] = 0
    save_gallery(stored, arrays, about.model_copy(update={"region_table": two_regions.to_dict()}))
    with pytest.raises(CheckpointError, match="'two' of 2 regions"):
        Gallery.load(stored, weights)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), None])
def test_a_temperature_that_is_none_is_refused(models: Path, stored: Path, temperature: float | None) -> None:
    about = read_description(stored).model_copy(update={"temperature": temperature})
    metadata = {"geomind": about.model_dump_json(), "checksum": "0"}
    if temperature is not None and not np.isfinite(temperature):
        metadata["geomind"] = json.dumps({**json.loads(metadata["geomind"]), "temperature": temperature})
    save_file(load_file(stored), stored, metadata=metadata)
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        Gallery.load(stored, director_path(models))


def test_the_trunk_of_weights_has_a_checksum_without_torch(models: Path) -> None:
    for path, kind in ((director_path(models), "director"), (expert_path(models, REGIONS[5]), "expert")):
        state, about = load_checkpoint(path, kind)
        trunk = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
        assert read_trunk(path) == state_checksum(trunk)
        told = about.model_copy(update={"trunk": "told"})
        save_checkpoint(path, state, told)
        assert read_trunk(path) == "told"


# ── the size ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_does_not_copy_the_gallery(models: Path, stored: Path) -> None:
    """30,000 photos of 384 features are 23 MB in float16 and 46 in float32; the search holds blocks of 1 MB."""
    rows = np.random.default_rng(0).normal(size=(30_000, 384)).astype(np.float16)
    places, ids = np.zeros((len(rows), 2)), np.full(len(rows), 2, np.int32)
    save_gallery(stored, {"embeddings": rows, "places": places, "region_ids": ids}, read_description(stored))
    del rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_BYTES", 1 << 20)
        tracemalloc.start()
        try:
            found = Gallery.load(stored, director_path(models))
            found.search(np.asarray(found.embeddings[:64], np.float32))
            found.candidates(np.asarray(found.embeddings[:64], np.float32), np.full(64, 2))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 << 20


# ── FAISS ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_many_looks(count: int, seed: int = 0) -> np.ndarray:
    """Photos that are each one of 200 looks, changed: what an encoder's features are like."""
    random = np.random.default_rng(seed)
    looks = np.random.default_rng(0).normal(size=(200, 64))
    return (looks[random.integers(0, 200, count)] + 0.8 * random.normal(size=(count, 64))).astype(np.float32)


def test_faiss_finds_what_the_matrix_product_finds(
    monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    features, queries = of_many_looks(20_000), of_many_looks(100, seed=1)
    whole = gallery(features, np.arange(20_000) // 15_000)
    selections = (None, whole.rows_of(0), np.flatnonzero(np.arange(20_000) % 5 > 0))
    exact = [whole.search(queries, 10, rows) for rows in selections]
    monkeypatch.setattr(retrieval, "FAISS_ROWS", 10_000)
    with heard.at_level("INFO"):
        for rows, (expected, cosines) in zip(selections, exact, strict=True):
            found, near = whole.search(queries, 10, rows)
            assert rows is None or np.isin(found, rows).all()
            recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.tolist(), expected.tolist(), strict=True)])
            assert recall >= 0.95
            same = found == expected
            assert same.mean() > 0.9
            np.testing.assert_allclose(near[same], cosines[same], atol=1e-12)
    assert [record.getMessage() for record in heard.records] == [
        "Making FAISS's index of the gallery's 20000 photos, which takes minutes."
    ]


def test_what_faiss_finds_too_little_of_is_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    features = of_many_looks(4_000)
    whole = gallery(features)
    queries, rows = features[:50], np.flatnonzero(np.random.default_rng(0).random(4_000) < 0.03)
    expected = whole.search(queries, 10, rows)
    monkeypatch.setattr(retrieval, "FAISS_ROWS", 1)
    monkeypatch.setattr(retrieval, "FAISS_PROBES", 1)
    found = whole.search(queries, 10, rows)
    assert found[0].shape == (50, 10)
    assert np.isin(found[0], rows).all()
    assert all(len(set(row)) == 10 for row in found[0].tolist())
    assert (found[0] == expected[0]).mean() > 0.5


def test_without_faiss_the_search_goes_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrieval, "FAISS_ROWS", 20)
    monkeypatch.setattr(retrieval.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    features = random_rows(30)
    whole = gallery(features, np.arange(30) // 15)
    with heard.at_level("INFO"):
        whole.search(features, rows=whole.rows_of(0))  # 15 rows are few
        assert not heard.records
        for _ in range(2):
            assert whole.search(features)[0][:, 0].tolist() == list(range(30))
    assert len(heard.records) == 1
    assert "pip install 'geomind[faiss]'" in heard.records[0].getMessage()


class _FewFound:
    """Stands for FAISS's index: it finds the last rows, and of the first photo nothing."""

    def __init__(self, embeddings: np.ndarray) -> None:
        self.rows = len(embeddings)

    def search(self, unit: np.ndarray, count: int, rows: np.ndarray | None) -> np.ndarray:
        found = np.tile(np.arange(self.rows - count, self.rows), (len(unit), 1))
        found[0, -1] = -1
        return found


def test_an_index_is_asked_from_so_many_rows_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_FaissIndex", _FewFound)
    monkeypatch.setattr(retrieval.importlib.util, "find_spec", lambda name: object())  # type: ignore[attr-defined]
    monkeypatch.setattr(retrieval, "FAISS_ROWS", 30)
    features = random_rows(30)
    whole = gallery(features)
    exact, _ = whole.search(features, 3, np.arange(29))
    found, cosines = whole.search(features, 3)
    assert exact[1, 0] == 1
    assert found[0, 0] == 0
    assert sorted(found[1].tolist()) == [27, 28, 29]
    assert (np.diff(cosines, axis=1) <= 0).all()


# ── the nearest photo ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_photo_says_where(heard: pytest.LogCaptureFixture) -> None:
    looks = random_rows(2)
    about = describe("gallery", REGIONS, trunk="t", temperature=0.1)
    places = np.array([[59.91, 10.75], [35.68, 139.69]])
    seen = Gallery(unit_rows(looks).astype(np.float16), places, np.array([2, 6], np.int32), about)

    def director(pixels: np.ndarray) -> tuple[None, np.ndarray]:
        return None, looks[pixels[:, 0, 0, 0].astype(int)] * 3

    asked = NearestPhoto(director, seen)
    pixels = np.zeros((3, 3, SIZE, SIZE), np.float32)
    pixels[:, 0, 0, 0] = [1, 0, 1]
    found = asked.locate(pixels, ["a", "b", "c"])
    assert [p.image_path for p in found] == ["a", "b", "c"]
    assert [p.place for p in found] == [(35.68, 139.69), (59.91, 10.75), (35.68, 139.69)]
    assert [(p.region_id, p.region_name, p.country) for p in found[:2]] == [
        (6, "East Asia", "JP"),
        (2, "Western & Northern Europe", "NO"),
    ]
    assert all(p.error is None and p.region_probability is None for p in found)
    assert asked.preprocessing.image_size == SIZE
    assert asked.locate(pixels[:0], []) == []


def test_a_models_folder_answers_with_the_nearest_photo(models: Path, stored: Path, pixels: np.ndarray) -> None:
    director = Director.load(director_path(models))
    arrays = load_file(stored)
    arrays["embeddings"][5:11] = unit_rows(director.answer(pixels)[1]).astype(np.float16)
    save_gallery(stored, arrays, read_description(stored))
    found = NearestPhoto.load(models, runtime="torch").locate(pixels, list("abcdef"))
    np.testing.assert_allclose([p.place for p in found], arrays["places"][5:11], atol=1e-6)


def test_no_gallery_is_no_nearest_photo(models: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No gallery at"):
        NearestPhoto.load(models)
    with pytest.raises(CheckpointError, match="train-director"):
        torch.manual_seed(0)
        save = gallery_path(tmp_path / "none")
        arrays = {"embeddings": np.ones((1, 2), np.float16), "places": np.zeros((1, 2)),
                  "region_ids": np.zeros(1, np.int32)}  # fmt: skip
        save_gallery(save, arrays, describe("gallery", REGIONS, trunk="t", temperature=1.0))
        NearestPhoto.load(tmp_path / "none")


def test_importing_retrieval_loads_neither_torch_nor_faiss() -> None:
    import subprocess

    code = "import sys, geomind.retrieval; assert not {'torch', 'faiss'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
