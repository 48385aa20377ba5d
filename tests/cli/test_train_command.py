"""`geomind train-director`, `train-expert` and `train-hierarchical` as a person types them, and what they lead to."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Run as Typed
from few_photos import PLACES, REGIONS, Interrupted, edit, write_photos
from PIL import Image

from geomind.checkpoints import director_path, expert_path, hierarchical_path, read_description
from geomind.cli import progress
from geomind.config import DirectorConfig, load_config
from geomind.geography.cells import CellTree
from geomind.predictions import CANDIDATE_COLUMNS, CELL_COLUMNS, COLUMNS, read_predictions
from geomind.training import runs

ROOT = Path(__file__).parents[2]

TINY = ["--set", "backbone.name=scene_net", "--set", "backbone.weights=none", "--set", "image_size=32",
        "--set", "max_epochs=2", "--set", "workers=0", "--set", "device=cpu", "--set", "batch_size=4"]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_photos(tmp_path)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare half of the time of trainings this short."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_, **__: None)


def error(stderr: str) -> str:
    (line,) = (line for line in stderr.splitlines() if line.startswith("Error: "))
    assert "Traceback" not in stderr
    return line


def usage(said: tuple[int, str, str]) -> str:
    code, _, stderr = said
    assert code == 2
    return " ".join(stderr.replace("│", " ").split())


def interrupted(geomind: Typed, monkeypatch: pytest.MonkeyPatch, *words: object, at_batch: int = 3) -> Path:
    """Press Ctrl-C at a batch of a training; give its run folder."""
    with monkeypatch.context() as patch:
        patch.setattr(progress, "bars", lambda: Interrupted(at_batch))
        code, _, said = geomind(*words)
    assert code == 130
    (run,) = (path.parent for path in Path("runs").glob("*/snapshot.safetensors"))
    assert f"Go on with the same command and --resume {run}" in " ".join(said.split())
    return run


def test_a_training_says_what_it_made_and_what_comes_next(geomind: Typed, data: Path) -> None:
    code, said, _ = geomind("train-director", "--data", data, *TINY, "--select", "accuracy")
    assert code == 0
    assert "Director: weights saved_models/director/director.safetensors, run runs/director-" in said
    assert f"Next: geomind train-expert --region all --data {data}" in said
    assert read_description(director_path("saved_models")).config["select"] == "accuracy"
    code, said, _ = geomind("train-expert", "--region", 6, "--data", data, *TINY, "--models", "saved_models")
    assert code == 0
    assert "East Asia: weights saved_models/experts/06-" in said
    assert "Next: geomind infer --images-dir PHOTOS --models saved_models" in said


def test_resume_takes_manifest_and_settings_from_the_run(
    geomind: Typed, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(geomind, monkeypatch, "train-director", "--data", data, *TINY)
    before = load_config(DirectorConfig, run / "config.yaml")
    code, said, _ = geomind("train-director", "--resume", run, "--set", "workers=1", "--set", "snapshot_seconds=5")
    assert code == 0
    assert f"run {run}" in said
    assert read_description(director_path("saved_models")).config["seed"] == before.seed
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    code, _, said = geomind("train-director", "--resume", run, "--overwrite")
    assert code == 1
    assert "is finished: there is nothing to resume" in error(said)


def test_resume_of_another_training_is_one_line(geomind: Typed, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupted(geomind, monkeypatch, "train-expert", "--region", 6, "--data", data, *TINY)
    for words, said in [
        (["train-expert", "--region", 6, "--resume", run, "--set", "loss=mse"], "loss=smooth_l1, not mse"),
        (["train-expert", "--region", 9, "--resume", run], "it trains expert-06, not expert-09"),
        (["train-expert", "--region", 6, "--resume", "photos"], "photos is no run folder"),
        (["train-director", "--resume", run], "it trains expert-06; go on with it by `geomind train-expert`"),
    ]:
        code, _, stderr = geomind(*words)
        assert code == 1
        assert said in error(stderr)
    edit(data, longitude=lambda frame: frame["longitude"] + 0.5)
    code, _, stderr = geomind("train-expert", "--region", 6, "--resume", run)
    assert code == 1
    assert "has changed since" in error(stderr)
    data.unlink()
    code, _, stderr = geomind("train-expert", "--region", 6, "--resume", run)
    assert code == 1
    assert str(data) in error(stderr)


def test_an_expert_is_not_selected_by_accuracy(geomind: Typed, data: Path) -> None:
    code, _, said = geomind("train-expert", "--region", 6, "--data", data, "--select", "accuracy")
    assert code == 1
    assert "an Expert has no accuracy; select its best epoch by loss or geoscore" in error(said)
    code, _, said = geomind("train-director", "--data", data, "--select", "luck")
    assert code == 1
    assert "Setting 'select'" in error(said)
    assert not Path("runs").exists()


def test_what_is_typed_wrongly(geomind: Typed, data: Path) -> None:
    assert "name a manifest" in usage(geomind("train-director"))
    assert "name a manifest" in usage(geomind("train-expert", "--region", 6))
    assert "it finds what was interrupted" in usage(
        geomind("train-expert", "--region", "all", "--data", data, "--resume", "runs/expert-06")
    )
    assert "is for --region all" in usage(geomind("train-expert", "--region", 6, "--data", data, "--jobs", 2))
    assert "'x' is no region id" in usage(geomind("train-expert", "--region", "x", "--data", data))
    assert "--jobs" in usage(geomind("train-expert", "--region", "all", "--data", data, "--jobs", 0))
    assert not Path("runs").exists()


def test_all_experts_side_by_side(geomind: Typed, data: Path) -> None:
    code, said, _ = geomind("train-expert", "--region", "all", "--jobs", 2, "--data", data, *TINY)
    assert code == 0
    for region in REGIONS.regions:
        (row,) = (line for line in said.splitlines() if line.startswith("│") and region.name in line)
        assert ("skipped" in row) == (region.id not in PLACES)
        assert expert_path("saved_models", region).is_file() == (region.id in PLACES)
    assert said.count("skipped, no photo for training") == 10
    assert f"East Asia: weights {expert_path('saved_models', REGIONS[6])}, run runs/expert-06-" in said
    assert "Next: geomind infer" in said


def test_an_expert_that_fails_is_told_and_the_others_are_trained(geomind: Typed, data: Path) -> None:
    for path in data.parent.glob("6-*.png"):
        path.write_bytes(b"no photo")
    code, said, _ = geomind("train-expert", "--region", "all", "--data", data, *TINY)
    assert code == 1
    (row,) = (line for line in said.splitlines() if line.startswith("│") and "East Asia" in line)
    assert "failed" in row
    assert "East Asia: failed. None of the training photos could be read" in said
    assert "Next:" not in said
    trained = {path.name[:2] for path in Path("saved_models/experts").iterdir()}
    assert trained == {"02", "09"}


def test_processes_that_torchrun_started_beside_the_first_print_nothing(
    geomind: Typed, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    code, said, stderr = geomind("train-expert", "--region", 6, "--data", data, *TINY)
    assert (code, said) == (0, "")
    assert "━" not in stderr


HIERARCHY = ["--set", "levels={country: 3, region: 4, city: 6}", "--set", "cells.min_photos=1"]


def test_the_hierarchical_network_from_a_manifest_to_rows(geomind: Typed, data: Path) -> None:
    code, said, stderr = geomind("train-hierarchical", "--data", data, *TINY, *HIERARCHY)
    assert code == 0, stderr
    assert "hierarchical network: weights saved_models/hierarchical/hierarchical.safetensors, run runs/hierar" in said
    assert "Next: geomind infer --images-dir PHOTOS --models saved_models/hierarchical" in said
    words = ("infer", "--images-dir", data.parent, "--models", "saved_models/hierarchical", "--runtime", "torch")
    code, _, stderr = geomind(*words, "--candidates", 2)
    assert code == 0, stderr
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert tuple(rows[0]) == COLUMNS + CELL_COLUMNS + CANDIDATE_COLUMNS
    for row in rows:
        shares = [float(row[f"{level}_cell_probability"]) for level in ("country", "region", "city")]
        assert 1 >= shares[0] >= shares[1] >= shares[2] > 0
        assert all(row[f"{level}_cell"] for level in ("country", "region", "city"))
        first, *more = json.loads(row["candidates"])
        assert f"{first['latitude']:.6f}" == row["latitude"]
        assert len(more) <= 1
    code, _, stderr = geomind(*words, "--output", "b.csv", "--routing", "soft")
    assert code == 1
    assert "holds one network, which routes to no Experts: leave out --routing and --top-k" in error(stderr)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "hierarchical.md").read_text("utf-8"), re.DOTALL)
    Image.open(data.parent / "6-3.png").save("photo.jpg")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["answer"].image_path == "photo.jpg"
    assert names["answer"].candidates


def test_an_interrupted_hierarchy_goes_on(geomind: Typed, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupted(geomind, monkeypatch, "train-hierarchical", "--data", data, *TINY, *HIERARCHY)
    for command in ("train-director", "train-expert"):
        words = ["--region", 6] if command == "train-expert" else []
        code, _, stderr = geomind(command, *words, "--resume", run)
        assert code == 1
        assert "it trains hierarchical; go on with it by `geomind train-hierarchical`" in error(stderr)
    code, said, stderr = geomind("train-hierarchical", "--resume", run)
    assert code == 0, stderr
    assert f"run {run}" in said
    code, _, stderr = geomind("train-hierarchical", "--data", data, *TINY)
    assert code == 1
    assert "--overwrite" in error(stderr)


def test_a_hierarchy_takes_cells_that_regions_fit_wrote(geomind: Typed, data: Path) -> None:
    code, _, stderr = geomind("regions", "fit", data, "--levels", "country=2,city=4", "--min-photos", 1,
                              "--output", "cells.parquet")  # fmt: skip
    assert code == 0, stderr
    code, _, stderr = geomind("train-hierarchical", "--data", data, *TINY, "--cells", "cells.parquet")
    assert code == 0, stderr
    tree = read_description(hierarchical_path("saved_models")).cell_code.tree
    assert tree.fingerprint == CellTree.read("cells.parquet").fingerprint
    code, _, stderr = geomind("regions", "fit", data, "--levels", "continent=2,city=4", "--min-photos", 1,
                              "--output", "other.parquet")  # fmt: skip
    assert code == 0, stderr
    code, _, stderr = geomind("train-hierarchical", "--data", data, *TINY, "--cells", "other.parquet", "--overwrite")
    assert code == 1
    assert "has a level 'continent'" in error(stderr)


def test_a_cascade_with_cells_routes_softly(geomind: Typed, data: Path) -> None:
    assert geomind("train-director", "--data", data, *TINY)[0] == 0
    cells = ["--set", "head=cells", "--set", "cells_count=4", "--set", "cells.min_photos=1"]
    assert geomind("train-expert", "--region", "all", "--data", data, *TINY, *cells)[0] == 0
    about = read_description(expert_path("saved_models", REGIONS[6]))
    assert about.box is None
    assert about.cell_code.sizes == (4,)
    words = ("infer", "--images-dir", data.parent, "--runtime", "torch")
    plain, soft = (), ("--routing", "soft", "--top-k", 2, "--candidates", 3, "--output", "soft.csv")
    for more in (plain, soft):
        code, said, stderr = geomind(*words, *more)
        assert code == 0, stderr
        assert "24 photos" in said
    assert all(row.candidates is None for row in read_predictions("predictions.csv"))
    for row in read_predictions("soft.csv"):
        named = json.loads(row.candidates or "")
        assert 1 <= len(named) <= 3
        assert (named[0]["latitude"], named[0]["longitude"]) == row.place
    code, _, stderr = geomind(*words, "--top-k", 2, "--output", "c.csv")
    assert code == 1
    assert "--top-k is for --routing soft" in error(stderr)
    assert "--top-k" in usage(geomind(*words, "--routing", "soft", "--top-k", 1))
