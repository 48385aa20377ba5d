"""`geomind inspect` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, frame, scene

from geomind.data.manifest import read_manifest, write_manifest
from geomind.geography.regions import default_regions
from geomind.predictions import Prediction, write_predictions


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


def test_an_unfit_manifest_exits_with_3_and_says_why_and_what_to_do(geomind: Run, manifest: Path) -> None:
    """It was 1, as for a manifest that could not be read: a script could not tell the two apart."""
    (manifest.parent / "[bold red]0.jpg").unlink()
    code, said, _ = geomind("inspect", manifest)
    assert code == 3
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


def test_a_file_that_is_not_there_says_what_to_do(geomind: Run, manifest: Path) -> None:
    """It said "Cannot read none.csv: no such file or directory." and no more."""
    code, _, said = geomind("inspect", "none.csv")
    assert code == 1
    assert said.startswith("Error: Cannot read none.csv: no such file or directory. Name a manifest; `geomind prepare")
    code, _, said = geomind("inspect", manifest, "--predictions", "none.csv")
    assert code == 1
    assert "`geomind infer` makes one." in said


@pytest.mark.parametrize("option", ["--json", "--photos", "--report", "--hard", "--predictions"])
def test_no_output_replaces_what_is_read(geomind: Run, manifest: Path, option: str) -> None:
    """`inspect m.csv --json m.csv --overwrite` replaced the manifest by its figures."""
    write_predictions([], manifest.parent / "predictions.csv")
    before = manifest.read_bytes()
    named = [] if option == "--predictions" else ["--predictions", "predictions.csv"]
    (manifest.parent / "link.csv").symlink_to(manifest)
    code, _, said = geomind("inspect", manifest, *named, option, "link.csv", "--overwrite")
    assert code == 1
    assert said == f"Error: link.csv is named for the manifest and for {option}. Name another file for {option}.\n"
    assert manifest.read_bytes() == before


def test_no_output_replaces_another_or_the_predictions(geomind: Run, manifest: Path) -> None:
    """The later output replaced the earlier one, and --hard the predictions it was made of."""
    code, _, said = geomind("inspect", manifest, "--json", "one", "--report", manifest.parent / "one", "--overwrite")
    assert code == 1
    assert "is named for --json and for --report" in said
    assert not Path("one").exists()
    write_predictions([], manifest.parent / "p.csv")
    code, _, said = geomind("inspect", manifest, "--predictions", "p.csv", "--hard", "./p.csv", "--overwrite")
    assert code == 1
    assert "p.csv is named for --predictions and for --hard" in said


def test_images_dir_without_predictions_is_refused(geomind: Run, manifest: Path) -> None:
    """It did nothing, without a word."""
    code, _, said = geomind("inspect", manifest, "--images-dir", ".")
    assert code == 2
    assert "--images-dir" in said


def test_a_pipe_gets_every_figure(geomind: Run, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe was taken for 80 columns, and the table of splits lost its last figures."""
    monkeypatch.setenv("COLUMNS", "40")
    said = geomind("inspect", manifest)[1]
    assert "within 25 km" in said
    assert "Western & Northern Europe" in said
    assert "…" not in said


def test_advice_keeps_the_table_of_regions(geomind: Run, manifest: Path) -> None:
    """It advised `geomind prepare` without --regions, which fills in GeoMind's regions instead of the manifest's."""
    rows = read_manifest(manifest)
    write_manifest(rows.assign(region_id=rows["region_id"].where(rows.index != 0)), manifest, overwrite=True)
    (manifest.parent / "1.jpg").unlink()
    default_regions().write("ours.yaml")
    code, said, _ = geomind("inspect", manifest, "--regions", "ours.yaml")
    assert code == 3
    assert f"geomind regions assign {manifest} --regions ours.yaml --overwrite" in said
    assert f"geomind prepare {manifest} --output prepared.csv --regions ours.yaml" in said
    said = geomind("inspect", manifest)[1]
    assert "regions assign" not in said  # it takes no table but a named one
    assert "Name its table of regions by --regions" in said
    command = f"regions assign {manifest} --regions ours.yaml --overwrite"
    assert geomind(*command.split())[0] == 0
    assert "Region missing" not in geomind("inspect", manifest, "--regions", "ours.yaml")[1]


def test_a_test_set_is_fit_to_test_on(geomind: Run, manifest: Path) -> None:
    """It was called unfit, and the advice was to split it anew: the test set would have been lost."""
    write_manifest(read_manifest(manifest).assign(split="test"), manifest, overwrite=True)
    code, said, _ = geomind("inspect", manifest, "--report", "i.html")
    assert code == 0
    assert "Fit to test on." in said
    assert "it is a test set" in said
    assert "geomind split" not in said
    assert "<strong>Fit to test on</strong>" in Path("i.html").read_text()


def test_every_option_says_what_it_does(geomind: Run) -> None:
    code, said, _ = geomind("inspect", "--help")
    assert code == 0
    options = [line for line in said.splitlines() if line.startswith("│ ") and "--" in line]
    assert len(options) >= 13
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options)
