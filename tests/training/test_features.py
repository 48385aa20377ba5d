from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from geomind.backbones import Backbone
from geomind.data.dataset import Batch, collate
from geomind.errors import OutputError
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing, read_photo_bytes
from geomind.training import features
from geomind.training.features import FeatureCache, FeatureDataset
from geomind.training.order import EpochOrder

PREPROCESSING = Preprocessing(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))


class Colour(Backbone):
    """Gives the mean colour of a photo, times its one weight, and counts what it is shown."""

    features = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.shown: list[int] = []
        self.breaks_after = 10**9

    @property
    def parts(self) -> list[list[torch.nn.Parameter]]:
        return [[self.weight]]

    @property
    def last_map(self) -> torch.nn.Module:
        raise AssertionError("nobody explains it")

    def forward(self, pixels: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.shown.append(len(pixels))
        if sum(self.shown) > self.breaks_after:
            raise KeyboardInterrupt
        return pixels.mean(dim=(2, 3)) * self.weight

    def tokens(self, pixels: Tensor) -> Tensor:
        raise AssertionError("features are cached as they are pooled")


def paint(path: Path, red: int, size: tuple[int, int] = (20, 16)) -> Path:
    Image.new("RGB", size, (red, 0, 0)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Eleven photos; the share of red in the n-th is n / 255."""
    return [paint(tmp_path / f"{red}.png", red) for red in range(11)]


@pytest.fixture
def trunk() -> Colour:
    return Colour()


@pytest.fixture
def cache(tmp_path: Path, trunk: Colour) -> FeatureCache:
    return FeatureCache(tmp_path / "features", "colour", trunk, PREPROCESSING)


def red(rows: np.ndarray) -> list[int]:
    """Read off features which photos they are of."""
    return [round(float(value) * 255) for value in rows[:, 0]]


def test_a_head_on_features_answers_as_the_whole_network_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    network = DirectorNetwork("scene_net", 32, 5, dropout=0.5)
    with torch.no_grad():  # of a network that has learned, its running statistics are not 0 and 1
        network(torch.randn(16, 3, 32, 32))
    paths = []
    for number, (width, height) in enumerate([(32, 32), (90, 40), (33, 70), (200, 300), (31, 8), (64, 64)]):
        paths.append(tmp_path / f"{number}.{'jpg' if number % 2 else 'png'}")
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    preprocessing = Preprocessing(image_size=32)
    cache = FeatureCache(tmp_path / "features", "scene_net", network.backbone, preprocessing)
    for _ in ("computed", "read back"):
        rows, read = cache.features(paths)
        assert read.all()
        assert rows.dtype == np.float32
        with torch.inference_mode():
            network.eval()
            whole = network(torch.from_numpy(np.stack([preprocessing.read(path) for path in paths])))
            from_features = network.head(torch.from_numpy(rows))
        np.testing.assert_allclose(from_features, whole, rtol=0, atol=1e-5)


def test_each_photo_is_computed_once(tmp_path: Path, photos: list[Path], trunk: Colour, cache: FeatureCache) -> None:
    copies = [shutil.copy(photos[3], tmp_path / f"copy{number}.png") for number in range(5)]
    rows, _ = cache.features([*photos[:6], *map(Path, copies), *photos[:6]])
    assert red(rows) == [*range(6), *[3] * 5, *range(6)]
    assert sum(trunk.shown) == 6
    later = FeatureCache(tmp_path / "features", "colour", trunk, PREPROCESSING)
    rows, _ = later.features(photos[::-1])
    assert red(rows) == list(range(11))[::-1]
    assert sum(trunk.shown) == 11


@given(
    order=st.lists(st.integers(0, 14), max_size=40),
    again=st.lists(st.integers(0, 14), max_size=40),
    part=st.integers(1, 20),
    workers=st.integers(0, 3),
)
def test_rows_are_those_of_the_photos_asked_for(order: list[int], again: list[int], part: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "PART_PHOTOS", part)
        patch.setattr(features, "_PHOTOS_AHEAD", 3)
        paths = [paint(Path(folder, f"{red}.png"), red) for red in range(12)]
        paths += [Path(folder, "missing.png"), Path(folder), Path(folder, "12.png")]
        paths[14].write_bytes(paths[4].read_bytes()[:60])
        trunk = Colour()
        for asked in (order, again):
            cache = FeatureCache(Path(folder, "features"), "colour", trunk, PREPROCESSING)
            rows, read = cache.features([paths[number] for number in asked], workers=workers)
            assert rows.shape == (len(asked), 3)
            assert read.tolist() == [number < 12 for number in asked]
            assert red(rows) == [number if number < 12 else 0 for number in asked]
        assert sum(trunk.shown) == len({number for number in (*order, *again) if number < 12})


def test_an_edited_photo_is_computed_anew_and_a_moved_one_is_not(
    photos: list[Path], trunk: Colour, cache: FeatureCache
) -> None:
    cache.features(photos)
    paint(photos[2], 200)
    photos[3].rename(moved := photos[3].with_name("moved.png"))
    rows, _ = cache.features([photos[2], moved])
    assert red(rows) == [200, 3]
    assert sum(trunk.shown) == 12


@pytest.mark.parametrize(
    "change",
    [{"image_size": 9}, {"mean": (0.5, 0, 0)}, {"std": (1, 1, 2)}, {"resample": "bilinear"}],
    ids=lambda change: next(iter(change)),
)
def test_other_preprocessing_has_features_of_its_own(
    tmp_path: Path, photos: list[Path], trunk: Colour, cache: FeatureCache, change: dict[str, object]
) -> None:
    cache.features(photos)
    other = Preprocessing.model_validate({**PREPROCESSING.model_dump(), **change})
    rows, _ = FeatureCache(tmp_path / "features", "colour", trunk, other).features(photos)
    assert sum(trunk.shown) == 22
    expected = [other.read(path).mean(axis=(1, 2)) for path in photos]
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_other_weights_have_features_of_their_own(photos: list[Path], trunk: Colour, cache: FeatureCache) -> None:
    before, _ = cache.features(photos)
    with torch.no_grad():
        trunk.weight *= 2  # in place, as a training would
    after, _ = cache.features(photos)
    np.testing.assert_allclose(after, 2 * before)
    with torch.no_grad():
        trunk.weight /= 2
    again, _ = cache.features(photos)
    np.testing.assert_array_equal(again, before)
    assert sum(trunk.shown) == 22


def test_another_trunk_of_the_same_weights_has_features_of_its_own(
    tmp_path: Path, photos: list[Path], trunk: Colour, cache: FeatureCache
) -> None:
    cache.features(photos)
    FeatureCache(tmp_path / "features", "grey", trunk, PREPROCESSING).features(photos)
    assert sum(trunk.shown) == 22


def test_a_photo_that_cannot_be_read_is_said_once_and_tried_again(
    photos: list[Path], cache: FeatureCache, heard: pytest.LogCaptureFixture
) -> None:
    photos[1].write_bytes(b"broken")
    for _ in range(2):
        rows, read = cache.features(photos)
        assert read.tolist() == [True, False, *[True] * 9]
        assert rows[1].tolist() == [0, 0, 0]
    assert [record.getMessage() for record in heard.records] == [
        f"{photos[1]} is left out: not an image, or broken at its beginning."
    ]
    paint(photos[1], 77)
    rows, read = cache.features(photos)
    assert read.all()
    assert red(rows)[1] == 77


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_part_is_computed_anew(
    photos: list[Path],
    trunk: Colour,
    cache: FeatureCache,
    heard: pytest.LogCaptureFixture,
    damage: str,
    tmp_path: Path,
) -> None:
    cache.features(photos[:5])
    (part,) = (tmp_path / "features").rglob("part-*.npy")
    cache.features(photos)
    data = bytearray(part.read_bytes())
    for position in range(0, len(data), 16) if damage == "flip" else [0]:
        trunk.shown.clear()
        if damage == "folder":
            part.unlink()
            part.mkdir()
        else:
            spoilt = data.copy()
            spoilt[position] ^= 1
            part.write_bytes({"flip": spoilt, "cut": data[:-1], "empty": b""}[damage])
        for other in part.parent.glob("part-*.npy"):
            if other != part and len(np.load(other)) == 5:  # what the last round put in its place
                other.unlink()
        rows, read = cache.features(photos)
        assert read.all()
        assert red(rows) == list(range(11))
        assert sum(trunk.shown) == 5
    assert f"{part} is damaged; the features in it are computed again. Delete it." in heard.text


@pytest.mark.parametrize("after", [1, 4, 9, 10])
def test_a_killed_run_loses_one_part_and_nothing_differs(
    tmp_path: Path, photos: list[Path], trunk: Colour, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(features, "PART_PHOTOS", 4)
    whole, _ = FeatureCache(tmp_path / "other", "colour", Colour(), PREPROCESSING).features(photos)
    trunk.breaks_after = after
    with pytest.raises(KeyboardInterrupt):
        cache.features(photos)
    kept = sum(len(np.load(part)) for part in (tmp_path / "features").rglob("part-*.npy"))
    assert kept == after // 4 * 4
    trunk.breaks_after = 10**9
    trunk.shown.clear()
    rows, _ = cache.features(photos)
    np.testing.assert_array_equal(rows, whole)
    assert sum(trunk.shown) == 11 - kept


def test_two_trainings_may_fill_one_folder_at_once(
    tmp_path: Path, photos: list[Path], trunk: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PART_PHOTOS", 2)
    caches = [FeatureCache(tmp_path / "features", "colour", trunk, PREPROCESSING) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for rows, read in pool.map(lambda cache: cache.features(photos), caches):
            assert read.all()
            assert red(rows) == list(range(11))
    shown = sum(trunk.shown)
    caches[0].features(photos)
    assert sum(trunk.shown) == shown
    assert all(path.name.startswith("part-") for path in (tmp_path / "features").rglob("*.*"))  # nothing half


def test_a_folder_that_cannot_be_written_is_said_in_one_line(photos: list[Path], trunk: Colour, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        FeatureCache(tmp_path / "file", "colour", trunk, PREPROCESSING).features(photos)


def test_a_data_set_of_features_makes_whole_batches_of_what_was_read() -> None:
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    read = np.array([True] * 7 + [False] * 3)
    targets = np.arange(10) * 100
    data = FeatureDataset([Path(str(number)) for number in range(10)], targets, rows, read)
    assert len(data) == len(data.paths) == 10
    order = EpochOrder(10, 4, seed=0)
    batches = list(DataLoader(data, batch_sampler=order, collate_fn=collate))
    assert [len(batch.indices) for batch in batches] == [
        sum(draw.photo < 7 for draw in draws) for draws in EpochOrder(10, 4, seed=0)
    ]
    together = Batch(*map(torch.cat, zip(*batches, strict=True)))
    assert sorted(together.indices.tolist()) == list(range(7))
    assert torch.equal(together.inputs[:, 0], 2.0 * together.indices)
    assert torch.equal(together.targets, 100 * together.indices)


def test_a_batch_of_features_may_be_empty() -> None:
    data = FeatureDataset([Path("a")], np.zeros(1), np.zeros((1, 2), np.float32), np.array([False]))
    (batch,) = DataLoader(data, batch_sampler=EpochOrder(1, 4, seed=0), collate_fn=collate)
    assert batch.inputs.shape == (0, 2)
    assert len(batch.targets) == len(batch.indices) == 0


def test_a_photo_that_is_edited_while_it_is_read_is_not_mistaken(
    photos: list[Path], trunk: Colour, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_edit(path: Path) -> bytes:
        data = read_photo_bytes(path)
        paint(path, 200)
        return data

    monkeypatch.setattr(features, "read_photo_bytes", read_and_edit)
    rows, _ = cache.features([photos[3]])
    assert red(rows) == [3]
    rows, _ = cache.features([photos[3]])
    assert red(rows) == [200]
