"""`geomind calibrate`, and what `geomind infer` makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Run

from geomind.calibration import NOT_CALIBRATED, calibration_path
from geomind.data.manifest import read_manifest, write_manifest
from geomind.predictions import read_predictions


@pytest.fixture
def manifest(data: Path, tmp_path: Path) -> Path:
    """Sixty rows for calibration, of the few photos there are."""
    rows = read_manifest(data)
    rows["image_path"] = [str((data.parent / path).resolve()) for path in rows["image_path"]]
    many = rows.iloc[np.arange(60) % len(rows)].assign(split="calibration", group="")
    write_manifest(many, tmp_path / "many.csv")
    return tmp_path / "many.csv"


def test_from_calibration_to_abstention(geomind: Run, models: Path, manifest: Path) -> None:
    photos = Path(read_manifest(manifest)["image_path"][0]).parent
    infer = ("infer", "--images-dir", photos, "--models", models, "--runtime", "torch")
    code, said, _ = geomind(*infer)
    assert code == 0
    assert f"No radii: {NOT_CALIBRATED}." in said
    assert all(row.radius_note == NOT_CALIBRATED for row in read_predictions("predictions.csv"))

    code, _, said = geomind(*infer, "--min-confidence", 0.5, "--output", "sure.csv")
    assert code == 1
    assert "To abstain, an answer must know how sure it is" in said
    assert not Path("sure.csv").exists()

    calibrate = ("calibrate", "--data", manifest, "--models", models, "--runtime", "torch")
    code, said, _ = geomind(*calibrate, "--level", 0.8)
    assert code == 0
    assert "60 photos, judged by those of other places" in said
    assert "80%" in said
    assert f"Calibration: {calibration_path(models)}" in said
    code, _, said = geomind(*calibrate)
    assert code == 1
    assert "--overwrite" in said

    code, said, _ = geomind(*infer, "--max-radius-km", 0, "--output", "none.csv")
    assert code == 0
    assert "No radii" not in said
    assert " abstain, less sure than was asked for" in said
    rows = read_predictions("none.csv")
    assert rows
    assert all(row.place and row.abstained == "90% radius over 0 km" and row.radius_km_90 for row in rows)

    code, said, _ = geomind(*infer, "--routing", "soft", "--output", "soft.csv")
    assert code == 0
    assert "No radii: calibrated for hard routing and nothing else; run geomind calibrate" in said


@pytest.mark.parametrize("wrong", [("--min-confidence", 1.1), ("--max-radius-km", -1), ("--max-radius-km", "near")])
def test_limits_that_are_none(geomind: Run, models: Path, wrong: tuple[str, object]) -> None:
    assert geomind("infer", "--images-dir", ".", "--models", models, *wrong)[0] == 2
