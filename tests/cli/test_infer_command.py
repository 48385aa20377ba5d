from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run
from PIL import Image

from geomind.inference import engine
from geomind.predictions import read_predictions


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (40, 40), (number * 20, 255 - number * 20, number)).save(folder / f"{number:02d}.jpg")
    return folder


def names(path: Path | str) -> list[str]:
    return [row.image_path for row in read_predictions(path)]


def test_a_list_instead_of_a_folder(geomind: Run, models: Path, photos: Path) -> None:
    Path("list.txt").write_text("photos/03.jpg\nphotos/01.jpg\n")
    code, said, _ = geomind("infer", "--list", "list.txt", "--models", models, "--runtime", "torch")
    assert code == 0
    assert "2 photos: 2 located" in said
    assert names("predictions.csv") == ["photos/03.jpg", "photos/01.jpg"]
    for words in ((), ("--images-dir", photos, "--list", "list.txt")):
        code, _, said = geomind("infer", *words, "--models", models)
        assert code == 1
        assert "either a folder with --images-dir, or a list with --list" in said


def test_speed_options_change_no_answer(geomind: Run, models: Path, photos: Path) -> None:
    words = ("infer", "--images-dir", photos, "--models", models, "--runtime", "torch", "--device", "cpu")
    assert geomind(*words)[0] == 0
    more = ("--batch-size", 5, "--workers", 3, "--threads", 1, "--max-memory", 1, "--output", "b.csv")
    assert geomind(*words, *more)[0] == 0
    first, second = (pd.DataFrame(read_predictions(path)) for path in ("predictions.csv", "b.csv"))
    assert first.drop(columns=["latitude", "longitude"]).equals(second.drop(columns=["latitude", "longitude"])) or (
        (first["latitude"] - second["latitude"]).abs().max() < 1e-4
    )


def test_formats_by_ending_and_by_name(geomind: Run, models: Path, photos: Path) -> None:
    for words in (("--output", "a.parquet"), ("--output", "b.dat", "--format", "parquet")):
        assert geomind("infer", "--images-dir", photos, "--models", models, "--runtime", "torch", *words)[0] == 0
    assert Path("a.parquet").read_bytes() == Path("b.dat").read_bytes()
    assert len(names("a.parquet")) == 12
    code, _, said = geomind("infer", "--images-dir", photos, "--models", models, "--output", "c.dat")
    assert code == 1
    assert "names no format" in said


def test_written_back_into_copies(geomind: Run, models: Path, photos: Path) -> None:
    words = ("infer", "--images-dir", photos, "--models", models, "--runtime", "torch")
    code, said, _ = geomind(*words, "--write-exif", "copies", "--xmp", "--map", "map.html")
    assert code == 0
    assert said.count("Written back: ") == 2
    assert "<html" in Path("map.html").read_text()
    assert geomind(*words, "--overwrite", "--map", "map.html")[0] == 0
    assert geomind(*words, "--output", "other.csv", "--map", "map.html")[0] == 1
    located = [row for row in read_predictions("predictions.csv") if row.error is None]
    assert len(list(Path("copies").glob("*.jpg"))) == len(located)
    assert len(list(photos.glob("*.xmp"))) == len(located)
    assert len(list(photos.glob("*.jpg"))) == 12


