"""Explanations: of whoever answers, with what they cannot show said, and maps that lie where the photo is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image

from geomind.checkpoints import (
    director_path,
    expert_path,
    gallery_path,
    load_checkpoint,
    read_trunk,
    save_checkpoint,
    save_gallery,
    state_checksum,
)
from geomind.data.manifest import COLUMNS
from geomind.director import Director
from geomind.errors import CheckpointError, ManifestError, MissingExtraError, OutputError, PhotoError
from geomind.evaluation.explain import (
    NINTHS,
    Explanation,
    HeatMap,
    _cell_direction,
    _km_per_logit,
    explain,
    write_explanation,
)
from geomind.evaluation.gradcam import enlarged
from geomind.expert import load_expert_network
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.regions import default_regions
from geomind.geography.sphere import displacement_km
from geomind.networks import CellsNetwork, ExpertNetwork, VectorNetwork
from geomind.photos import Preprocessing
from geomind.retrieval import unit_rows

REGIONS = default_regions()
TOWNS = np.array([(48.0 + i % 5, 2.0 + 7 * (i // 5)) for i in range(20)])
TREE = CellTree.fit(TOWNS, {"country": 3, "city": 8})
CODE = CellCode.fit(TREE.named([[f"{level.name} {i}" for i in range(len(level))] for level in TREE.levels]), TOWNS)


def route_to(models: Path, region_id: int) -> None:
    """Make the Director sure of a region, whatever it sees."""
    state, description = load_checkpoint(director_path(models), "director")
    state["head.1.bias"][region_id] += 20
    save_checkpoint(director_path(models), state, description)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def check(told: Explanation, *, level: str = "region") -> None:
    """What holds of every explanation that has both maps."""
    assert told.level == level
    for heat in (told.choice_map, told.place_map):
        assert heat is not None
        assert heat.values.shape == (SIZE, SIZE)
        assert heat.positions == (2, 2)
        assert 0 <= heat.values.min() <= heat.values.max() <= 1
        assert heat.empty or heat.values.max() == 1
        assert heat.empty == any("Its map is empty" in note and heat.of in note for note in told.notes)
    assert told.place_map is not None
    assert not told.place_map.empty
    shares = [share for _, share in told.choices]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert json.loads(json.dumps(told.flat(), allow_nan=False))["latitude"] == told.answer.latitude


def test_a_cascade_with_experts_of_their_own(models: Path, photo: Path) -> None:
    route_to(models, 5)
    told = explain(photo, models)
    check(told)
    assert told.choice_map is not None
    assert told.choice_map.of == told.choices[0][0] == told.answer.region_name == "Russia & Cyrillic"
    assert len(told.choices) == 13
    assert [(place.latitude, place.longitude, place.probability) for place in told.candidates] == [
        (told.answer.latitude, told.answer.longitude, 1)
    ]
    assert told.neighbours == ()
    assert len(explain(photo, models, top_k=3).candidates) == 3


def test_the_map_of_a_place_in_a_box_is_what_can_be_computed_by_hand(models: Path, photo: Path) -> None:
    """In NumPy, of the Expert's own encoder: what each position adds to the logits, in km to north and east."""
    route_to(models, 5)
    network = load_expert_network(expert_path(models, REGIONS[5])).network.eval()
    pixels = torch.from_numpy(Preprocessing(image_size=SIZE).read(photo)[None])
    with torch.no_grad():
        channels = network.backbone.layers(pixels)[0].numpy()  # type: ignore[operator]
        square = network(pixels)[0].numpy().astype(np.float64)
    weights = network.head[1].weight.detach().numpy()  # type: ignore[index]
    moves = np.tensordot((weights[:, :192] + weights[:, 192:]) / 4, channels, axes=1)  # of means, and of maxima
    latitude = 40 + 20 * square[0]
    km = square * (1 - square) * (20 * 111.195, 30 * 111.195 * np.cos(np.radians(latitude)))
    lengths = np.hypot(moves[0] * km[0], moves[1] * km[1])
    heat = explain(photo, models).place_map
    assert heat is not None
    np.testing.assert_allclose(heat.values, enlarged(lengths / lengths.max(), SIZE), rtol=0, atol=1e-4)


