"""The commands of the README work as they stand there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind import cli
from geomind.predictions import read_predictions

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

# What makes a training of EfficientNet-B0 on ImageNet weights one of seconds.
TINY = [f"--set={s}" for s in ("backbone.name=scene_net", "backbone.weights=none", "image_size=32", "max_epochs=1",
                               "workers=0", "device=cpu")]  # fmt: skip


def commands(heading: str) -> list[list[str]]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def photo_with_gps(path: Path, latitude: int, longitude: int) -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N" if latitude >= 0 else "S", 2: (abs(latitude), 30.0, 0.0),
                3: "E" if longitude >= 0 else "W", 4: (abs(longitude), 30.0, 0.0)})  # fmt: skip
    pixels = np.random.default_rng(latitude + 1000 * longitude).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def test_the_commands_for_ones_own_photos_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "new-photos"):
        Path(folder).mkdir()
        for number, (latitude, longitude) in enumerate(
            [(59, 10), (48, 2), (35, 139), (51, 0), (52, 13), (43, 141)] * 3
        ):
            photo_with_gps(Path(folder, f"{number}.jpg"), latitude + number // 6, longitude)
    typed = commands("Your own photos")
    assert [command[1] for command in typed] == [
        "prepare",
        "train-director",
        "train-expert",
        "infer",
        "split",
        "evaluate",
    ]
    typed.insert(1, typed.pop(4))  # the README says so: before training
    typed[-1][typed[-1].index("manifest.csv")] = "truth.csv"
    typed.insert(-1, ["geomind", "prepare", "new-photos/", "--output", "truth.csv"])
    for command in typed:
        monkeypatch.setattr(sys, "argv", [*command, *(TINY if command[1].startswith("train") else [])])
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        assert not stop.value.code, (command, capsys.readouterr().err)
    assert len(read_predictions("predictions.csv")) == 18
    assert Path("plots/map.png").exists()


def test_the_file_map_names_files_that_are_there() -> None:
    section = README.split("## How it is built")[1].split("```")[1]
    names = re.findall(r"[├└]── (\S+)|^(\S+/) ", section, re.MULTILINE)
    package = Path(__file__).parent.parent / "geomind"
    for name in (inner or outer for inner, outer in names):
        assert (package / name).exists() or (package.parent / name).exists(), name


def test_its_pictures_are_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / picture).is_file(), picture
