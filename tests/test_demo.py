from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from geomind.checkpoints import director_path, expert_path, read_description
from geomind.demo import MARK, run_demo
from geomind.errors import OutputError
from geomind.geography.regions import default_regions
from geomind.predictions import read_predictions

LAST_DEMO = Path(__file__).parent.parent / "demo" / "metrics.json"


def test_the_quick_demo_tells_the_whole_story(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = run_demo(folder, quick=True, seed=1)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["count"] == metrics["answered"] > 200
    assert metrics["router_accuracy"] > 0.3  # guessing gives about 0.1
    assert metrics["oracle_median_km"] < metrics["median_km"]
    rows = read_predictions(done.predictions)
    assert len(rows) == metrics["count"]
    assert all(row.error is None and row.google_maps_url for row in rows)
    assert all(row.radius_km_50 and row.radius_km_90 and row.confidence is not None for row in rows)
    within = [distance <= row.radius_km_90 for row, distance in zip(rows, done.evaluation.distance_km, strict=True)]
    assert metrics["coverage_90"] == pytest.approx(sum(within) / len(within))
    assert 0.8 < sum(within) / len(within) < 0.98  # 180 photos calibrate a quick demo
    for region in default_regions().regions:
        assert read_description(expert_path(done.models, region)).region_id == region.id
    assert str(tmp_path) not in director_path(done.models).read_bytes().decode("latin-1")
    assert str(tmp_path) not in expert_path(done.models, default_regions()[0]).read_bytes().decode("latin-1")
    with Image.open(done.world_map) as drawn:
        assert drawn.width > 1000
    assert {
        "map.png",
        "map.html",
        "report.html",
        "calibration.png",
        "errors.png",
        "regions.png",
        "manifest.csv",
        "photos",
        "runs",
        MARK,
    } <= {path.name for path in folder.iterdir()}
    with pytest.raises(OutputError, match="--overwrite"):
        run_demo(folder, quick=True)


def test_a_folder_with_something_else_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("precious")
    with pytest.raises(OutputError, match="something else than a demo"):
        run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "photos" / "mine.jpg").read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        run_demo(tmp_path / "file")


@pytest.mark.skipif(not LAST_DEMO.exists(), reason="`make demo` was not run before")
def test_the_full_demo_reaches_its_figures() -> None:
    """Held-out Director accuracy of 0.80, and a median error below that of the true region's median place."""
    metrics = json.loads(LAST_DEMO.read_text())
    if metrics["count"] < 1000:
        pytest.skip("the last demo was a quick one")
    assert metrics["router_accuracy"] >= 0.80
    assert metrics["median_km"] < metrics["region_median_floor_km"]
