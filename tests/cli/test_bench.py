from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from conftest import Run

from geomind.cli import bench
from geomind.config import AUGMENT_POLICIES, DirectorConfig

QUICK = ["--backbone", "scene_net", "--image-size", 32, "--batch-size", 4, "--rounds", 2, "--steps", 1, "--workers", 0]

PROMISED = {"bare_images_per_s", "fit_images_per_s", "ratio_to_bare", "loop_share", "lightning_share",
            "gpu_images_per_s", "gpu_loader_share", "frozen_ratio", "cores", "torch"}  # fmt: skip


def test_bench_train_prints_a_table_and_writes_its_figures(
    geomind: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, said, _ = geomind("bench", "train", *QUICK, "--photos", 60, "--json", "bench.json")
    assert code == 0
    assert "scene_net at 32 px, batches of 4" in said
    assert "not measured: no GPU" in said
    assert "not measured: see --frozen" in said
    figures = json.loads(Path("bench.json").read_text())
    assert set(figures) >= PROMISED
    assert figures["gpu_images_per_s"] is figures["frozen_ratio"] is None
    assert figures["ratio_to_bare_min"] <= figures["ratio_to_bare"] <= figures["ratio_to_bare_max"]
    assert f"{figures['bare_images_per_s']:,.1f} images/s" in said
    assert f"{figures['ratio_to_bare']:.1%}" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "bench.json"]


def test_nothing_is_measured_when_the_figures_could_not_be_written(geomind: Run) -> None:
    Path("bench.json").write_text("{}")
    code, said, complaint = geomind("bench", "train", *QUICK, "--json", "bench.json")
    assert code == 1
    assert "bench.json exists already" in complaint
    assert not said


def test_an_unknown_backbone_is_one_line(geomind: Run) -> None:
    code, _, complaint = geomind("bench", "train", "--backbone", "b0")
    assert code == 1
    assert "Error: Unknown backbone 'b0'" in complaint


def test_too_few_photos_are_wrong_usage(geomind: Run) -> None:
    assert geomind("bench", "train", "--photos", 59)[0] == 2


def test_what_is_measured_by_default_is_what_is_trained_by_default() -> None:
    shown = {name: each.default for name, each in inspect.signature(bench.train).parameters.items()}
    config = DirectorConfig()
    assert shown["backbone"] == config.backbone.name
    for name in ("image_size", "batch_size", "workers"):
        assert shown[name] == getattr(config, name)
    assert config.augment == AUGMENT_POLICIES["light"]


def test_help_says_defaults_and_units(geomind: Run) -> None:
    code, said, _ = geomind("bench", "train", "--help")
    assert code == 0
    for words in ("pixels", "[default: efficientnet_b0]", "[default: 224", "[default: 300", "JPEGs of 640 x 480"):
        assert words in said