def test_a_stopped_run_is_said_and_gone_on_with(
    geomind: Run, models: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("infer", "--images-dir", photos, "--models", models, "--batch-size", 4, "--runtime", "torch")
    assert geomind(*words, "--output", "whole.csv")[0] == 0
    locate_window = engine._locate_window

    def stop(window: object, geolocator: object) -> object:
        if window.number == 2:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        return locate_window(window, geolocator)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_locate_window", stop)
    code, _, said = geomind(*words)
    assert code == 128 + signal.SIGTERM
    assert re.search(r"[48] of 12 photos are answered and kept in predictions\.csv\.unfinished", said)
    assert "--resume" in said
    assert not Path("predictions.csv").exists()
    monkeypatch.setattr(engine, "_locate_window", locate_window)
    code, _, said = geomind(*words)
    assert code == 1
    assert "holds an unfinished inference" in said
    code, _, said = geomind(*words, "--resume", "--precision", "bf16")
    assert code == 1
    assert "begun with another --precision" in said
    assert geomind(*words, "--resume")[0] == 0
    assert Path("predictions.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_other_weights_are_not_mixed_in(
    geomind: Run, models: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("infer", "--images-dir", photos, "--models", models, "--batch-size", 4, "--runtime", "torch")
    with monkeypatch.context() as patched:
        patched.setattr(engine, "write_predictions", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        assert geomind(*words)[0] == 130
    expert = next((models / "experts").glob("*.safetensors"))
    expert.rename(expert.with_suffix(".away"))
    code, _, said = geomind(*words, "--resume")
    assert code == 1
    assert "begun with another set of weights" in said
    expert.with_suffix(".away").rename(expert)
    assert geomind(*words, "--resume")[0] == 0
    assert len(names("predictions.csv")) == 12


def test_a_killed_command_goes_on(models: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(12, 400):
        Image.new("RGB", (40, 40), (number % 256, number // 2, 9)).save(photos / f"{number}.jpg")
    command = [sys.executable, "-m", "geomind", "infer", "--images-dir", str(photos), "--models", str(models)]
    command += ["--batch-size", "4", "--runtime", "torch", "--workers", "1", "--resume"]
    slow = "import sys, time, geomind.cli, geomind.inference.partial as p\n"
    slow += "p.SAVE_SECONDS = 0\nadd = p.Partial.add\n"
    slow += "def slowly(self, rows): add(self, rows); time.sleep(0.02)\n"
    slow += "p.Partial.add = slowly\ngeomind.cli.main()\n"
    killed = [sys.executable, "-c", slow, *command[3:], "--output", "p.csv"]
    process = subprocess.Popen(killed, cwd=tmp_path, stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "p.csv.unfinished").glob("rows-*.csv"))) < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    for output in ("p.csv", "whole.csv"):
        subprocess.run([*command, "--output", output], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(names(tmp_path / "p.csv")) == 400


def test_watching_a_folder_until_ctrl_c(models: Path, photos: Path, tmp_path: Path) -> None:
    for path in photos.iterdir():
        os.utime(path, (0, 0))
    command = [sys.executable, "-m", "geomind", "infer", "--images-dir", str(photos), "--models", str(models)]
    command += ["--watch", "--interval", "0.1", "--runtime", "torch"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("Watching ")
            assert process.stdout.readline().startswith("No radii: ")
            assert process.stdout.readline() == "12 new photos; 12 rows.\n"
            Image.new("RGB", (40, 40)).save(photos / "new.jpg")
            assert process.stdout.readline() == "1 new photos; 13 rows.\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == "Stopped. Rows: predictions.csv\n"
        except BaseException:
            process.kill()  # otherwise the block waits for it for ever
            raise
    assert process.returncode == 0
    assert len(set(names(tmp_path / "predictions.csv"))) == 13


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--list", "list.txt"), "looks at a folder"),
        (("--resume",), "neither --resume nor --overwrite"),
        (("--overwrite",), "neither --resume nor --overwrite"),
        (("--format", "kml"), "a CSV and nothing else"),
        (("--write-exif", "copies"), "a CSV and nothing else"),
    ],
)
def test_what_a_watch_cannot_do(geomind: Run, models: Path, photos: Path, words: tuple[str, ...], said: str) -> None:
    where = () if "--list" in words else ("--images-dir", photos)
    code, _, heard = geomind("infer", *where, "--models", models, "--watch", *words)
    assert code == 1
    assert said in heard


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_torch_is_not_loaded_to_infer(tmp_path: Path, models: Path, photos: Path, runtime: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[runtime])
    words = ("infer", "--images-dir", str(photos), "--models", str(models), "--runtime", runtime, "--overwrite")
    makes_onnx_files = [sys.executable, "-m", "geomind", *words]  # by torch
    subprocess.run(makes_onnx_files, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    code = (
        "import sys, geomind.cli\n"
        "sys.argv = ['geomind', *sys.argv[1:]]\n"
        "try: geomind.cli.main()\n"
        "finally: assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, timeout=120, cwd=tmp_path)


def test_every_option_names_its_unit_and_default(geomind: Run) -> None:
    code, said, _ = geomind("infer", "--help")
    assert code == 0
    for option, default in (
        ("--batch-size", "[default: 64]"), ("--interval", "[default: 10.0]"), ("--runtime", "[default: auto]"),
        ("--precision", "[default: fp32]"), ("--output", "[default: predictions.csv]"),
    ):  # fmt: skip
        start = said.index(option)
        assert default in " ".join(said[start : start + 700].replace("│", " ").split())
    assert "Megabytes" in said
    assert "seconds between two looks" in said