def test_the_answer_is_that_of_inference(models: Path, photo: Path) -> None:
    from geomind.geolocators import load_geolocator

    pixels = Preprocessing(image_size=SIZE).read(photo)[None]
    answer = load_geolocator(models).locate(pixels, [str(photo)])[0]
    told = explain(photo, models).answer
    assert (told.latitude, told.longitude) == pytest.approx((answer.latitude, answer.longitude), abs=1e-3)
    assert told.region_id == answer.region_id


def test_a_missing_expert_has_no_map_and_that_is_said(models: Path, photo: Path) -> None:
    route_to(models, 7)
    told = explain(photo, models)
    assert told.place_map is None
    assert told.choice_map is not None
    assert any("train-expert --region 7" in note and "region's median" in note for note in told.notes)
    assert told.answer.place == (7.0, 10.0)


def test_an_expert_with_cells(models: Path, photo: Path) -> None:
    route_to(models, 2)
    network = CellsNetwork("scene_net", SIZE, CODE.sizes)
    about = describe("expert", REGIONS, region_id=2, cells=CODE.to_dict())
    save_checkpoint(expert_path(models, REGIONS[2]), network.state_dict(), about)
    told = explain(photo, models, candidates=3)
    check(told)
    assert 1 <= len(told.candidates) <= 3


def test_an_expert_on_the_directors_trunk_is_one_with_a_copy_of_it(models: Path, photo: Path) -> None:
    route_to(models, 5)
    state, description = load_checkpoint(director_path(models), "director")
    trunk = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    checksum = state_checksum({name.removeprefix("backbone."): tensor for name, tensor in trunk.items()})
    head = {name: t for name, t in ExpertNetwork("scene_net", SIZE).state_dict().items() if name.startswith("head.")}
    about = describe("expert", REGIONS, region_id=5, box=(40.0, 60.0, 0.0, 30.0))
    save_checkpoint(expert_path(models, REGIONS[5]), {**trunk, **head}, about)
    whole = explain(photo, models)
    save_checkpoint(director_path(models), state, description.model_copy(update={"trunk": checksum}))
    save_checkpoint(expert_path(models, REGIONS[5]), head, about.model_copy(update={"trunk": checksum}))
    shared = explain(photo, models)
    check(shared)
    assert shared.place_map is not None
    assert whole.place_map is not None
    np.testing.assert_allclose(shared.place_map.values, whole.place_map.values, rtol=0, atol=1e-4)


def test_a_hierarchical_network(tmp_path: Path, photo: Path) -> None:
    torch.manual_seed(0)
    network = CellsNetwork("scene_net", SIZE, CODE.sizes)
    about = describe("hierarchical", REGIONS, cells=CODE.to_dict())
    save_checkpoint(tmp_path / "one" / "hierarchical.safetensors", network.state_dict(), about)
    told = explain(photo, tmp_path / "one", candidates=2)
    check(told, level="country")
    assert told.choice_map is not None
    assert told.choice_map.of == told.answer.country_cell
    assert dict(told.choices)[told.choice_map.of] == pytest.approx(told.answer.country_cell_probability, abs=1e-6)


@pytest.mark.parametrize("kind", [ExpertNetwork, VectorNetwork])
def test_a_regression_has_a_place_alone(kind: Any, tmp_path: Path, photo: Path) -> None:
    torch.manual_seed(0)
    box = (-90.0, 90.0, -180.0, 180.0) if kind is ExpertNetwork else None
    save_checkpoint(
        tmp_path / "one" / "regression.safetensors",
        kind("scene_net", SIZE).state_dict(),
        describe("regression", REGIONS, box=box),
    )
    told = explain(photo, tmp_path / "one")
    assert told.level == ""
    assert told.choices == told.candidates == ()
    assert told.choice_map is None
    assert told.place_map is not None
    assert told.place_map.values.max() == 1
    assert any("A regression chooses no region" in note for note in told.notes)


