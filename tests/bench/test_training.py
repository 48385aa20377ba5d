from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomind.bench import training
from geomind.bench.drawn_photos import draw_photos
from geomind.bench.timing import Spread
from geomind.bench.training import TrainingFigures, bench_training
from geomind.config import BackboneConfig, DirectorConfig, ExpertConfig
from geomind.errors import ConfigError, TrainingError
from geomind.photos import open_photo
from geomind.progress import SILENT
from geomind.training.stage import Trained

TINY = DirectorConfig(
    backbone=BackboneConfig(name="scene_net", weights="none"), image_size=32, batch_size=4, workers=0, device="cpu"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return draw_photos(tmp_path / "photos", 20, training.PHOTO_SIZE)


def spreads(figures: TrainingFigures) -> dict[str, Spread]:
    return {name: value for name, value in vars(figures).items() if isinstance(value, Spread)}


def test_ratios_follow_from_their_parts_and_nothing_is_left(temporary: Path) -> None:
    figures = bench_training(TINY, rounds=2, steps=2, photos=8)
    assert list(temporary.iterdir()) == []
    assert not multiprocessing.active_children()
    for spread in spreads(figures).values():
        assert spread.least <= spread.median <= spread.most
    bare, fit, ratio = figures.bare_images_per_s, figures.fit_images_per_s, figures.ratio_to_bare
    assert 0 < fit.least / bare.most <= ratio.least
    assert ratio.most <= fit.most / bare.least
    assert figures.limit_to_bare.least > 0
    assert figures.limit_to_bare.most < 1
    assert figures.loop_share.most < 1
    assert figures.lightning_share.most < 1
    assert figures.frozen_seconds is figures.frozen_ratio is figures.embedding_seconds is None
    assert figures.settings["batch_size"] == 4
    assert figures.machine["torch"] == torch.__version__


def test_a_wrong_name_is_refused_before_photos_are_drawn(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "draw_photos", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(ConfigError, match="Unknown backbone 'b0'"):
        bench_training(TINY.model_copy(update={"backbone": BackboneConfig(name="b0", weights="none")}))


def test_drawn_photos_are_of_the_size_of_photographs(photos: list[Path]) -> None:
    assert {open_photo(path).size for path in photos} == {training.PHOTO_SIZE}
    assert all(80_000 <= path.stat().st_size <= 120_000 for path in photos)
    assert len({path.read_bytes() for path in photos}) == len(photos)


def test_a_training_that_is_timed_never_ends_an_epoch(photos: list[Path], tmp_path: Path) -> None:
    """Neither judging nor saving falls into the time; workers of any number decode until the clock has stopped."""
    run = tmp_path / "run"
    run.mkdir()
    for workers in (0, 1):
        config = TINY.model_copy(update={"workers": workers})
        assert training.fit_rate(config, photos, run, steps=2) > 0
    assert training.loop_rate(TINY, run, steps=2) > 0
    assert list(run.iterdir()) == []
    assert not multiprocessing.active_children()


def test_all_step_the_same_network(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is the same work: the same photos a step, and all weights are stepped."""
    seen: list[tuple[int, ...]] = []
    network = training._network

    def watched(config: DirectorConfig) -> torch.nn.Module:
        made = network(config)
        made.register_forward_hook(lambda module, inputs, _: seen.append((module.training, *inputs[0].shape)))
        return made

    monkeypatch.setattr(training, "_network", watched)
    training.bare_rate(TINY, 2)
    training.lightning_rate(TINY, 2)
    training.loop_rate(TINY, tmp_path, 2)
    training.fit_rate(TINY, photos, tmp_path, 2)
    assert seen == [(True, 4, 3, 32, 32)] * 4 * (2 + training._WARM_UP)


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_the_limit_adds_the_time_of_decoding(decode_rate: float, bare: float) -> None:
    cores = os.cpu_count() or 1
    seconds = 1 / bare + 1 / decode_rate / cores
    assert training._limit(decode_rate, bare=bare) * bare == pytest.approx(1 / seconds)


def test_a_frozen_trunk_is_measured_from_no_features_at_all(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str]] = []

    class Outcome:
        name, reason = "Oceania", "no photo for training"

    def train_director(_: Path, config: DirectorConfig, *, runs: Path, **__: object) -> None:
        assert not runs.exists()
        told.append(("director", config.freeze))
        logging.getLogger("geomind.training.director").warning("few photos")

    def train_all_experts(_: Path, config: ExpertConfig, **__: object) -> list[Trained]:
        told.append(("experts", config.freeze))
        return []

    monkeypatch.setattr("geomind.bench.frozen.train_director", train_director)
    monkeypatch.setattr("geomind.bench.frozen.train_all_experts", train_all_experts)
    figures = bench_training(TINY, rounds=2, steps=1, photos=training.LEAST_PHOTOS, frozen=True)
    assert told == [("director", "backbone"), ("experts", "backbone")] * 2
    embedding, frozen, ratio = figures.embedding_seconds, figures.frozen_seconds, figures.frozen_ratio
    assert embedding is not None
    assert frozen is not None
    assert ratio is not None
    assert frozen.least / embedding.most <= ratio.least <= ratio.most <= frozen.most / embedding.least
    assert not heard.records

    monkeypatch.setattr("geomind.bench.frozen.train_all_experts", lambda *_, **__: [Outcome()])
    with pytest.raises(TrainingError, match="'Oceania' was not trained: no photo for training"):
        bench_training(TINY, rounds=1, steps=1, photos=training.LEAST_PHOTOS, frozen=True)
    assert list(temporary.iterdir()) == []


def test_a_gpu_is_measured_in_bf16(photos: list[Path], tmp_path: Path) -> None:
    config = training.gpu_config(TINY)
    assert (config.device, config.precision, config.batch_size) == ("cuda", "bf16", training.GPU_BATCH)
    here = config.model_copy(update={"device": "cpu", "batch_size": 4, "workers": 0})
    bare, compared = training._measure_gpu(here, photos, tmp_path, 1, SILENT)
    assert len(bare) == 2
    assert compared[0].reference == sum(bare) / 2
