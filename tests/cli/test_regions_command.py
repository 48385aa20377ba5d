"""`geomind regions` and `geomind split` as a person types them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from PIL import Image

from geomind.data.manifest import COLUMNS, read_manifest, write_manifest
from geomind.geography.cells import CellTree
from geomind.geography.places import country_at
from geomind.geography.regions import RegionTable, default_regions
from geomind.predictions import Prediction, read_predictions, write_predictions


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    towns = [(48.9, 2.3), (40.7, -74.0), (34.1, -118.2), (35.7, 139.7), (-36.9, 174.8), (-13.8, -171.8), (30.0, 31.2)]
    points = np.repeat(towns, 40, axis=0) + rng.normal(0, 2.0, (280, 2))
    countries = country_at(points)
    rows = {name: [""] * 280 for name in COLUMNS} | {
        "image_path": [f"{i}.jpg" for i in range(280)],
        "latitude": points[:, 0],
        "longitude": points[:, 1],
        "country": countries,
        "region_id": default_regions().region_ids(countries),
    }
    write_manifest(pd.DataFrame(rows), tmp_path / "manifest.csv")
    return tmp_path / "manifest.csv"


def test_regions_are_shown_with_what_an_error_costs(geomind: Run, manifest: Path) -> None:
    code, said, _ = geomind("regions", "show", "--data", manifest, "--map", "map.png")
    assert code == 0
    assert "280 photos of manifest.csv" in said
    (line,) = [line for line in said.splitlines() if "Rare Regions" in line and ".." in line]
    photos, _, _, naive, date_line, trimmed = [cell.strip().replace(",", "") for cell in line.split("│")[3:-1]]
    assert int(photos) == (read_manifest(manifest)["region_id"] == 12).sum()
    assert int(naive) > int(date_line) >= int(trimmed)
    with Image.open("map.png") as picture:
        assert picture.width == 1800
    assert geomind("regions", "show", "--map", "map.png")[0] == 1  # it exists already


def test_from_photos_to_regions_to_region_ids(geomind: Run, manifest: Path) -> None:
    code, said, _ = geomind("regions", "fit", manifest, "--k", 6, "--map", "regions.png")
    assert code == 0
    assert f"Next: geomind regions assign {manifest} --regions regions.yaml --overwrite" in said
    table = RegionTable.read("regions.yaml")
    assert len(table) == 6
    assert Path("regions.png").is_file()
    assert geomind("regions", "show", "--regions", "regions.yaml")[0] == 0
    code, said, _ = geomind("regions", "assign", manifest, "--regions", "regions.yaml", "--overwrite")
    assert code == 0
    assert "280 photos in 6 of 6 regions" in said
    assert set(read_manifest(manifest)["region_id"]) == set(range(6))
    code, _, said = geomind("regions", "fit", manifest, "--k", 6)
    assert code == 1
    assert "--overwrite" in said


def test_a_cascade_of_fitted_regions_walks_from_photos_to_places(geomind: Run) -> None:
    towns = {"paris": (48.9, 2.3), "lima": (-12.0, -77.0), "tokyo": (35.7, 139.7), "suva": (-18.1, 178.4)}
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    lines = ["filename,latitude,longitude"]
    for name, (latitude, longitude) in towns.items():
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(Path("photos", f"{name}{i}.jpg"))
            lines.append(f"{name}{i}.jpg,{latitude + i},{longitude}")
    Path("photos", "photos.csv").write_text("\n".join(lines) + "\n")
    assert geomind("regions", "fit", "photos/photos.csv", "--k", 3, "--min-photos", 3)[0] == 0
    table = RegionTable.read("regions.yaml")
    assert len(table) == 3
    assert geomind("prepare", "photos/photos.csv", "--regions", "regions.yaml")[0] == 0
    assert set(read_manifest("manifest.csv")["region_id"]) == set(range(3))
    tiny = ["backbone.name=scene_net", "backbone.weights=none", "image_size=32", "max_epochs=1", "workers=0"]
    settings = [part for setting in tiny for part in ("--set", setting)]
    trained = ["--data", "manifest.csv", "--regions", "regions.yaml", *settings]
    assert geomind("train-director", *trained)[0] == 0
    assert geomind("train-expert", "--region", "all", *trained)[0] == 0
    assert geomind("infer", "--images-dir", "photos", "--output", "predictions.csv")[0] == 0
    rows = read_predictions("predictions.csv")
    assert len(rows) == 12
    assert {row.region_name for row in rows} <= set(table.names)
    code, said, _ = geomind("evaluate", "predictions.csv", "--truth", "manifest.csv", "--models", "saved_models")
    assert code == 0
    assert "12 photos, 12 answered" in said


def test_fewer_regions_than_asked_for_are_said(geomind: Run, manifest: Path) -> None:
    code, said, _ = geomind("regions", "fit", manifest, "--k", 20, "--min-photos", 30)
    assert code == 0
    assert "and not 20: the others would have had fewer than 30 photos" in said


@pytest.mark.parametrize("what", ["12", "widest"])
def test_a_region_is_divided(geomind: Run, manifest: Path, what: str) -> None:
    code, said, _ = geomind("regions", "fit", manifest, "--refine", what, "--k", 2)
    assert code == 0
    assert "Region 12 'Rare Regions' in 2 parts: an error of 0.05 costs" in said
    assert len(RegionTable.read("regions.yaml")) == 14


def test_the_region_that_the_director_recognises_least_is_divided(geomind: Run, manifest: Path) -> None:
    rows = read_manifest(manifest)
    answers = [
        Prediction(image_path=path, region_id=6 if region == 0 and i % 2 else region, latitude=0.0, longitude=0.0)
        for i, (path, region) in enumerate(zip(rows["image_path"], rows["region_id"], strict=True))
    ]
    write_predictions(answers, Path("predictions.csv"))
    code, said, _ = geomind("regions", "fit", manifest, "--refine", "predictions.csv", "--k", 2)
    assert code == 0
    assert "Recognised least: region 0 'North America'" in said
    assert "North America: United States" in RegionTable.read("regions.yaml").names[13]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("country,region,city", {"country": 7, "region": 14, "city": 14}),
        ("3,7", {"country": 3, "region": 7}),
        ("world=2,town=7", {"world": 2, "town": 7}),
    ],
)
def test_cells_are_fitted_and_read_back(geomind: Run, manifest: Path, levels: str, expected: dict[str, int]) -> None:
    code, said, _ = geomind("regions", "fit", manifest, "--levels", levels, "--min-photos", 10)
    assert code == 0
    tree = CellTree.read("cells.parquet")
    assert [level.name for level in tree.levels] == list(expected)
    for level, cells in zip(tree.levels, expected.values(), strict=True):
        assert 0 < len(level) <= max(cells, 28)
        assert level.name in said


@pytest.mark.parametrize(
    "options",
    [
        ("--levels", "country,street"),
        ("--levels", "3,0"),
        ("--levels", "3,7", "--k", "4"),
        ("--k", "1"),
        ("--regions", "table.yaml"),
        ("--refine",),
    ],
)
def test_wrong_usage_is_told(geomind: Run, manifest: Path, options: tuple[str, ...]) -> None:
    assert geomind("regions", "fit", manifest, *options)[0] == 2
    assert not Path("regions.yaml").exists()
    assert not Path("cells.parquet").exists()


@pytest.mark.parametrize("command", ["show", "fit", "assign"])
def test_every_option_says_what_it_does(geomind: Run, command: str) -> None:
    code, said, _ = geomind("regions", command, "--help")
    assert code == 0
    options = [line for line in said.splitlines() if line.startswith("│ ") and "--" in line]
    assert options
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options)


@pytest.mark.parametrize(
    ("shares", "names"),
    [
        ("90/10", {"train", "validation"}),
        ("80/10/10", {"train", "validation", "test"}),
        ("70/10/10/10", {"train", "validation", "calibration", "test"}),
        ("train=0.5,test=0.5", {"train", "test"}),
    ],
)
def test_a_manifest_is_split_into_these_shares(geomind: Run, manifest: Path, shares: str, names: set[str]) -> None:
    code, said, _ = geomind("split", manifest, "--shares", shares)
    assert code == 0
    assert "In two splits or more: 0 of" in said
    assert set(read_manifest(manifest)["split"]) == names


def test_a_random_split_is_only_made_by_name_and_with_a_warning(geomind: Run, manifest: Path) -> None:
    code, _, said = geomind("split", manifest, "--by", "random")
    assert code == 0
    assert "30.6%" in said
    code, _, said = geomind("split", manifest, "--overwrite")
    assert code == 0
    assert "flatters" not in said


def test_a_gap_leaves_photos_out(geomind: Run, manifest: Path) -> None:
    code, said, _ = geomind("split", manifest, "--gap-km", 50)
    assert code == 0
    assert "Left out of all splits: " in said
    assert "" in set(read_manifest(manifest)["split"])


@pytest.mark.parametrize("shares", ["half", "90", "50/40/5/3/2", "train=x"])
def test_shares_that_cannot_be_read(geomind: Run, manifest: Path, shares: str) -> None:
    assert geomind("split", manifest, "--shares", shares)[0] == 2


def test_the_next_line_names_the_files_that_were_given(geomind: Run, manifest: Path) -> None:
    """`regions fit photos.csv` told to assign to manifest.csv, and no name with a space could be pasted back."""
    manifest.rename("my photos.csv")
    code, said, _ = geomind("regions", "fit", "my photos.csv", "--k", 4, "--output", "my regions.yaml")
    assert code == 0
    assert "Next: geomind regions assign 'my photos.csv' --regions 'my regions.yaml' --overwrite" in said
    _, said, _ = geomind("regions", "assign", "my photos.csv", "--regions", "my regions.yaml", "--overwrite")
    assert "Next: geomind train-director --data 'my photos.csv' --regions 'my regions.yaml'" in said
    _, said, _ = geomind("split", "my photos.csv")
    assert "Next: geomind train-director --data 'my photos.csv'" in said


@pytest.mark.parametrize("command", [("show",), ("fit", "manifest.csv", "--k", "4")])
def test_a_map_that_is_no_png_is_refused_before_any_work(
    geomind: Run, manifest: Path, command: tuple[str, ...]
) -> None:
    """`--map map.xyz` ended in a traceback of matplotlib's, when regions.yaml had been written already."""
    code, _, said = geomind("regions", *command, "--map", "map.xyz")
    assert code == 1
    assert "A map ends in .png; map.xyz does not." in said
    assert [path.name for path in manifest.parent.iterdir()] == ["manifest.csv"]