def test_an_empty_map_is_said_to_be_empty(models: Path, photo: Path) -> None:
    """Maps of ReLUs are not negative, so that weights below 0 leave nothing that speaks for the region."""
    state, description = load_checkpoint(director_path(models), "director")
    state["head.1.weight"][:] = -1
    state["head.1.bias"][5] = 1
    save_checkpoint(director_path(models), state, description)
    told = explain(photo, models)
    assert told.choice_map is not None
    assert told.choice_map.empty
    assert np.isfinite(told.choice_map.values).all()
    assert told.choice_map.ninths == {}
    assert any("Nothing in the photo speaks for Russia" in note for note in told.notes)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_turned_by_its_exif_is_explained_upright(
    models: Path, photo: Path, tmp_path: Path, orientation: int
) -> None:
    stored = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    with Image.open(photo) as upright:
        upright.transpose(stored[orientation]).save(tmp_path / "turned.png", exif=exif)
        upright.transpose(stored[orientation]).save(tmp_path / "lying.png")
    route_to(models, 5)
    upright_map, turned, lying = (
        explain(path, models).place_map for path in (photo, tmp_path / "turned.png", tmp_path / "lying.png")
    )
    assert upright_map is not None
    assert turned is not None
    assert lying is not None
    np.testing.assert_array_equal(turned.values, upright_map.values)
    assert np.abs(lying.values - upright_map.values).max() > 1e-3


