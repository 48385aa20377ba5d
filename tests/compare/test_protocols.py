"""Published test sets: all of their photos count, whoever is missing, and no more than they have."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, describe
from few_photos import REGIONS, edit

from geomind import runtimes
from geomind.baselines import Regression
from geomind.cascade import Cascade
from geomind.checkpoints import regression_path, save_checkpoint
from geomind.compare import protocols
from geomind.compare.protocols import PROTOCOLS, Protocol, evaluate_published, pick_protocol
from geomind.errors import CheckpointError, ConfigError, ManifestError, OutputError
from geomind.geolocators import Answering, load_geolocator, weights_of
from geomind.networks import VectorNetwork

TINY = replace(PROTOCOLS["im2gps3k"], photos=30)


@pytest.fixture(autouse=True)
def torch_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no ONNX files, which takes seconds a network."""
    monkeypatch.setattr(runtimes, "can_make_onnx_files", lambda: False)


@pytest.fixture
def regression(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "one_network" / "regression"
    state = VectorNetwork("scene_net", SIZE).state_dict()
    save_checkpoint(regression_path(folder.parent), state, describe("regression", REGIONS))
    return folder


def test_sets_have_the_sizes_that_are_published() -> None:
    assert {name: protocol.photos for name, protocol in PROTOCOLS.items()} == {
        "im2gps3k": 2997, "yfcc4k": 4536, "osv5m": 210_122,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"no protocol 'im2gps'\. There are im2gps3k, yfcc4k, osv5m"):
        pick_protocol("im2gps")


def test_every_photo_of_the_set_counts(three_splits: Path, regression: Path, models: Path, tmp_path: Path) -> None:
    edit(three_splits, split="")
    (three_splits.parent / "2-0.png").unlink()
    done = evaluate_published(TINY, three_splits, [models, regression], tmp_path / "out", regions=REGIONS)
    assert done.listed == 24
    assert done.answered == {"saved_models": 23, "regression": 23}
    assert done.comparison.photos == 30
    for summary in done.comparison.summaries:
        answered = summary.scores["mean_km"].estimate
        assert math.isfinite(answered)
        assert summary.scores["within_2500_km"].estimate <= 23 / 30
        assert summary.scores["geoscore"].estimate <= 5000 * 23 / 30
    assert (tmp_path / "out" / "table.csv").exists()


def test_half_missing_is_no_median(three_splits: Path, regression: Path, tmp_path: Path) -> None:
    done = evaluate_published(replace(TINY, photos=13), three_splits, [regression], tmp_path / "out", regions=REGIONS)
    assert done.listed == 6  # a manifest with splits is judged by its test photos
    assert done.comparison.summaries[0].scores["median_km"].estimate == math.inf


def test_a_manifest_of_more_photos_is_another_set(three_splits: Path, regression: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="lists 6 photos to judge by; Im2GPS3k has 5"):
        evaluate_published(replace(TINY, photos=5), three_splits, [regression], tmp_path / "out", regions=REGIONS)


def test_what_was_answered_is_not_asked_again(
    three_splits: Path, regression: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (TINY, three_splits, [regression], tmp_path / "out")
    before = evaluate_published(*arguments, regions=REGIONS)
    with monkeypatch.context() as patch:
        patch.setattr(protocols, "load_geolocator", lambda _: pytest.fail("asked again"))
        assert evaluate_published(*arguments, regions=REGIONS).comparison == before.comparison
    state = VectorNetwork("scene_net", SIZE).state_dict()
    save_checkpoint(regression_path(regression.parent), state, describe("regression", REGIONS))
    with pytest.raises(OutputError, match="another comparison: settings differ"):
        evaluate_published(*arguments, regions=REGIONS)


def test_models_are_needed_each_of_another_name(three_splits: Path, regression: Path, tmp_path: Path) -> None:
    for models in ([], [regression, regression]):
        with pytest.raises(ConfigError, match="each folder by another last name"):
            evaluate_published(TINY, three_splits, models, tmp_path / "out", regions=REGIONS)
    with pytest.raises(CheckpointError, match="No weights at"):
        evaluate_published(TINY, three_splits, [tmp_path / "none"], tmp_path / "out", regions=REGIONS)


def test_whatever_a_folder_holds_is_opened(models: Path, regression: Path) -> None:
    assert isinstance(load_geolocator(models).geolocator, Cascade)
    assert isinstance(load_geolocator(regression).geolocator, Regression)
    assert [path.name for path in weights_of(regression)] == ["regression.safetensors"]
    assert len(weights_of(models)) == 3
    for more, reason in (({"candidates": 2}, "leave out --candidates"), ({"top_k": 2}, "routes to no Experts")):
        with pytest.raises(ConfigError, match=reason):
            load_geolocator(regression, Answering(**more))


def test_protocols_name_their_source() -> None:
    for protocol in PROTOCOLS.values():
        assert isinstance(protocol, Protocol)
        assert any(year in protocol.source for year in ("2017", "2024"))
        assert "6,371 km" in protocol.counts
    assert np.isclose(2500 * (6371.0088 / 6371 - 1) * 1000, 3.5, atol=0.1)  # metres, as it says
