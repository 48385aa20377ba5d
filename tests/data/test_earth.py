"""Tiles of the Earth: cut where they say, of one shape everywhere, and never shared between train and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from geomind.data import earth
from geomind.data.earth import SHARES, cut_tile, make_earth, sample_tiles
from geomind.data.manifest import read_manifest
from geomind.data.splits import block_ids
from geomind.errors import ManifestError, OutputError, PhotoError
from geomind.geography.places import country_at, on_land
from geomind.geography.regions import default_regions
from geomind.geography.sphere import KM_PER_DEGREE, displaced, haversine_km


@pytest.fixture(scope="module")
def gradient() -> np.ndarray:
    """An Earth whose red is the latitude and whose blue is the longitude."""
    height, width = 1024, 2048
    latitude = 90 - (np.arange(height) + 0.5) / height * 180
    longitude = (np.arange(width) + 0.5) / width * 360 - 180
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[..., 0] = np.round((latitude[:, None] + 90) / 180 * 255)
    picture[..., 2] = np.round((longitude[None] + 180) / 360 * 255)
    return picture


@pytest.fixture(scope="module")
def whole_earth(gradient: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("earth") / "earth.png"
    Image.fromarray(gradient).save(path)
    return path


@given(st.floats(-85, 85), st.floats(-170, 170))
@settings(max_examples=40)
def test_the_middle_of_a_tile_is_its_place(gradient: np.ndarray, latitude: float, longitude: float) -> None:
    tile = cut_tile(gradient, (latitude, longitude), tile_km=50, image_size=9)
    assert tile[4, 4, 0] == pytest.approx((latitude + 90) / 180 * 255, abs=1)
    assert tile[4, 4, 2] == pytest.approx((longitude + 180) / 360 * 255, abs=1)


@given(st.floats(-80, 80), st.floats(-180, 180))
@example(89.9, 10.0)
@example(-89.9, 10.0)
@example(0.0, 180.0)
@settings(max_examples=40)
def test_any_place_can_be_cut(gradient: np.ndarray, latitude: float, longitude: float) -> None:
    assert cut_tile(gradient, (latitude, longitude), tile_km=300, image_size=16).shape == (16, 16, 3)


def test_north_is_up_and_east_is_right(gradient: np.ndarray) -> None:
    tile = cut_tile(gradient, (45.0, 20.0), tile_km=3000, image_size=32).astype(int)
    assert (np.diff(tile[:, 16, 0]) <= 0).all()
    assert tile[0, 16, 0] > tile[-1, 16, 0]
    assert tile[16, -1, 2] > tile[16, 0, 2]


def test_the_date_line_does_not_show() -> None:
    """Both ends of the picture are neighbours: a tile over them is blended of them, and not of the middle."""
    picture = np.zeros((1024, 2048, 3), dtype=np.uint8)
    picture[:, :20] = picture[:, -20:] = 200
    tile = cut_tile(picture, (0.0, 180.0), tile_km=200, image_size=16)
    assert (tile == 200).all()


def test_a_tile_is_not_stretched_far_from_the_equator() -> None:
    """A round island is as wide as high in its tile, at 60° too, where a degree east is half of one north."""
    for latitude in (0.0, 60.0, -75.0):
        height, width = 1024, 2048
        grid = np.stack(np.meshgrid(90 - (np.arange(height) + 0.5) / height * 180,
                                    (np.arange(width) + 0.5) / width * 360 - 180, indexing="ij"), axis=-1)  # fmt: skip
        island = haversine_km(grid, (latitude, 30.0)) < 250
        picture = np.repeat(np.where(island, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
        tile = cut_tile(picture, (latitude, 30.0), tile_km=1000, image_size=100)[..., 0] > 127
        assert tile[50].sum() == pytest.approx(50, abs=4)
        assert tile[:, 50].sum() == pytest.approx(50, abs=4)


@given(st.integers(0, 10_000), st.sampled_from([50.0, 150.0, 250.0]))
@settings(max_examples=8)
def test_tiles_of_different_splits_never_overlap(seed: int, tile_km: float) -> None:
    """No corner, edge or inner point of a tile lies in a tile of another split."""
    table = sample_tiles(60, tile_km=tile_km, seed=seed)
    points, split = table[["latitude", "longitude"]].to_numpy(), table["split"].to_numpy()
    steps = np.linspace(-tile_km / 2, tile_km / 2, 7)
    east, north = (axis.ravel() for axis in np.meshgrid(steps, steps))
    for place, own in zip(points, split, strict=True):
        grid = displaced(place, np.stack([east, north], axis=-1))
        for other in points[split != own]:
            near = haversine_km(grid, other)
            # Nearer than half a side to another's middle is inside it, whatever its turn.
            assert near.min() > tile_km / 2
    blocks = block_ids(points, earth.BLOCK_RESOLUTION)
    assert pd.DataFrame({"block": blocks, "split": split}).drop_duplicates()["block"].is_unique


def test_places_are_on_land_named_and_in_their_shares() -> None:
    table = sample_tiles(200, seed=3)
    points = table[["latitude", "longitude"]].to_numpy()
    assert on_land(points).all()
    assert points[:, 0].min() >= earth.SOUTHERNMOST
    assert table["country"].tolist() == country_at(points).tolist()
    assert table["region_id"].tolist() == default_regions().region_ids(table["country"], points).tolist()
    assert table["split"].value_counts().to_dict() == {"train": 140, "test": 40, "validation": 20}
    assert table.groupby("group")["split"].nunique().max() == 1


def test_places_are_drawn_evenly_over_the_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sea, as many lie within 30° of the equator as on the rest down to 60° S: sin 30° of the sphere."""
    monkeypatch.setattr(earth, "on_land", lambda points: np.ones(len(points), dtype=bool))
    points = earth._places_on_land(20_000, np.random.default_rng(0))
    wanted = 1.0 / (1 + np.sqrt(3) / 2)  # of the part north of 60° S
    assert (np.abs(points[:, 0]) < 30).mean() == pytest.approx(wanted, abs=0.02)
    assert (points[:, 1] < 0).mean() == pytest.approx(0.5, abs=0.02)


