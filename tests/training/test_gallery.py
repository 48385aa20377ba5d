"""Galleries are made of the photos that an encoder was trained on, and of no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from few_photos import DIRECTOR, EXPERT, PLACES, REGIONS, edit
from hypothesis import given
from hypothesis import strategies as st

from geomind.checkpoints import (
    Description,
    director_path,
    expert_path,
    gallery_path,
    read_checksum,
    read_description,
    save_checkpoint,
    state_checksum,
)
from geomind.director import Director
from geomind.errors import CheckpointError, ManifestError
from geomind.networks import DirectorNetwork, ExpertNetwork
from geomind.photos import Preprocessing
from geomind.retrieval import Gallery, NearestPhoto, softmax
from geomind.training import gallery as module
from geomind.training.director import train_director
from geomind.training.expert import train_expert
from geomind.training.gallery import (
    DEFAULT_TEMPERATURE,
    fit_temperature,
    make_director_gallery,
    make_expert_galleries,
    make_expert_gallery,
)

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture
def where(folders: dict[str, Any]) -> dict[str, Any]:
    """Say where galleries go, as those who make them are told it."""
    return {"models": folders["models"], "runs": folders["runs"], "device": "cpu"}


def describe(kind: Literal["director", "expert"], **more: Any) -> Description:
    medians = {region.id: (0.0, 0.0) for region in REGIONS.regions} if kind == "director" else {}
    return Description(
        kind=kind, region_table=REGIONS.to_dict(), preprocessing=Preprocessing(image_size=32), backbone="scene_net",
        config={}, region_medians=medians, **more,
    )  # fmt: skip


def director(folders: dict[str, Any], seed: int = 0) -> Path:
    """Write a Director of random weights, which tells photos apart as well as any."""
    torch.manual_seed(seed)
    network = DirectorNetwork("scene_net", 32, len(REGIONS))
    trunk = state_checksum(network.backbone.state_dict())
    path = director_path(folders["models"])
    save_checkpoint(path, network.state_dict(), describe("director", trunk=trunk))
    return path


def expert(folders: dict[str, Any], region_id: int, *, trunk: str | None = None, seed: int = 0) -> Path:
    """Write an Expert of random weights."""
    torch.manual_seed(seed)
    state = ExpertNetwork("scene_net", 32).state_dict()
    path = expert_path(folders["models"], REGIONS[region_id])
    kept = state if trunk is None else {name: state[name] for name in state if name.startswith("head.")}
    save_checkpoint(path, kept, describe("expert", region_id=region_id, box=(0, 1, 0, 1), trunk=trunk))
    return path


def places_of(gallery: Gallery) -> set[tuple[float, float]]:
    return {(round(latitude, 6), round(longitude, 6)) for latitude, longitude in gallery.places.tolist()}


TRAINED = {(latitude + step, longitude) for latitude, longitude in PLACES.values() for step in range(8) if step % 4 < 3}
"""Where the photos for training lie; every fourth is for validation."""


def test_a_directors_gallery_holds_its_training_photos_and_no_others(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    weights = director(folders)
    made = make_director_gallery(data, **where)
    assert made.path == gallery_path(folders["models"])
    assert (made.photos, made.unreadable) == (18, 0)
    found = Gallery.load(made.path, weights)
    assert places_of(found) == TRAINED
    assert found.region_ids.tolist() == [2] * 6 + [6] * 6 + [9] * 6
    assert found.description.training_photos == 18
    assert found.description.temperature == made.temperature
    assert found.description.metrics == made.metrics
    assert set(made.metrics) == {"nearest_geoscore", "nearest_median_km"}
    assert made.path.stat().st_mode == weights.stat().st_mode
    text = made.path.read_bytes()
    assert b".png" not in text
    assert str(data.parent).encode() not in text


def test_a_training_photo_is_found_where_it_was_taken(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    director(folders)
    make_director_gallery(data, **where)
    names = [f"{region_id}-{step}.png" for region_id in PLACES for step in (0, 1, 2, 4, 5, 6)]
    pixels = np.stack([Preprocessing(image_size=32).read(data.parent / name) for name in names])
    found = NearestPhoto.load(folders["models"], runtime="torch").locate(pixels, names)
    for prediction in found:
        region_id, step = map(int, prediction.image_path.removesuffix(".png").split("-"))
        latitude, longitude = PLACES[region_id]
        assert prediction.place == (latitude + step, longitude)
        assert prediction.region_id == region_id


def test_photos_that_cannot_be_read_are_left_out(data: Path, folders: dict[str, Any], where: dict[str, Any]) -> None:
    director(folders)
    (data.parent / "6-1.png").write_bytes(b"no photo")
    (data.parent / "9-3.png").write_bytes(b"no photo")  # of validation
    made = make_director_gallery(data, **where)
    assert (made.photos, made.unreadable) == (17, 1)
    found = Gallery.load(made.path, director_path(folders["models"]))
    assert TRAINED - places_of(found) == {(37.0, 138.0)}
    for path in data.parent.glob("*.png"):
        path.write_bytes(b"no photo")
    before = made.path.read_bytes()
    with pytest.raises(ManifestError, match="None of the 18 photos"):
        make_director_gallery(data, **where)
    assert made.path.read_bytes() == before


def test_the_same_photo_twice_is_two_rows(data: Path, folders: dict[str, Any], where: dict[str, Any]) -> None:
    director(folders)
    (data.parent / "6-1.png").write_bytes((data.parent / "6-0.png").read_bytes())
    made = make_director_gallery(data, **where)
    found = Gallery.load(made.path, director_path(folders["models"]))
    six = found.rows_of(6)
    np.testing.assert_array_equal(found.embeddings[six[0]], found.embeddings[six[1]])
    assert found.places[six[:2]].tolist() == [[36, 138], [37, 138]]


def test_some_photos_at_a_time_make_the_same_gallery(
    data: Path, folders: dict[str, Any], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    director(folders)
    path = make_director_gallery(data, **where).path
    whole = read_checksum(path), read_description(path)
    monkeypatch.setattr(module, "_PHOTOS_AT_ONCE", 5)
    make_director_gallery(data, **where)
    assert (read_checksum(path), read_description(path)) == whole


def test_a_gallery_without_validation_photos_has_a_temperature(
    data: Path, folders: dict[str, Any], where: dict[str, Any], heard: pytest.LogCaptureFixture
) -> None:
    director(folders)
    edit(data, split="train")
    made = make_director_gallery(data, **where)
    assert (made.photos, made.temperature, made.metrics) == (24, DEFAULT_TEMPERATURE, {})
    assert "unfitted" in heard.text


def test_an_unsplit_manifest_holds_out_what_the_training_held_out(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    edit(data, split="")
    config = DIRECTOR.model_copy(update={"seed": 3})
    trained = train_director(data, config, **folders)
    made = make_director_gallery(data, **where)
    assert made.photos == trained.photos < 24


def test_an_expert_with_its_own_encoder_has_its_own_gallery(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    weights = expert(folders, 6)
    made = make_expert_gallery(data, 6, regions=REGIONS, **where)
    assert made.path == gallery_path(folders["models"], REGIONS[6])
    found = Gallery.load(made.path, weights)
    assert found.region_ids.tolist() == [6] * 6
    assert found.description.region_id == 6
    with pytest.raises(CheckpointError, match="another image encoder"):
        Gallery.load(made.path, expert(folders, 9, seed=1))


def test_experts_on_the_directors_trunk_share_its_gallery(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    trunk = read_description(director(folders)).trunk
    for region_id in (2, 9):
        expert(folders, region_id, trunk=trunk)
    expert(folders, 6, seed=1)
    made = make_expert_galleries(data, regions=REGIONS, **where)
    assert [each.path for each in made] == [
        gallery_path(folders["models"]),
        gallery_path(folders["models"], REGIONS[6]),
    ]
    shared = Gallery.load(made[0].path, expert_path(folders["models"], REGIONS[2]))
    assert len(shared) == 18
    assert make_expert_gallery(data, 9, regions=REGIONS, **where).path == made[0].path


def test_what_is_trained_has_its_gallery(data: Path, folders: dict[str, Any], where: dict[str, Any]) -> None:
    train_director(data, DIRECTOR, **folders)
    shared = train_expert(data, 2, EXPERT.model_copy(update={"trunk": "director"}), **folders)
    own = train_expert(data, 6, EXPERT.model_copy(update={"seed": 1}), **folders)
    first, second = make_expert_galleries(data, regions=REGIONS, **where)
    assert len(Gallery.load(first.path, shared.weights)) == 18
    assert len(Gallery.load(second.path, own.weights)) == 6


def test_a_gallery_of_an_earlier_director_is_refused(
    data: Path, folders: dict[str, Any], where: dict[str, Any]
) -> None:
    weights = director(folders)
    made = make_director_gallery(data, **where)
    director(folders, seed=1)
    with pytest.raises(CheckpointError, match="another image encoder"):
        Gallery.load(made.path, weights)
    with pytest.raises(CheckpointError, match="another image encoder"):
        NearestPhoto.load(folders["models"])
    make_director_gallery(data, **where)
    assert len(Gallery.load(made.path, weights)) == 18


def test_without_weights_there_is_no_gallery(data: Path, folders: dict[str, Any], where: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="train-director"):
        make_director_gallery(data, **where)
    with pytest.raises(CheckpointError, match="train-expert"):
        make_expert_gallery(data, 6, regions=REGIONS, **where)
    with pytest.raises(CheckpointError, match="No Expert in"):
        make_expert_galleries(data, regions=REGIONS, **where)
    assert not folders["models"].exists()


# ── the temperature ──────────────────────────────────────────────────────────────────────────────────────────────────


OSLO, TOKYO = (59.91, 10.75), (35.68, 139.69)


def test_a_nearest_photo_that_is_right_is_trusted() -> None:
    """Three others agree on another place and weigh more than it from a temperature of 0.1 / log 3 = 0.091 on."""
    cosines, places = np.array([[0.9, 0.8, 0.8, 0.8]] * 5), np.array([[OSLO, TOKYO, TOKYO, TOKYO]] * 5)
    assert fit_temperature(cosines, places, np.array([OSLO] * 5)) < 0.091
    assert fit_temperature(cosines, places, np.array([TOKYO] * 5)) > 0.091
    assert fit_temperature(cosines, places, np.array([TOKYO] * 2 + [OSLO] * 3)) < 0.091


def test_where_all_temperatures_are_as_good_it_is_the_middle_one() -> None:
    found = fit_temperature(np.array([[0.9]]), np.array([[OSLO]]), np.array([TOKYO]))
    assert found == pytest.approx(DEFAULT_TEMPERATURE, rel=0.1)


def test_neighbours_that_there_are_none_of_have_no_say() -> None:
    """Their places are (0, 0), amid the others here and so the best of all, and the truth."""
    cosines = np.array([[0.9, 0.8, 0.8, 0.8, -np.inf]])
    places = np.array([[(3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0), (0.0, 0.0)]])
    assert fit_temperature(cosines, places, np.zeros((1, 2))) == pytest.approx(0.0316, rel=0.01)


@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, 99))
def test_any_neighbours_leave_a_temperature(photos: int, neighbours: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cosines = -np.sort(-random.uniform(-1, 1, (photos, neighbours)), axis=1)
    cosines[:, 1:][random.random((photos, neighbours - 1)) < 0.3] = -np.inf
    places = random.uniform((-90, -180), (90, 180), (photos, neighbours, 2))
    found = fit_temperature(cosines, places, random.uniform((-90, -180), (90, 180), (photos, 2)))
    assert 0.001 <= found <= 1


def test_a_temperature_is_fitted_on_some_of_very_many_photos(
    data: Path, folders: dict[str, Any], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    director(folders)
    asked: list[int] = []
    monkeypatch.setattr(module, "_FIT_PHOTOS", 4)
    monkeypatch.setattr(module, "fit_temperature", lambda cosines, *_: asked.append(len(cosines)) or 0.5)
    make_director_gallery(data, **where)
    assert asked == [4]


def test_the_temperature_is_kept_with_the_gallery(
    data: Path, folders: dict[str, Any], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    director(folders)
    asked: list[tuple[np.ndarray, ...]] = []

    def fit(*neighbours: np.ndarray) -> float:
        asked.append(neighbours)
        return 0.125

    monkeypatch.setattr(module, "fit_temperature", fit)
    made = make_director_gallery(data, **where)
    assert read_description(made.path).temperature == made.temperature == 0.125
    cosines, places, truth = asked[0]
    assert (cosines.shape, places.shape) == ((6, 10), (6, 10, 2))  # two validation photos in each of three regions
    assert truth.tolist() == [[lat + step, lon] for lat, lon in PLACES.values() for step in (3, 7)]
    assert {tuple(place) for place in places[:, :6].reshape(-1, 2).tolist()} == TRAINED
    assert np.isfinite(cosines).sum(axis=1).tolist() == [6] * 6  # of its own region alone
    own = Gallery.load(made.path, director_path(folders["models"])).weigh(np.array([[0, 1]]), np.array([[0.9, 0.775]]))
    np.testing.assert_allclose(own[0][0], softmax(np.array([[0.9, 0.775]]), 0.125)[0])
    loaded = Director.load(director_path(folders["models"]))
    validation = loaded.answer(loaded.description.preprocessing.read(data.parent / "2-3.png")[None])[1]
    expected = Gallery.load(made.path, director_path(folders["models"])).search(validation, 6, np.arange(6))[1]
    np.testing.assert_allclose(cosines[0, :6], expected[0], atol=1e-3)
