"""`geomind inspect` as a person types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, frame, scene

from geomind import cli
from geomind.data.manifest import read_manifest, write_manifest
from geomind.predictions import Prediction, write_predictions

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def geomind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["geomind", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four photos, nothing wrong with them; one's name looks like markup of the terminal."""
    names = ["[bold red]0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    places = [
        (PARIS, "FR", 2, "train"),
        (LYON, "FR", 2, "train"),
        (TOKYO, "JP", 6, "validation"),
        (NAIROBI, "KE", 9, "test"),
    ]
    rows = []
    for number, (name, (place, country, region, split)) in enumerate(zip(names, places, strict=True)):
        scene(tmp_path / name, number)
        rows.append(at(place, image_path=name, country=country, region_id=region, split=split))
    write_manifest(frame(*rows), tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_a_fit_manifest_exits_with_0_and_writes_all_that_was_asked(geomind: Run, manifest: Path) -> None:
    code, said, _ = geomind("inspect", manifest, "--json", "i.json", "--report", "i.html", "--photos", "i.csv")
    assert code == 0
    assert "4 photos in 3 of 13 regions" in said
    assert "Fit to train on." in said
    assert json.loads(Path("i.json").read_text())["fit"] is True
    assert Path("i.csv").read_text().count("ok") == 4
    assert "Fit to train on" in Path("i.html").read_text()


def test_an_unfit_manifest_exits_with_1_and_says_why_and_what_to_do(geomind: Run, manifest: Path) -> None:
    (manifest.parent / "[bold red]0.jpg").unlink()
    code, said, _ = geomind("inspect", manifest)
    assert code == 1
    assert "Not fit to train on: Missing and unreadable files." in said
    assert "[bold red]0.jpg: missing" in said
    assert f"geomind prepare {manifest} --output prepared.csv" in said
    assert "Traceback" not in said
    code, said, _ = geomind("inspect", manifest, "--no-check-files")
    assert code == 0
    assert "No file was opened" in said


def test_coordinates_are_printed_only_when_asked(geomind: Run, manifest: Path) -> None:
    (manifest.parent / "1.jpg").unlink()
    assert "45.764" not in geomind("inspect", manifest)[1]
    assert "45.764000, 4.835700" in geomind("inspect", manifest, "--show-coordinates")[1]


def test_hard_examples_are_counted_and_written(geomind: Run, manifest: Path) -> None:
    answers = [
        Prediction(image_path="1.jpg", region_id=3, latitude=40.0, longitude=2.0),
        Prediction(image_path="3.jpg", region_id=1, latitude=1.0, longitude=2.0),
    ]
    write_predictions(answers, manifest.parent / "predictions.csv")
    code, said, _ = geomind("inspect", manifest, "--predictions", "predictions.csv", "--hard", "hard.csv")
    assert code == 0
    assert "Western & Northern Europe → Southern Europe" in said
    assert "2 of 2 answered photos were given a wrong region." in said
    assert "1 of them are of held-out splits" in said
    assert read_manifest("hard.csv")["hard"].tolist()[1] == "Africa → Latin America"
    answers = [Prediction(image_path="1.jpg", region_id=2, latitude=40.0, longitude=2.0)]
    write_predictions(answers, manifest.parent / "right.csv")
    code, said, _ = geomind("inspect", manifest, "--predictions", "right.csv", "--hard", "none.csv")
    assert code == 0
    assert "got every photo right; none.csv was not written" in said
    assert not Path("none.csv").exists()


def test_wrong_usage_and_existing_output(geomind: Run, manifest: Path) -> None:
    assert geomind("inspect", manifest, "--hard", "hard.csv")[0] == 2
    Path("i.json").write_text("mine")
    code, _, said = geomind("inspect", manifest, "--json", "i.json")
    assert code == 1
    assert said.startswith("Error: i.json exists already")
    assert Path("i.json").read_text() == "mine"
    code, _, said = geomind("inspect", "none.csv")
    assert code == 1
    assert said.startswith("Error: ")
    assert "none.csv" in said


def test_every_option_says_what_it_does(geomind: Run) -> None:
    code, said, _ = geomind("inspect", "--help")
    assert code == 0
    options = [line for line in said.splitlines() if line.startswith("│ ") and "--" in line]
    assert len(options) >= 13
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options)
