from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE, Run, describe
from PIL import Image
from test_cascade import on_the_directors_trunk

from geomind import export
from geomind.cascade import Cascade
from geomind.checkpoints import Description, director_path, expert_path, read_description, save_checkpoint
from geomind.errors import PhotoError
from geomind.export import export_models, quantize_models
from geomind.geography.cell_code import CellCode
from geomind.geography.cells import CellTree
from geomind.geography.regions import default_regions
from geomind.networks import CellsNetwork

DOCS = (Path(__file__).parent.parent / "docs" / "runtimes.md").read_text(encoding="utf-8")


def draw(folder: Path, photos: int) -> list[Path]:
    """Draw smooth coloured photos, since a random network answers noise with one place."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    paths = [folder / f"{number:02d}.png" for number in range(photos)]
    for path in paths:
        corners = Image.fromarray(random.integers(0, 255, (3, 3, 3), dtype=np.uint8))
        corners.resize((60, 40), Image.Resampling.BICUBIC).save(path)
    return paths


def in_cells(region_id: int) -> tuple[CellsNetwork, Description]:
    """Make an Expert that answers in 30 cells: of one level for an odd region, else of two; some near each other."""
    random = np.random.default_rng(region_id)
    places = np.stack([random.uniform(-85, 85, 300), random.uniform(-180, 180, 300)], axis=1)
    places[:150] = random.normal((10.0, 179.0), 0.8, (150, 2))
    places[:, 1] = (places[:, 1] + 180) % 360 - 180
    levels = {"city": 30} if region_id % 2 else {"region": 5, "city": 30}
    code = CellCode.fit(CellTree.fit(places, levels), places)
    torch.manual_seed(region_id)
    network = CellsNetwork("scene_net", SIZE, code.sizes)
    with torch.no_grad():  # photos differ in their cells, and offsets go beyond the furthest
        network.head[1].weight.copy_(torch.randn_like(network.head[1].weight))
    return network, describe("expert", default_regions(), region_id=region_id, cells=code.to_dict())


def answers_in_cells(models: Path, region_id: int) -> None:
    network, about = in_cells(region_id)
    save_checkpoint(expert_path(models, default_regions()[region_id]), network.state_dict(), about)


def cells_on_the_directors_trunk(models: Path, region_id: int) -> None:
    network, about = in_cells(region_id)
    head = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("head.")}
    trunk = read_description(director_path(models)).trunk
    path = expert_path(models, default_regions()[region_id])
    save_checkpoint(path, head, about.model_copy(update={"trunk": trunk}))


def test_the_example_without_geomind_answers_as_geomind_does(models: Path, tmp_path: Path) -> None:
    on_the_directors_trunk(models, 0)  # an Expert without a file
    for region_id in (3, 9):
        answers_in_cells(models, region_id)
    cells_on_the_directors_trunk(models, 10)
    exported = export_models(models, tmp_path / "out")
    assert len(exported) == len(list((tmp_path / "out").rglob("*.onnx"))) == 5
    assert all(e.max_difference is not None and e.max_difference < 1e-4 for e in exported)
    about = json.loads((tmp_path / "out" / "models.json").read_text())
    assert [region["id"] for region in about["regions"] if region["expert"]] == [0, 2, 3, 5, 9, 10]
    assert ["cells" in (region["expert"] or ()) for region in about["regions"]].count(True) == 3

    (example,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert "geomind" not in example
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    photos = draw(tmp_path / "photos", 4)
    cascade = Cascade.load(models)
    pixels = np.stack([cascade.preprocessing.read(photo) for photo in photos])
    found = cascade.locate(pixels, [photo.name for photo in photos])
    for region in (
        None,
        0,
        5,
        7,
        3,
        9,
        10,
    ):  # as routed; a head, an Expert, a median, two with cells, a head with cells
        if region is not None:
            text = example.replace("int(logits.argmax())", str(region))
            assert text != example
            (tmp_path / "example.py").write_text(text, encoding="utf-8")
        said = subprocess.run(
            [sys.executable, "example.py", "out", *map(str, photos)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        rows = [line.split(",") for line in said.stdout.splitlines()]
        assert len(rows) == 4
        expected = (
            [(p.region_id, p.latitude, p.longitude) for p in found]
            if region is None
            else [(region, *place) for place in cascade.locate_in_region(pixels, region)]
        )
        for (path, region_id, latitude, longitude), right, photo in zip(rows, expected, photos, strict=True):
            assert (path, int(region_id)) == (str(photo), right[0])
            assert (float(latitude), float(longitude)) == pytest.approx(right[1:], abs=2e-3)


def test_int8_is_made_from_photos_and_tells_its_cost(
    models: Path, geomind: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "photos", 12)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    monkeypatch.setattr(export, "CALIBRATION_PHOTOS", 5)
    code, out, err = geomind("export", "--precision", "int8", "--calibrate", "photos", "--models", models)
    assert code == 0, err
    assert "int8 against fp32 on 5 photos" in out
    assert len(list(models.rglob("*.int8.onnx"))) == 3
    assert json.loads((models / "models.json").read_text())["director"]["file"].endswith(".int8.onnx")
    cascade = Cascade.load(models, precision="int8")
    pixels = np.stack([cascade.preprocessing.read(p) for p in sorted((tmp_path / "photos").glob("*.png"))])
    exact = Cascade.load(models).locate_in_region(pixels, 5)
    difference = np.abs(cascade.locate_in_region(pixels, 5) - exact) / (20.0, 30.0)
    assert 0 < difference.max() < 0.05


def test_int8_needs_photos(models: Path, geomind: Run, tmp_path: Path) -> None:
    code, _, err = geomind("export", "--precision", "int8", "--models", models)
    assert code == 1
    assert "--calibrate PHOTOS_DIR" in err
    code, _, err = geomind("export", "--calibrate", ".", "--models", models)
    assert code == 1
    draw(tmp_path / "one", 1)
    with pytest.raises(PhotoError, match="fewer than two photos"):
        quantize_models(models, tmp_path / "one")


def test_the_command_says_how_near_to_torch_it_is(models: Path, geomind: Run) -> None:
    code, out, err = geomind("export", "--models", models, "--output", "elsewhere")
    assert code == 0, err
    assert out.count("max difference from torch") == 3
    assert "elsewhere/models.json" in out
    assert Path("elsewhere/director/director.onnx").is_file()
