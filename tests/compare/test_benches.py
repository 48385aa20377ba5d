"""Benches: drawn once and found again, set as their photos need, and never taken for one of another size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from few_photos import REGIONS, write_photos

from geomind.compare import benches
from geomind.compare.benches import demo_world, earth_from_above, own_photos
from geomind.config import DirectorConfig, ExpertConfig, RegressionConfig
from geomind.errors import ConfigError, OutputError


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Draw a few photos for worlds of 24 and tell what was asked for."""
    asked: list[dict[str, Any]] = []

    def make(folder: Path, *image: Path, **more: Any) -> Path:
        asked.append({"image": image, **more})
        folder.mkdir(parents=True)
        return write_photos(folder)

    monkeypatch.setattr(benches, "make_world", make)
    monkeypatch.setattr(benches, "make_earth", make)
    monkeypatch.setattr(benches, "QUICK_PHOTOS", 24)
    return asked


def test_a_world_is_drawn_once(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    for _ in range(2):
        bench = demo_world(tmp_path / "bench", quick=True)
        assert bench.manifest == tmp_path / "bench" / "manifest.csv"
    assert [(asked["photos"], asked["image_size"]) for asked in drawn] == [(24, 64)]


def test_a_world_of_another_size_is_not_taken(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    demo_world(tmp_path / "bench", quick=True)
    with pytest.raises(OutputError, match="holds 24 photos, not 5,000: it was begun with or without --quick"):
        demo_world(tmp_path / "bench", quick=False)
    with pytest.raises(OutputError, match="not 3,000"):
        earth_from_above(tmp_path / "bench", tmp_path / "earth.jpg", quick=False)


def test_tiles_are_cut_of_the_picture(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    bench = earth_from_above(tmp_path / "bench", tmp_path / "earth.jpg", quick=True)
    assert drawn[0]["image"] == (tmp_path / "earth.jpg",)
    assert drawn[0]["tiles"] == 24
    for kind in (DirectorConfig, ExpertConfig, RegressionConfig):
        augment = bench.config(kind, seed=0, epochs=1).augment
        assert not augment.horizontal_flip | augment.vertical_flip


def test_networks_are_small_on_what_is_drawn_and_the_shipped_ones_on_photos(
    drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    small = demo_world(tmp_path / "bench", quick=True).config(DirectorConfig, seed=1, epochs=5)
    assert (small.backbone.name, small.image_size, small.label_smoothing, small.max_epochs) == ("scene_net", 64, 0.1, 5)
    bench = own_photos("manifest.csv", REGIONS, quick=False)
    assert bench.config(DirectorConfig, seed=0, epochs=30) == DirectorConfig(schedule="one_cycle")
    assert bench.config(ExpertConfig, seed=0, epochs=30) == ExpertConfig(schedule="one_cycle")
    quick = own_photos("manifest.csv", REGIONS, quick=True).config(ExpertConfig, seed=0, epochs=1)
    assert (quick.backbone.name, quick.image_size) == ("scene_net", 64)


def test_a_setting_of_the_command_line_is_everyones(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    overrides = ["backbone.name=resnet50", "learning_rate=0.5", "augment.color_jitter=0.3"]
    for bench in (
        demo_world(tmp_path / "bench", quick=True, overrides=overrides[:2]),
        own_photos("manifest.csv", REGIONS, quick=True, overrides=overrides[:2]),
    ):
        for kind in (DirectorConfig, ExpertConfig):
            config = bench.config(kind, seed=0, epochs=1)
            assert (config.backbone.name, config.backbone.weights) == ("resnet50", "none")
            assert config.learning_rate == 0.5
    own = own_photos("manifest.csv", REGIONS, quick=False, overrides=overrides)
    assert own.config(DirectorConfig, seed=0, epochs=1).augment.color_jitter == 0.3
    with pytest.raises(ConfigError, match="learning_rat"):
        own_photos("manifest.csv", REGIONS, quick=False, overrides=["learning_rat=1"])
    with pytest.raises(ConfigError, match="class_weights"):
        own_photos("manifest.csv", REGIONS, quick=False, overrides=["class_weights=none"])  # a Director's alone