def test_a_negative_region_is_no_file(geomind: Run, manifest: Path) -> None:
    """`--refine -1` was taken for a predictions file: "Cannot read -1"."""
    code, _, said = geomind("regions", "fit", manifest, "--refine", "-1")
    assert code == 1
    assert "No region -1 in the table" in said


@pytest.mark.parametrize(
    ("shares", "reason"), [("=0.5,b=0.5", "a share without a name"), ("train=0.5,train=0.5", "names train twice")]
)
def test_every_share_has_a_name_of_its_own(geomind: Run, manifest: Path, shares: str, reason: str) -> None:
    """An empty name made a split that is none, and of a name given twice the first share was forgotten."""
    code, _, said = geomind("split", manifest, "--shares", shares)
    assert code == 2
    assert reason in said


def test_a_split_without_train_is_not_sent_to_training(geomind: Run, manifest: Path) -> None:
    """`--shares a=0.5,b=0.5` ended in "Next: geomind train-director", which then found no training photo."""
    code, said, warned = geomind("split", manifest, "--shares", "a=0.5,b=0.5")
    assert code == 0
    assert "Next:" not in said
    assert "No split is called train" in warned


@pytest.mark.parametrize("by", ["group", "random"])
def test_a_resolution_without_blocks_is_refused(geomind: Run, manifest: Path, by: str) -> None:
    """`--by random --resolution 2` looked as if blocks of that size were kept together; none were."""
    code, _, said = geomind("split", manifest, "--by", by, "--resolution", 2)
    assert code == 2
    assert f"--by {by} deals no blocks" in said
    assert set(read_manifest(manifest)["split"]) == {""}
