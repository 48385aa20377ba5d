"""The photos of a manifest as trainings take them: split, checked, and dealt out to regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from few_photos import DIRECTOR, PLACES, REGIONS, edit, write_photos

from geomind.config import AugmentConfig
from geomind.data.dataset import Draw
from geomind.data.manifest import write_manifest
from geomind.errors import ManifestError
from geomind.training.photos import PhotoRows, TrainingPhotos


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_photos(tmp_path)


def read(data: Path) -> TrainingPhotos:
    return TrainingPhotos.read(data, REGIONS, seed=0)


def names(rows: PhotoRows) -> list[str]:
    return [path.name for path in rows.paths]


def test_rows_know_files_places_and_regions(data: Path) -> None:
    photos = read(data)
    assert (len(photos.train), len(photos.validation), photos.split_here) == (18, 6, False)
    assert all(path.is_file() for path in photos.train.paths)
    assert names(photos.validation) == ["2-3.png", "2-7.png", "6-3.png", "6-7.png", "9-3.png", "9-7.png"]
    assert photos.validation.region_ids.tolist() == [2, 2, 6, 6, 9, 9]
    assert photos.validation.points[2].tolist() == [39, 138]
    assert photos.train.shards is None
    some = photos.validation.of(photos.validation.region_ids == 6)
    assert (len(some), names(some), some.points.tolist()) == (2, ["6-3.png", "6-7.png"], [[39, 138], [43, 138]])


def test_photos_in_shards_know_which(data: Path) -> None:
    edit(data, image_path=[f"shards/{number // 9:05d}.tar/{number}.jpg" for number in range(24)])
    shards = read(data).train.shards
    assert shards is not None
    assert len(set(shards.tolist())) == 3


def test_the_manifest_is_known_by_its_bytes(data: Path) -> None:
    before = read(data).manifest_hash
    assert read(data).manifest_hash == before
    with data.open("a") as file:
        file.write("\n")
    assert read(data).manifest_hash != before


def test_only_training_photos_are_changed_at_random(data: Path) -> None:
    rows = read(data).train
    config = DIRECTOR.model_copy(update={"augment": AugmentConfig(color_jitter=0.9)})

    def pixels(augment: bool, seed: int) -> torch.Tensor:
        item = rows.dataset(np.zeros(len(rows)), config, augment=augment)[Draw(4, seed)]
        assert item is not None
        return item[0]

    assert not torch.equal(pixels(True, 1), pixels(True, 2))
    assert torch.equal(pixels(True, 1), pixels(True, 1))
    assert torch.equal(pixels(False, 1), pixels(False, 2))
    assert pixels(True, 1).shape == (3, config.image_size, config.image_size)


def test_photos_are_kept_in_memory_if_asked(data: Path) -> None:
    rows = read(data).train
    for keep in (True, False):
        photos = rows.dataset(np.zeros(len(rows)), DIRECTOR.model_copy(update={"cache_photos": keep}), augment=False)
        assert photos[Draw(int(keep), 0)] is not None
        rows.paths[int(keep)].unlink()
        assert (photos[Draw(int(keep), 0)] is not None) == keep


def test_without_a_split_places_are_held_out(data: Path) -> None:
    edit(data, split="")
    photos = read(data)
    assert photos.split_here
    assert len(photos.train) + len(photos.validation) == 24
    assert len(photos.validation) > 0
    assert not set(names(photos.train)) & set(names(photos.validation))
    assert names(read(data).validation) == names(photos.validation)


def test_photos_without_a_split_among_others_are_told(data: Path, heard: pytest.LogCaptureFixture) -> None:
    edit(data, split=["train", "validation", *[""] * 22])
    photos = read(data)
    assert (len(photos.train), len(photos.validation)) == (1, 1)
    assert "22 photos have no split" in heard.text


def test_a_region_has_its_own_photos(data: Path) -> None:
    photos = read(data)
    for region_id in PLACES:
        own = photos.of_region(REGIONS[region_id])
        assert set(own.train.region_ids) == set(own.validation.region_ids) == {region_id}
        assert (len(own.train), len(own.validation)) == (6, 2)
        assert own.manifest_hash == photos.manifest_hash
    assert len(photos.of_region(REGIONS[11]).train) == 0


def test_photos_sent_to_a_region_are_learned_from_and_not_judged_by(data: Path) -> None:
    photos = read(data)
    routed = photos.train.region_ids.copy()
    routed[:2] = 6  # two of region 2 are sent to Japan
    routed[6:9] = 9  # three of Japan's own are sent elsewhere, and stay all the same
    japan = photos.of_region(REGIONS[6], routed)
    assert names(japan.train) == ["2-0.png", "2-1.png", *(f"6-{step}.png" for step in (0, 1, 2, 4, 5, 6))]
    assert names(japan.validation) == ["6-3.png", "6-7.png"]
    assert len(photos.of_region(REGIONS[9], routed).train) == 9


def test_a_region_that_we_held_out_whole_still_learns(tmp_path: Path) -> None:
    """A region of one place lost its only photos to a split that nobody had asked for."""
    data = write_photos(tmp_path)
    photos = read(data)
    japan = photos.train.region_ids == 6
    split_here = TrainingPhotos(data, "", photos.train.of(~japan), photos.validation, split_here=True)
    assert names(split_here.of_region(REGIONS[6]).train) == ["6-3.png", "6-7.png"]
    by_its_user = TrainingPhotos(data, "", photos.train.of(~japan), photos.validation, split_here=False)
    assert len(by_its_user.of_region(REGIONS[6]).train) == 0


def test_manifests_that_cannot_be_learned_from_are_refused(data: Path) -> None:
    edit(data, split="test")
    with pytest.raises(ManifestError, match="no row with split 'train'"):
        read(data)
    edit(data, region_id=13)
    with pytest.raises(ManifestError, match=r"has no region of the table 'geomind-13' \(0 to 12\)"):
        read(data)
    edit(data, region_id="")
    with pytest.raises(ManifestError, match="has no region"):
        read(data)
    with pytest.raises(ManifestError, match=r"none\.csv"):
        read(data.with_name("none.csv"))


def test_a_manifest_of_another_table_is_refused(data: Path) -> None:
    """Ids of another table of the same size were learned without a word."""
    edit(data, region_id=lambda frame: (frame["region_id"] + 1) % 13)
    with pytest.raises(ManifestError, match="24 of 24 photos have another region"):
        read(data)


def test_a_manifest_of_parquet_is_the_same(data: Path) -> None:
    frame = pd.read_csv(data, keep_default_na=False)
    write_manifest(frame, data.with_suffix(".parquet"))
    assert names(read(data.with_suffix(".parquet")).train) == names(read(data).train)
