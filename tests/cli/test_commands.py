"""The commands as a person types them: what they print, what they leave behind, and how they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, describe
from PIL import Image

from geomind.checkpoints import director_path, expert_path, save_checkpoint
from geomind.evaluation.plots import PICTURES
from geomind.geography.regions import RegionTable, default_regions
from geomind.networks import DirectorNetwork
from geomind.predictions import read_predictions

TINY = ["--set", "backbone.name=scene_net", "--set", "backbone.weights=none", "--set", "image_size=32",
        "--set", "max_epochs=1", "--set", "workers=0", "--set", "device=cpu"]  # fmt: skip

TOWNS = [
    ("oslo", 59.91, 10.75), ("bergen", 60.39, 5.32), ("turku", 60.45, 22.27), ("lyon", 45.76, 4.83),
    ("tokyo", 35.68, 139.69), ("sapporo", 43.06, 141.35), ("osaka", 34.69, 135.5), ("busan", 35.18, 129.08),
    ("windhoek", -22.56, 17.08), ("nairobi", -1.29, 36.82), ("suva", -18.14, 178.44), ("dakar", 14.69, -17.45),
]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["filename,latitude,longitude,pano_id,heading"]
    for name, latitude, longitude in TOWNS:
        for heading in (0, 180):
            file = f"{name}_{heading}.jpg"
            Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / file)
            lines.append(f"{file},{latitude},{longitude},{name},{heading}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    return folder


def one_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


def test_from_photos_to_places(geomind: Run, photos: Path, tmp_path: Path) -> None:
    code, said, _ = geomind("prepare", photos / "photos.csv")
    assert code == 0
    assert "24 photos found = 24 used + 0 rejected." in said

    assert geomind("split", "manifest.csv", "--shares", "train=0.6,validation=0.2,test=0.2")[0] == 0

    code, said, _ = geomind("train-director", "--data", "manifest.csv", *TINY)
    assert code == 0
    assert director_path("saved_models").is_file()
    assert "Next: geomind train-expert --region all" in said

    code, said, _ = geomind("train-expert", "--region", "all", "--data", "manifest.csv", *TINY)
    assert code == 0
    assert "Arabia: skipped, no photo for training" in said
    trained = {path.name[:2] for path in Path("saved_models/experts").iterdir()}
    assert "10" not in trained
    assert trained

    code, said, _ = geomind("infer", "--images-dir", photos)
    assert code == 0
    assert "24 photos: 24 located, 0 could not be read." in said
    rows = read_predictions("predictions.csv")
    assert len(rows) == 24
    assert all(row.google_maps_url for row in rows)

    code, said, _ = geomind("evaluate", "predictions.csv", "--truth", "manifest.csv", "--models", "saved_models",
                            "--json", "scores.json", "--plots", "plots")  # fmt: skip
    assert code == 0
    scores = json.loads(Path("scores.json").read_text())
    assert scores["count"] == scores["answered"] == 24
    assert {"geoscore", "router_accuracy", "oracle_median_km", "region_median_floor_km"} <= scores.keys()
    assert {path.name for path in Path("plots").iterdir()} == set(PICTURES)
    left = [path for path in tmp_path.rglob(".*") if "partial" in path.name]
    assert not left


def test_one_expert_by_its_region(geomind: Run, photos: Path) -> None:
    geomind("prepare", photos / "photos.csv")
    code, said, _ = geomind("train-expert", "--region", 6, "--data", "manifest.csv", *TINY)
    assert code == 0
    assert expert_path("saved_models", default_regions()[6]).is_file()
    code, _, said = geomind("train-expert", "--region", 6, "--data", "manifest.csv", *TINY)
    assert code == 1
    assert "--overwrite" in one_line(said)
    code, _, said = geomind("train-expert", "--region", 10, "--data", "manifest.csv", *TINY)
    assert code == 1
    assert "No photo of region 10 'Arabia'" in one_line(said)


def test_an_expert_that_would_not_fit_its_director(geomind: Run, models: Path, photos: Path) -> None:
    geomind("prepare", photos / "photos.csv")
    code, _, said = geomind("train-expert", "--region", 6, "--data", "manifest.csv", "--models", models)
    assert code == 1
    assert "--set image_size=32" in one_line(said)


def test_a_region_outside_the_table(geomind: Run, photos: Path) -> None:
    geomind("prepare", photos / "photos.csv")
    code, _, said = geomind("train-expert", "--region", 13, "--data", "manifest.csv")
    assert code == 1
    assert "No region 13" in one_line(said)
    assert geomind("train-expert", "--region", "five", "--data", "manifest.csv")[0] == 2


def test_an_unknown_setting_is_given_its_nearest(geomind: Run, photos: Path) -> None:
    geomind("prepare", photos / "photos.csv")
    code, _, said = geomind("train-director", "--data", "manifest.csv", "--set", "batchsize=3")
    assert code == 1
    assert "Did you mean 'batch_size'" in one_line(said)
    assert not Path("runs").exists()
    assert not Path("saved_models").exists()


def test_an_empty_folder(geomind: Run, models: Path) -> None:
    Path("empty").mkdir()
    code, _, said = geomind("infer", "--images-dir", "empty", "--models", models)
    assert code == 1
    assert "No photo in empty" in one_line(said)
    assert not Path("predictions.csv").exists()
    code, _, said = geomind("prepare", "empty")
    assert code == 1
    assert "No photo in empty" in one_line(said)


def test_a_table_without_a_usable_row(geomind: Run) -> None:
    Path("t.csv").write_text("image_path,lat,lon\nnone.jpg,1,2\nother.jpg,91,2\n")
    code, _, said = geomind("prepare", "t.csv")
    assert code == 1
    assert "manifest.rejected.csv" in one_line(said)
    assert not Path("manifest.csv").exists()
    assert len(Path("manifest.rejected.csv").read_text().splitlines()) == 3


def test_no_such_manifest(geomind: Run) -> None:
    code, _, said = geomind("train-director", "--data", "none.csv")
    assert code == 1
    assert "none.csv" in one_line(said)


def test_weights_of_another_region_table(geomind: Run, models: Path, two_regions: RegionTable, photos: Path) -> None:
    network = DirectorNetwork("scene_net", 32, 2)
    medians = {0: (0.0, 0.0), 1: (1.0, 1.0)}
    for region_id, name in ((0, "west"), (1, "east")):
        source = expert_path(models, default_regions()[2 if region_id == 0 else 5])
        source.rename(models / "experts" / f"{region_id:02d}-{name}.safetensors")
    save_checkpoint(
        director_path(models), network.state_dict(), describe("director", two_regions, region_medians=medians)
    )
    code, _, said = geomind("infer", "--images-dir", photos, "--models", models)
    assert code == 1
    assert "was trained on the region table 'geomind-13' of 13 regions, not on 'two' of 2" in one_line(said)
    assert not Path("predictions.csv").exists()


def test_truncated_weights(geomind: Run, models: Path, photos: Path) -> None:
    path = director_path(models)
    path.write_bytes(path.read_bytes()[:-1000])
    code, _, said = geomind("infer", "--images-dir", photos, "--models", models)
    assert code == 1
    assert "incomplete or damaged" in one_line(said)


def test_an_output_that_cannot_be_written(geomind: Run, models: Path, photos: Path) -> None:
    Path("file").write_text("")
    code, _, said = geomind("infer", "--images-dir", photos, "--models", models, "--output", "file/predictions.csv")
    assert code == 1
    assert "file" in one_line(said)


def test_an_existing_output_is_kept(geomind: Run, models: Path, photos: Path) -> None:
    Path("predictions.csv").write_text("mine")
    code, _, said = geomind("infer", "--images-dir", photos, "--models", models)
    assert code == 1
    assert "--overwrite" in one_line(said)
    assert Path("predictions.csv").read_text() == "mine"
    assert geomind("infer", "--images-dir", photos, "--models", models, "--overwrite")[0] == 0
    assert len(read_predictions("predictions.csv")) == 24


def test_regions_are_shown(geomind: Run) -> None:
    code, said, _ = geomind("regions", "show")
    assert code == 0
    assert "Russia & Cyrillic" in said


def test_the_version(geomind: Run) -> None:
    import geomind as package

    assert geomind("--version") == (0, f"geomind {package.__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "prepare",
        "split",
        "train-director",
        "train-expert",
        "calibrate",
        "infer",
        "evaluate",
    ],
)
def test_every_option_says_what_it_does(geomind: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, said, _ = geomind(command, "--help")
    assert code == 0
    options = [line for line in said.splitlines() if line.startswith("│ ") and "--" in line]
    assert options
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options)
    assert geomind(command, "--no-such-option")[0] == 2


def test_the_module_runs_too() -> None:
    said = subprocess.run([sys.executable, "-m", "geomind", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("geomind ")
