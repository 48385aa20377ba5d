"""`geomind compare` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run
from few_photos import edit

from geomind import runtimes
from geomind.compare import benches
from geomind.training import runs

TINY = ["--set", "backbone.name=scene_net", "--set", "backbone.weights=none", "--set", "image_size=32",
        "--set", "workers=0", "--set", "device=cpu"]  # fmt: skip


def test_a_comparison_and_the_same_again(
    geomind: Run, three_splits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "draw_curves", lambda *_, **__: None)
    typed = ["compare", "--data", three_splits, "--budget", 2, "--seeds", "0, 1", "--methods", "median,vector",
             "--output", "out", *TINY]  # fmt: skip
    code, said, _ = geomind(*typed)
    assert code == 0
    assert "6 test photos" in said
    assert "gains in GeoScore, photo by photo" in said
    assert "median-country *" in said
    assert "resamples of 6 photos" in said
    assert (tmp_path / "out" / "table.json").exists()
    monkeypatch.setattr(runs.Run, "start", lambda *_: pytest.fail("trained again"))
    code, said, _ = geomind(*typed)
    assert code == 0
    assert "8 of 8 rungs were finished before." in said


def test_a_failure_is_one_line_and_exit_code_1(geomind: Run, three_splits: Path) -> None:
    edit(three_splits, split=["train", "train", "test", "test"] * 6)  # nothing to judge epochs by
    code, said, _ = geomind("compare", "--data", three_splits, "--budget", 2, "--seeds", 0,
                            "--methods", "median-world,vector", *TINY)  # fmt: skip
    assert code == 1
    assert "regression-vector with seed 0: failed." in said
    assert "no row with split 'validation'" in said
    assert "median-world" in said


def test_quick_is_the_demo_world_with_one_seed(
    geomind: Run, three_splits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = {}

    def make_world(folder: Path, *, photos: int, **_: object) -> Path:
        asked["photos"] = photos
        Path(folder).mkdir(parents=True)
        manifest = Path(folder) / "manifest.csv"
        manifest.write_bytes(three_splits.read_bytes())
        return manifest

    monkeypatch.setattr(benches, "make_world", make_world)
    code, _, _ = geomind("compare", "--quick", "--methods", "median")
    assert code == 0
    assert asked["photos"] == 2000
    assert {path.name for path in (tmp_path / "comparison" / "rungs").iterdir()} == {
        "median-world-0", "median-region-0", "median-country-0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["--demo", "--data", "m.csv"], "name one of --data, --demo and --earth"),
        (["--models", "saved_models"], "is for --protocol"),
        (["--regions", "r.yaml"], "is for --data"),
        (["--seeds", "0;1"], "is no list of seeds"),
        (["--budget", "1"], "Invalid value for '--budget'"),
        (["--methods", "magic"], "There is no method 'magic'"),
        (["--protocol", "im2gps3k"], "name the manifest of the test set"),
        (["--protocol", "nobody", "--data", "m.csv"], "There is no protocol 'nobody'"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(geomind: Run, tmp_path: Path, typed: list[str], reason: str) -> None:
    code, _, said = geomind("compare", *typed)
    assert code != 0
    assert reason in " ".join(said.replace("│", " ").split())
    assert "Traceback" not in said


def test_a_published_set_says_how_it_was_counted(
    geomind: Run, three_splits: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "can_make_onnx_files", lambda: False)  # which takes seconds a network
    code, said, _ = geomind("compare", "--protocol", "im2gps3k", "--data", three_splits, "--models", models)
    assert code == 0
    assert "2,997 test photos" in said
    assert "The manifest lists 6; the 2,991 others count as misses." in said
    assert "Vo, Jacobs & Hays 2017" in said
    assert "central square of each photo, once" in said
