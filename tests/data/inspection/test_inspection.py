from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, found, frame, inspected, scene

from geomind.data.inspection import inspect_manifest, write_figures, write_verdicts
from geomind.data.inspection.findings import CHECKS, judge, percent
from geomind.data.manifest import write_manifest
from geomind.errors import ManifestError, OutputError
from geomind.geography.regions import default_regions


def good(tmp_path: Path) -> list[dict[str, object]]:
    places = [
        (PARIS, "FR", 2, "train"),
        (LYON, "FR", 2, "train"),
        (TOKYO, "JP", 6, "validation"),
        (NAIROBI, "KE", 9, "test"),
    ]
    for number in range(len(places)):
        scene(tmp_path / f"{number}.jpg", number)
    return [at(place, country=code, region_id=region, split=split) for place, code, region, split in places]


def test_a_good_manifest_is_fit(tmp_path: Path) -> None:
    inspection = inspected(tmp_path / "m.csv", *good(tmp_path), open_files=True)
    assert inspection.fit
    assert [each.check for each in inspection.warnings] == ["empty_regions", "small_regions"]
    assert [each.check for each in inspection.findings] == list(CHECKS)


def test_a_missing_photo_makes_it_unfit(tmp_path: Path) -> None:
    rows = good(tmp_path)
    (tmp_path / "1.jpg").unlink()
    inspection = inspected(tmp_path / "m.csv", *rows, open_files=True)
    assert [each.check for each in inspection.problems] == ["unreadable_files"]
    assert found(inspection, "unreadable_files").detail == "1 missing, 0 unreadable, of 4 photos."
    closed = inspected(tmp_path / "m.csv", *rows)
    assert closed.fit
    assert found(closed, "unreadable_files").verdict == "skipped"


def test_figures_are_flat_and_the_same_keys_whatever_was_looked_at(tmp_path: Path) -> None:
    rows = good(tmp_path)
    keys = []
    for number, inspection in enumerate([inspected(tmp_path / "m.csv", *rows, open_files=True),
                                         inspected(tmp_path / "m.csv", at(PARIS))]):  # fmt: skip
        path = tmp_path / f"{number}.json"
        write_figures(inspection, path)
        figures = json.loads(path.read_text())
        assert all(value is None or isinstance(value, str | int | float | bool) for value in figures.values())
        assert set(CHECKS) <= set(figures)
        keys.append(list(figures))
    assert keys[0] == keys[1]
    first = json.loads((tmp_path / "0.json").read_text())
    assert (first["count"], first["fit"], first["photos_region_2"], first["countries"]) == (4, True, 2, 3)
    assert first["held_out_within_25_km"] == 0
    with pytest.raises(OutputError, match="--overwrite"):
        write_figures(inspection, tmp_path / "0.json")


def test_each_photo_has_its_verdict(tmp_path: Path) -> None:
    rows = [*good(tmp_path), at((0, 0), image_path="gone.jpg", region_id=12)]
    write_verdicts(inspected(tmp_path / "m.csv", *rows, open_files=True), tmp_path / "v.csv")
    verdicts = pd.read_csv(tmp_path / "v.csv", dtype=str)
    assert verdicts["image_path"].tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "gone.jpg"]
    assert verdicts["verdict"].tolist()[:4] == ["ok"] * 4
    assert verdicts["verdict"][4].startswith("unreadable_files: missing; zero_coordinates; ")


def test_the_odd_files_have_a_verdict_each(shared: Path, tmp_path: Path) -> None:
    """The manifest that `prepare --no-check-files` would make of all 253, wherever they are."""
    listed = pd.read_csv(shared / "odd" / "manifest.csv", dtype=str, keep_default_na=False)["file"]
    rows = [at((40 + 0.01 * i, -3.7), image_path=str(shared / "odd" / name)) for i, name in enumerate(listed)]
    inspection = inspected(tmp_path / "m.csv", *rows, open_files=True)
    write_verdicts(inspection, tmp_path / "v.csv")
    verdicts = pd.read_csv(tmp_path / "v.csv", dtype=str, keep_default_na=False)
    assert len(verdicts) == 253
    assert (verdicts["verdict"] != "").all()
    assert inspection.files is not None
    unreadable = verdicts["verdict"].str.startswith("unreadable_files: ")
    assert unreadable.tolist() == (~inspection.files.readable).tolist()
    assert not inspection.fit


def test_the_real_photos(shared: Path, tmp_path: Path) -> None:
    listed = pd.read_csv(shared / "photos" / "manifest.csv", dtype=str, keep_default_na=False)
    names = [str(shared / "photos" / path) for path in listed["image_path"]]
    points = listed[["latitude", "longitude"]].astype(float).to_numpy().tolist()
    rows = [
        at(tuple(point), image_path=name, country=country)
        for point, name, country in zip(points, names, listed["country"], strict=True)
    ]
    inspection = inspected(tmp_path / "m.csv", *rows, open_files=True)
    wrong = {"unreadable_files", "zero_coordinates", "swapped_coordinates", "mirrored_coordinates", "wrong_country"}
    assert not wrong & {each.check for each in inspection.findings if each.count}
    # Seven test pictures of a clock, black but for two lines of text, are said to be taken around the world.
    same = [names[row] for row in found(inspection, "same_picture_elsewhere").rows.tolist()]
    assert all("4MinsAroundTheWorld" in name for name in same)
    assert len(same) >= 5
    assert found(inspection, "blank_files").count == 5


def test_a_hundred_thousand_real_places_without_opening_a_file(shared: Path, tmp_path: Path) -> None:
    places = pd.read_csv(shared / "coordinates" / "photo_coordinates_100k.csv")
    rows = frame(at(PARIS)).iloc[[0] * len(places)].reset_index(drop=True)
    rows = rows.assign(
        image_path=[f"{number}.jpg" for number in range(len(rows))], latitude=places["LAT"], longitude=places["LON"]
    )
    write_manifest(rows, tmp_path / "m.csv")
    inspection = inspect_manifest(tmp_path / "m.csv", regions=default_regions(), open_files=False)
    assert inspection.balance.occupied == 13
    assert found(inspection, "photos_at_sea").count < 0.01 * len(rows)
    assert found(inspection, "repeated_coordinates").verdict == "passed"


def test_no_such_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv"):
        inspect_manifest(tmp_path / "none.csv", regions=default_regions())


def test_what_is_tolerated() -> None:
    assert judge("wrong_country", [1], of=100).verdict == "warning"
    assert judge("wrong_country", [1, 2], of=100).verdict == "problem"
    assert judge("photos_at_sea", range(100), of=100).verdict == "warning"
    assert judge("zero_coordinates", [], of=100).verdict == "passed"
    assert (percent(0), percent(0.0001), percent(0.25)) == ("0.0%", "under 0.1%", "25.0%")


def test_the_page_of_documentation_has_every_check_as_it_is() -> None:
    text = (Path(__file__).parents[3] / "docs" / "inspect.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| (\w+)[^|]*\|$", text, re.MULTILINE))
    assert documented == {key: "warning" if check.problem_above is None else "problem" for key, check in CHECKS.items()}