def test_tiles_and_their_manifest(tmp_path: Path, whole_earth: Path) -> None:
    manifest = make_earth(tmp_path / "a", whole_earth, tiles=30, image_size=16, seed=1)
    rows = read_manifest(manifest)
    assert len(rows) == 30
    assert set(rows["split"]) == set(SHARES)
    assert (rows["country"] != "").all()
    with Image.open(tmp_path / "a" / rows["image_path"][0]) as tile:
        assert tile.size == (16, 16)
        middle = np.asarray(tile)[7:9, 7:9].mean(axis=(0, 1))
    assert middle[0] == pytest.approx((rows["latitude"][0] + 90) / 180 * 255, abs=1)
    again = make_earth(tmp_path / "b", whole_earth, tiles=30, image_size=16, seed=1)
    assert again.read_bytes() == manifest.read_bytes()
    name = rows["image_path"][29]
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        make_earth(tmp_path / "a", whole_earth, tiles=30)


def test_a_picture_that_is_not_of_the_whole_earth_is_refused(tmp_path: Path) -> None:
    for size, reason in (((300, 200), "twice as wide as high"), ((200, 100), "at least 2048 x 1024")):
        Image.new("RGB", size).save(tmp_path / "map.png")
        with pytest.raises(PhotoError, match=reason):
            make_earth(tmp_path / "out", tmp_path / "map.png")
    (tmp_path / "map.png").write_bytes(b"")
    with pytest.raises(PhotoError, match=r"Cannot read .*map.png: empty file"):
        make_earth(tmp_path / "out", tmp_path / "map.png")
    assert not (tmp_path / "out").exists()


def test_tiles_too_large_for_the_earth_are_refused() -> None:
    with pytest.raises(ManifestError, match="no room between the splits"):
        sample_tiles(10, tile_km=8000)


def test_kilometres_of_the_plane_are_those_of_the_sphere() -> None:
    np.testing.assert_allclose(displaced((10.0, 20.0), (0.0, KM_PER_DEGREE)), (11.0, 20.0), atol=1e-9)
    np.testing.assert_allclose(displaced((0.0, 179.0), (2 * KM_PER_DEGREE, 0.0)), (0.0, -179.0), atol=1e-9)


def test_the_real_picture_shows_desert_and_forest(tmp_path: Path, shared: Path) -> None:
    picture = earth._open_earth(shared / "earth" / "blue_marble_4096x2048.jpg")
    sahara, amazon, greenland = (
        cut_tile(picture, place, tile_km=300, image_size=32).mean(axis=(0, 1))
        for place in ((24.0, 12.0), (-4.0, -65.0), (74.0, -40.0))
    )
    assert sahara[0] > 150 > sahara[2]
    assert amazon.max() < 80
    assert greenland.min() > 220
