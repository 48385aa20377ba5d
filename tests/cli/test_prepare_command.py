"""`geomind prepare` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from geomind.cli import app
from geomind.data import prepare as prepare_module
from geomind.data.manifest import read_manifest
from geomind.data.sources import Format


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def prepare(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["prepare", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_phones_photos_need_one_line() -> None:
    Path("photos").mkdir()
    for number, latitude in enumerate((48.8534, 59.9127)):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (latitude, 0.0, 0.0), 3: "E", 4: (2.3488 if number == 0 else 10.7461, 0.0, 0.0)}
        Image.new("RGB", (64, 48)).save(f"photos/{number}.jpg", exif=exif.tobytes())
    said = prepare("photos").stdout
    assert "2 photos found = 2 used + 0 rejected." in said
    assert "Next: geomind split manifest.csv" in said
    assert read_manifest("manifest.csv")["city"].tolist() == ["Paris", "Oslo"]


def test_columns_are_named_on_the_command_line(folder: Path) -> None:
    Path("t.csv").write_text("img,Y,X\na.jpg,48.8534,2.3488\n", encoding="utf-8")
    prepare("t.csv", "--columns", "latitude=Y, longitude=X,image_path=img", "--images-dir", "far", "--no-check-files")
    manifest = read_manifest("manifest.csv")
    assert manifest["country"].tolist() == ["FR"]
    assert manifest["image_path"].tolist() == ["far/a.jpg"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("latitude", "'latitude' is not of the form latitude=Y"),
        ("latitude=Y,,", "'' is not of the form"),
        ("latitude=Y,latitude=X", "'latitude' is named twice"),
    ],
)
def test_wrong_usage_is_exit_code_2(columns: str, reason: str) -> None:
    Path("t.csv").write_text("img,Y,X\n", encoding="utf-8")
    assert reason in prepare("t.csv", "--columns", columns, code=2).output


def test_what_a_source_was_taken_for_and_what_was_left_out_is_said() -> None:
    cells = [""] * 25
    cells[2], cells[12:15], cells[18], cells[24] = "0" * 32, ["2.3488", "48.8534", "16"], "by", "0"
    rows = [cells, [*cells[:14], "3", *cells[15:]], [*cells[:18], "by-nc", *cells[19:]]]
    Path("yfcc100m_dataset").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    said = prepare("yfcc100m_dataset", "--no-check-files", "--min-accuracy", "12", "--licenses", "by,cc0").stdout
    assert "yfcc100m_dataset is read as yfcc100m." in said
    assert "1 rows left out: accuracy below 12." in said
    assert "1 rows left out: another licence." in said
    assert "1 photos found = 1 used + 0 rejected." in said


def test_every_format_is_in_the_help() -> None:
    said = prepare("--help").stdout
    for kind in Format:
        assert kind in said


def test_a_stopped_command_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("file,lat,lon\n" + "".join(f"{i}.jpg,48.85,2.35\n" for i in range(40)), encoding="utf-8")
    script = (
        "import sys\nfrom geomind.cli import main\nfrom geomind.data import journal, prepare\n"
        "journal.SAVE_SECONDS, prepare._CHUNK_ROWS = 0.0, 7\n"
        "add, left = journal.Journal.add, [3]\n"
        "def stop(*arguments):\n"
        "    add(*arguments)\n    left[0] -= 1\n    if left[0] == 0: raise KeyboardInterrupt\n"
        "journal.Journal.add = stop\nmain()\n"
    )
    arguments = ["prepare", "t.csv", "--no-check-files"]
    said = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert said.returncode != 0
    assert "Stopped. The same command with --resume goes on." in said.stderr
    assert "Traceback" not in said.stderr
    assert not Path("manifest.csv").exists()
    result = prepare("t.csv", "--no-check-files", code=1)
    assert "--resume" in str(result.exception)
    monkeypatch.setattr(prepare_module, "_CHUNK_ROWS", 7)
    assert "40 photos found = 40 used + 0 rejected." in prepare("t.csv", "--no-check-files", "--resume").stdout
    assert len(read_manifest("manifest.csv")) == 40


def test_shards_are_written_and_every_later_command_reads_them() -> None:
    Path("photos").mkdir()
    for number in range(3):
        Image.effect_noise((64, 48), 20 + 30 * number).convert("RGB").save(f"photos/{number}.png")
    rows = "".join(f"photos/{number}.png,{48.8 + number},2.35\n" for number in range(3))
    Path("t.csv").write_text("file,lat,lon\n" + rows, encoding="utf-8")
    said = prepare("t.csv", "--shards", "shards", "--shard-size", "1").stdout
    assert "Shards: 1 in shards" in said
    paths = read_manifest("manifest.csv")["image_path"].tolist()
    assert [path.rpartition("/")[0] for path in paths] == ["shards/photos-000000.tar"] * 3
    inspected = CliRunner().invoke(app, ["inspect", "manifest.csv"])
    assert "unreadable" not in inspected.output
    assert "missing" not in inspected.output
    again = prepare("manifest.csv", "--output", "again.csv").stdout
    assert "3 photos found = 3 used + 0 rejected." in again
    assert read_manifest("again.csv")["image_path"].tolist() == paths


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--shards", "s", "--no-check-files"], "--no-check-files is for photos that are elsewhere"),
        (["--shard-size", "10"], "Say --shards FOLDER with it"),
        (["--shards", "s", "--shard-size", "0"], "--shard-size"),
    ],
)
def test_options_of_shards_that_make_no_sense_are_exit_code_2(arguments: list[str], reason: str) -> None:
    Path("t.csv").write_text("file,lat,lon\na.jpg,48.85,2.35\n", encoding="utf-8")
    assert reason in prepare("t.csv", *arguments, code=2).output
    assert not Path("manifest.csv").exists()


@pytest.mark.parametrize(
    ("splits", "following"),
    [
        (("", ""), "geomind split 'my photos.csv'"),
        (("train", "test"), "geomind inspect 'my photos.csv'"),
        (("test", ""), "geomind inspect 'my photos.csv'"),
        (
            ("test", "test"),
            "geomind infer --images-dir PHOTOS, then geomind evaluate predictions.csv --truth 'my photos.csv'",
        ),
    ],
)
def test_the_next_step_fits_the_manifest_and_can_be_pasted(splits: tuple[str, str], following: str) -> None:
    """A published test set was sent to `geomind split`, which refuses it; and a space in a name was left unquoted."""
    rows = "".join(f"{number}.jpg,48.85,2.35,{split}\n" for number, split in enumerate(splits))
    Path("t.csv").write_text("file,lat,lon,split\n" + rows, encoding="utf-8")
    said = prepare("t.csv", "--no-check-files", "--output", "my photos.csv").stdout
    assert said.rstrip().endswith(f"Next: {following}")
