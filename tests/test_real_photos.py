"""Real photos and difficult files through the real commands. They need the folder that GEOMIND_SHARED names."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geomind.predictions import read_predictions

SETTINGS = ["--set", "backbone.weights=none", "--set", "image_size=64", "--set", "max_epochs=1", "--set", "workers=0"]


def geomind(*arguments: object, folder: Path) -> str:
    said = subprocess.run(
        [sys.executable, "-m", "geomind", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.skipif("GEOMIND_SHARED" not in os.environ, reason="GEOMIND_SHARED is not set")
def test_real_photos_train_efficientnet_and_are_located(tmp_path: Path, shared: Path) -> None:
    said = geomind("prepare", shared / "photos", folder=tmp_path)
    assert "72 photos found = 72 used + 0 rejected." in said
    with (shared / "photos/manifest.csv").open(newline="") as file:
        truth = {row["image_path"]: row for row in csv.DictReader(file)}
    with (tmp_path / "manifest.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    for row in read:
        known = truth[Path(row["image_path"]).relative_to((shared / "photos").absolute()).as_posix()]
        assert float(row["latitude"]) == pytest.approx(float(known["latitude"]), abs=1e-4)
        assert float(row["longitude"]) == pytest.approx(float(known["longitude"]), abs=1e-4)
        assert row["country"] == known["country"]
    geomind("train-director", "--data", "manifest.csv", *SETTINGS, folder=tmp_path)
    geomind("train-expert", "--region", "2", "--data", "manifest.csv", *SETTINGS, folder=tmp_path)
    said = geomind("infer", "--images-dir", shared / "photos", folder=tmp_path)
    assert "72 photos: 72 located, 0 could not be read." in said
    geomind("evaluate", "predictions.csv", "--truth", "manifest.csv", "--models", "saved_models", folder=tmp_path)


# The maximum that `resource` knows is inherited from the process that started this one.
_MEASURED = r"""
import pathlib, re
from geomind.cli import main
try: main()
finally: print("peak", int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif("GEOMIND_SHARED" not in os.environ, reason="GEOMIND_SHARED is not set")
def test_every_difficult_file_gets_a_row_in_bounded_memory(tmp_path: Path, shared: Path, models: Path) -> None:
    command = [sys.executable, "-c", _MEASURED, "infer", "--images-dir", str(shared / "odd"), "--models", str(models)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 0, said.stderr
    rows = read_predictions(tmp_path / "predictions.csv")
    assert len(rows) == 253
    with (shared / "odd/manifest.csv").open(newline="") as file:
        loads = {row["file"]: row["pillow_loads"] == "ok" for row in csv.DictReader(file)}
    # Pillow itself refuses these two when first asked, and gives half a picture when asked again.
    loads |= {name: False for name in loads if name.endswith(("apng_chunk_no_fctl.png", "broken_data_stream.png"))}
    assert {row.image_path: row.answered for row in rows} == loads
    assert all(row.error for row in rows if not row.answered)
    peak_mb = int(said.stdout.split("peak ")[1])
    assert peak_mb < 2500  # torch alone takes 400 to 900 of it, by its build
