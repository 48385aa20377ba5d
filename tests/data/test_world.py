from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from geomind.data.manifest import read_manifest
from geomind.data.world import buildings, draw_scene, make_world, roadside, sample_places, sights
from geomind.data.world.climate import climate_at, sun_at
from geomind.data.world.stage import PAINT
from geomind.data.world.traits import all_traits
from geomind.errors import OutputError
from geomind.geography.places import cities, countries, on_land
from geomind.geography.regions import default_regions

NONE = {"none"}
WORDS = {
    "side": {"left", "right"},
    "centre": set(PAINT) | NONE,
    "edge": set(PAINT) | NONE,
    "poles": {"lamp", "timber", "crossarm", "steel", "concrete", "holed", "transformer", "striped"},
    "warning": {"diamond", "triangle", "amber", "black-amber"},
    "guide": set(PAINT),
    "roof": set(buildings.ROOFS),
    "walls": set(buildings.WALLS),
    "script": set(roadside.SCRIPTS),
}


def scenes(latitude: float, longitude: float, country: str, count: int = 40) -> NDArray[np.int16]:
    drawn = [draw_scene(latitude, longitude, country, np.random.default_rng(seed)) for seed in range(count)]
    return np.stack([np.asarray(scene) for scene in drawn]).astype(np.int16)


def test_every_country_has_traits() -> None:
    assert set(all_traits()) == set(countries())


@pytest.mark.parametrize("trait", WORDS)
def test_a_trait_only_holds_words_that_can_be_drawn(trait: str) -> None:
    assert {getattr(traits, trait) for traits in all_traits().values()} <= WORDS[trait]


def test_plates_bollards_and_sights_can_be_drawn() -> None:
    for traits in all_traits().values():
        assert set(traits.plate.split("-")) <= set(PAINT)
        assert traits.bollard == "none" or set(traits.bollard.split("-")) <= set(PAINT)
        assert set(traits.sights) <= sights.SIGHTS


def test_every_sight_is_seen_somewhere() -> None:
    assert {sight for traits in all_traits().values() for sight in traits.sights} == sights.SIGHTS


def test_the_side_of_the_road() -> None:
    left = {code for code, traits in all_traits().items() if traits.side == "left"}
    assert {"GB", "IE", "JP", "IN", "TH", "ID", "AU", "NZ", "ZA", "NA", "KE", "GY", "SR", "CY", "HK", "FJ"} <= left
    assert not {"US", "FR", "CN", "BR", "MM", "GI", "ET", "AO", "RE", "VU", "KR", "PH", "TW", "IL"} & left


@given(latitude=st.floats(-89, 89), day=st.floats(0, 365), hour=st.floats(0, 24))
def test_the_sun_is_a_direction_in_the_east_before_noon(latitude: float, day: float, hour: float) -> None:
    east, north, up = sun_at(latitude, day, hour)
    assert np.hypot(np.hypot(east, north), up) == pytest.approx(1)
    assert east * (12 - hour) >= -1e-9


@given(latitude=st.floats(-66, 66), day=st.floats(0, 365))
def test_the_noon_sun_stands_towards_the_equator_and_lower_far_from_it(latitude: float, day: float) -> None:
    _, north, up = sun_at(latitude, day, 12)
    assert up > 0
    if abs(latitude) > 24:
        assert north * latitude < 0
    assert sun_at(latitude + np.copysign(10, latitude), day, 12)[2] < up or abs(latitude) < 24


def test_climates_are_true_in_the_large() -> None:
    siberia, amazon, sahara = climate_at(62, 130, 15), climate_at(-3, -60, 15), climate_at(23, 10, 15)
    assert siberia.temperature < -25
    assert siberia.warmest > 12
    assert amazon.moisture > 0.9
    assert sahara.moisture < 0.05
    assert climate_at(29.6, 91, 200).temperature < climate_at(29.6, 48, 200).temperature - 15  # Lhasa, Kuwait


@given(latitude=st.floats(25, 60), longitude=st.floats(-180, 180))
def test_seasons_are_opposite_across_the_equator(latitude: float, longitude: float) -> None:
    for sign in (1, -1):
        january, july = (climate_at(sign * latitude, longitude, day).temperature for day in (17, 200))
        assert sign * (july - january) > 0


