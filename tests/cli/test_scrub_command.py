"""`geomind scrub`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from conftest import Run
from PIL import Image


def photo(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (64.0, 8.0, 0.0), 3: "W", 4: (21.0, 56.0, 0.0)}
    Image.new("RGB", (40, 30), "teal").save(path, exif=exif)


def test_photos_and_folders_are_copied_without_their_places(geomind: Run):
    photo("photos/sub/a.jpg")
    photo("b.png")
    code, said, _ = geomind("scrub", "photos", "b.png", "--output", "clean")
    assert code == 0
    assert said == (
        "2 photos copied without metadata to clean, 0 not copied.\n"
        "Names of files and folders stay, and so does what the pictures show: both may still tell the place.\n"
    )
    code, _, said = geomind("prepare", "clean")
    assert code == 1
    assert "no EXIF GPS (2)" in said


def test_what_cannot_be_cleaned_is_named_and_the_rest_is_done(geomind: Run):
    photo("photos/b.jpg")
    photo("photos/c.jpg")
    Image.new("RGB", (40, 30)).save("photos/a.tif")
    with Path("photos/c.jpg").open("ab") as file:
        file.write(b"a film")
    code, said, refused = geomind("scrub", "photos", "--output", "clean")
    assert code == 1
    assert "2 photos copied without metadata to clean, 1 not copied.\n1 lost what stood behind the picture" in said
    assert "Not copied: photos/a.tif: only JPEG, PNG, WebP, HEIC and AVIF can be cleaned" in refused
    assert sorted(each.name for each in Path("clean").iterdir()) == ["b.jpg", "c.jpg"]
    code, _, refused = geomind("scrub", "photos/b.jpg", "--output", "clean")
    assert (code, "--overwrite replaces it" in refused) == (1, True)
    assert geomind("scrub", "photos/b.jpg", "--output", "clean", "--overwrite")[0] == 0


def test_a_mistake_is_one_line(geomind: Run):
    photo("photos/b.jpg")
    for words, says in (
        (("photos", "--output", "photos/clean"), "Choose one beside it"),
        (("gone.jpg", "--output", "clean"), "There is no photo or folder gone.jpg"),
    ):
        code, _, said = geomind("scrub", *words)
        assert (code, said.count("Error: "), says in said) == (1, 1, True)
    assert geomind("scrub", "photos")[0] == 2  # without --output nobody knows where to


def test_the_commands_of_its_page_work_as_they_stand_there(geomind: Run):
    page = Path(__file__).parents[2] / "docs" / "beware.md"
    (block,) = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    photo("photos/a.jpg")
    photo("photos/b.png")
    for line in block.splitlines():
        assert geomind(*shlex.split(line, comments=True)[1:])[0] == 0, line
    assert len(list(Path("clean").iterdir())) == 2