# ── the nearest training photos ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def training(models: Path, photo: Path, tmp_path: Path) -> Path:
    """Write four training photos of region 5, two of them at one place, with a gallery of the Director's."""
    route_to(models, 5)
    rng = np.random.default_rng(3)
    places = [(55.0, 37.0), (55.0, 37.0), (60.0, 30.0), (56.0, 60.0)]
    with Image.open(photo) as opened:
        base = np.asarray(opened.convert("RGB")).astype(int)
    rows = []
    for number, (latitude, longitude) in enumerate(places):
        noisy = base + rng.integers(-60 * number - 1, 60 * number + 2, base.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{latitude},{longitude},RU,5,,train,test")
    (tmp_path / "manifest.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    preprocessing = Preprocessing(image_size=SIZE)
    pixels = np.stack([preprocessing.read(tmp_path / f"{number}.png") for number in range(4)])
    features = Director.load(director_path(models)).answer(pixels)[1]
    arrays_ = {
        "embeddings": unit_rows(features).astype(np.float16),
        "places": np.array(places),
        "region_ids": np.full(4, 5, np.int32),
    }
    trunk = read_trunk(director_path(models))
    save_gallery(gallery_path(models), arrays_, describe("gallery", REGIONS, trunk=trunk, temperature=0.05))
    return tmp_path / "manifest.csv"


def test_the_nearest_training_photos_are_found_and_their_files_told_apart(
    models: Path, photo: Path, training: Path
) -> None:
    told = explain(photo, models, data=training, neighbours=3)
    assert [each.photo and each.photo.name for each in told.neighbours] == ["0.png", "1.png", "2.png"]
    cosines = [each.cosine for each in told.neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert told.neighbours[0].name.endswith("Russian Federation") or "Russia" in told.neighbours[0].name
    assert [each.photo for each in explain(photo, models).neighbours] == [None] * 4
    assert explain(photo, models, neighbours=0).neighbours == ()


def test_files_that_are_gone_are_counted(models: Path, photo: Path, training: Path) -> None:
    (training.parent / "2.png").unlink()
    told = explain(photo, models, data=training, neighbours=3)
    assert told.neighbours[2].photo is None
    assert any("1 of the 3 nearest training photos are not where the manifest says" in note for note in told.notes)


def test_a_gallery_of_other_weights_does_not_stand_in_the_way(models: Path, photo: Path, training: Path) -> None:
    state, description = load_checkpoint(director_path(models), "director")
    state["backbone.layers.0.weight"] += 0.01
    save_checkpoint(director_path(models), state, description)
    told = explain(photo, models)
    assert told.neighbours == ()
    assert any("was made with another image encoder" in note for note in told.notes)


# ── what the maps are of ─────────────────────────────────────────────────────────────────────────────────────────────


outputs_ = arrays(np.float64, CODE.outputs, elements=st.floats(-3, 3, width=32))


@settings(max_examples=30)
@given(outputs=outputs_, level=st.integers(0, 1), cell=st.integers(0, 2))
def test_the_direction_of_a_cell_is_the_gradient_of_its_log_odds(outputs: np.ndarray, level: int, cell: int) -> None:
    """Odds between two cells need no normalisation: their logarithm is the difference of the two logits."""
    other = (cell + 1) % 3

    def log_odds(at: np.ndarray) -> float:
        shares = CODE.of_level(CODE.probabilities(at[None]), level)[0]
        return float(np.log(shares[cell]) - np.log(shares[other]))

    shares = CODE.probabilities(outputs[None])[0]
    wanted = _cell_direction(CODE, shares, level, cell) - _cell_direction(CODE, shares, level, other)
    steps = 1e-5 * np.eye(CODE.outputs)
    measured = [(log_odds(outputs + step) - log_odds(outputs - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(wanted, measured, rtol=0, atol=1e-5)


@given(outputs=arrays(np.float64, 2, elements=st.floats(-4, 4)), east=st.floats(-180, 180))
def test_the_slope_of_a_box_is_how_far_its_place_moves(outputs: np.ndarray, east: float) -> None:
    box = Box(-40.0, 60.0, east, east + 90)

    def place(at: np.ndarray) -> np.ndarray:
        return box.denormalize(1 / (1 + np.exp(-at)))

    step = 1e-5
    for number, axis in ((0, 1), (1, 0)):  # displacement_km gives east, then north
        moved = displacement_km(place(outputs), place(outputs + step * np.eye(2)[number]))
        assert _km_per_logit(outputs, box)[number] == pytest.approx(moved[axis] / step, rel=1e-3, abs=1e-3)


def test_a_place_at_the_edge_of_its_box_has_a_slope_yet() -> None:
    slope = _km_per_logit(np.array([-60.0, 300.0]), Box(0.0, 10.0, 0.0, 10.0))
    assert (slope > 0).all()
    assert slope[0] > 1e50 * slope[1]


def test_ninths_say_where_the_heat_is() -> None:
    values = np.zeros((9, 9))
    values[6:, :3] = 1
    values[:3, 3:6] = 0.5
    heat = HeatMap("x", values, (3, 3))
    assert list(heat.ninths)[:2] == ["bottom left", "top"]
    assert heat.ninths["bottom left"] == pytest.approx(2 / 3)
    assert set(heat.ninths) == set(NINTHS)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_bad_input_is_said(models: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PhotoError, match=r"Cannot read the photo .*none\.jpg: no such file"):
        explain(tmp_path / "none.jpg", models)
    (tmp_path / "broken.jpg").write_bytes(b"no photo at all")
    with pytest.raises(PhotoError, match=r"broken\.jpg: not an image"):
        explain(tmp_path / "broken.jpg", models)
    with pytest.raises(CheckpointError, match="geomind train-director"):
        explain(photo, tmp_path / "nowhere")
    with pytest.raises(ManifestError):
        explain(photo, models, data=tmp_path / "none.csv")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(MissingExtraError, match="torch is not installed"):
        explain(photo, models)


def test_numbers_are_written_once(models: Path, photo: Path, tmp_path: Path) -> None:
    told = explain(photo, models)
    write_explanation(told, tmp_path / "why.json")
    assert json.loads((tmp_path / "why.json").read_text()) == json.loads(json.dumps(told.flat()))
    with pytest.raises(OutputError, match="--overwrite"):
        write_explanation(told, tmp_path / "why.json")