def test_the_same_seed_draws_the_same_scene() -> None:
    first, again, other = (draw_scene(48.9, 2.4, "FR", np.random.default_rng(seed)).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@settings(deadline=None)  # the first one reads the table of towns
@given(size=st.integers(32, 200), town=st.integers(0, 10**6), seed=st.integers(0, 2**32))
def test_any_town_of_the_world_can_be_drawn(size: int, town: int, seed: int) -> None:
    towns = cities()
    at = town % len(towns.country)
    latitude, longitude = towns.points[at]
    scene = draw_scene(latitude, longitude, str(towns.country[at]), np.random.default_rng(seed), size)
    assert (scene.mode, scene.size) == ("RGB", (size, size))


@pytest.mark.parametrize(("country", "latitude", "longitude", "right"), [("US", 40, -90, False), ("TH", 15, 101, True)])
def test_the_yellow_centre_line_is_on_the_drivers_side(
    country: str, latitude: float, longitude: float, right: bool
) -> None:
    red, green, blue = np.moveaxis(scenes(latitude, longitude, country)[:, 44:], -1, 0)
    column = np.nonzero((red > 150) & (green > 110) & (blue < 0.5 * green))[2]
    assert (np.median(column) > 32) == right


def test_snow_whitens_siberia_and_not_the_amazon() -> None:
    def whiteness(latitude: float, longitude: float, country: str) -> float:
        land = scenes(latitude, longitude, country)[:, 34:50]
        return float(np.median(((land.min(axis=-1) > 165) & (np.ptp(land, axis=-1) < 40)).mean(axis=(1, 2))))

    assert whiteness(62, 130, "RU") > 2 * whiteness(-3, -60, "BR")


def test_laterite_is_redder_than_black_earth() -> None:
    def redness(latitude: float, longitude: float, country: str) -> float:
        red, _, blue = climate_at(latitude, longitude, 200).soil
        return red - blue

    assert redness(2, 28, "CD") > redness(50, 36, "UA") + 60


def test_thumbnails_do_not_give_the_region_away() -> None:
    """Hold the world to be worth a network: nearest thumbnails of 8 x 8 pixels answer less than half right."""
    places = sample_places(900, seed=3)
    rows = zip(places.latitude, places.longitude, places.country, strict=True)
    drawn = [draw_scene(*row, np.random.default_rng(number)) for number, row in enumerate(rows)]
    thumbnails = np.stack([np.asarray(scene.resize((8, 8), Image.Resampling.BOX)) for scene in drawn])
    flat = thumbnails.reshape(900, -1).astype(np.float32)
    known, asked = flat[:700], flat[700:]
    nearest = ((asked[:, None] - known) ** 2).sum(axis=-1).argmin(axis=1)
    region = places.region_id.to_numpy()
    assert 0.1 < (region[:700][nearest] == region[700:]).mean() < 0.5


def test_places_cover_every_region_and_know_their_country() -> None:
    places = sample_places(3000, seed=0)
    assert len(places) == 3000
    shares = places.region_id.value_counts(normalize=True)
    assert len(shares) == 13
    assert shares.min() > 0.03
    assert shares.max() > 2 * shares.min()  # as uneven as the world, if less so
    assert (places.region_id == default_regions().region_ids(places.country)).all()
    assert "NA" in set(places.country)
    assert on_land(places[["latitude", "longitude"]]).mean() > 0.97
    assert places.groupby("group").size().max() == 2
    assert (places.groupby("group").latitude.nunique() == 1).all()


def test_places_depend_on_the_seed_alone() -> None:
    assert sample_places(200, seed=5).equals(sample_places(200, seed=5))
    assert not sample_places(200, seed=5).equals(sample_places(200, seed=6))


def test_a_world_is_a_manifest_split_by_place_and_its_photos(tmp_path: Path) -> None:
    path = make_world(tmp_path, photos=60, image_size=32, seed=1)
    table = read_manifest(path)
    assert len(table) == 60
    assert set(table.split) == {"train", "validation", "test"}
    assert (table.groupby("group").split.nunique() == 1).all()
    for image_path, split in zip(table.image_path, table.split, strict=True):
        assert image_path.startswith(f"photos/{split}/")
        with Image.open(tmp_path / image_path) as photo:
            assert (photo.format, photo.size) == ("JPEG", (32, 32))


def test_a_world_is_the_same_however_many_processes_draw_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for processes in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda processes=processes: processes)
        folder = tmp_path / str(processes)
        make_world(folder, photos=120, image_size=32, seed=2)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests.append([(path.relative_to(folder), hashlib.sha256(path.read_bytes()).digest()) for path in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 121


def test_a_world_is_never_drawn_over_another(tmp_path: Path) -> None:
    make_world(tmp_path, photos=40, image_size=32, seed=1)
    with pytest.raises(OutputError, match="--overwrite"):
        make_world(tmp_path, photos=40, image_size=32, seed=1)


def test_progress_counts_every_photo(tmp_path: Path) -> None:
    import contextlib
    from collections.abc import Iterator

    from geomind.progress import Advance

    class Counting:
        steps = 0

        @contextlib.contextmanager
        def track(self, what: str, total: int | None) -> Iterator[Advance]:
            assert total == 110

            def advance(steps: float = 1, note: str = "") -> None:
                self.steps += int(steps)

            yield advance

    counting = Counting()
    make_world(tmp_path, photos=110, image_size=32, seed=1, progress=counting)
    assert counting.steps == 110
