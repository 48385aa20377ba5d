from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, inspected, scene
from PIL import Image

from geomind.data.inspection import Inspection
from geomind.errors import OutputError
from geomind.evaluation.hard_examples import find_hard_examples
from geomind.evaluation.inspection_report import MOST_THUMBNAILS, THUMBNAIL_BYTES, write_inspection_report
from geomind.geography.regions import default_regions
from geomind.predictions import Prediction, write_predictions


class Page(HTMLParser):
    """A page's tags, its attributes and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self._open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "path", "rect"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def pictures(self) -> list[bytes]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2]) for source in sources]


def report(inspection: Inspection, path: Path, **options: object) -> Page:
    write_inspection_report(inspection, path, **options)  # type: ignore[arg-type]
    return Page(path)


@pytest.fixture
def inspection(tmp_path: Path) -> Inspection:
    rows = []
    for number, (place, split) in enumerate([(PARIS, "train"), (LYON, "test"), (TOKYO, "validation"), (PARIS, "test")]):
        scene(tmp_path / f"{number}.jpg", number)
        rows.append(at(place, split=split, region_id=6 if place is TOKYO else 2))
    return inspected(
        tmp_path / "m.csv", *rows, at(NAIROBI, image_path="gone.jpg", region_id=9), at((0, 0), region_id=12),
        open_files=True,
    )  # fmt: skip


def test_the_page_says_the_verdict_first_and_why(inspection: Inspection, tmp_path: Path) -> None:
    page = report(inspection, tmp_path / "r.html")
    said = page.text.index("Not fit to train on")
    assert said < page.text.index("Places in two splits") < page.text.index("Regions")
    for section in ("What was found", "Passed", "Spread", "Splits", "Countries", "Sources", "Contact sheet"):
        assert section in page.text
    assert "What the Director confuses" not in page.text
    fit = inspected(tmp_path / "fit.csv", at(PARIS, region_id=2), at(TOKYO, region_id=6))
    page = report(fit, tmp_path / "fit.html")
    assert "Fit to train on" in page.text
    assert "Contact sheet" not in page.text
    assert page.pictures == []


def test_the_page_asks_nothing_of_any_network(inspection: Inspection, tmp_path: Path) -> None:
    page = report(inspection, tmp_path / "r.html")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base", "a", "form"}
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "style", "srcset", "data"):
            assert not re.search(r"https?:|//|url\(", attributes.get(name, "").partition(";base64")[0])
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page.source


def test_the_page_is_for_light_and_dark_alike(inspection: Inspection, tmp_path: Path) -> None:
    source = report(inspection, tmp_path / "r.html").source
    style = source[source.index("<style>") : source.index("</style>")]
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", style))
    for theme in (light, dark.partition(":root { color-scheme")[0]):
        assert used <= set(re.findall(r"(--[a-z0-9-]+):", theme))


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)>"&\u202e.jpg'
    rows = [
        at(PARIS, image_path=evil, region_id=2, source="<script>", group="</style>", split="<b>"),
        at(TOKYO, image_path="a" * 4000 + ".jpg", region_id=6, source="s" * 9000, group="</style>", split="train"),
    ]
    page = report(inspected(tmp_path / "<h1>.csv", *rows, open_files=True), tmp_path / "r.html")
    assert "<script>" in page.text
    assert evil in page.text
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert len(page.source) < 400_000
    assert "a" * 200 not in page.source


def test_positions_appear_only_as_asked(inspection: Inspection, tmp_path: Path) -> None:
    assert not re.search(r"48\.85|35\.67", report(inspection, tmp_path / "a.html").text)
    assert "48.856600, 2.352200" in report(inspection, tmp_path / "b.html", show_coordinates=True).text


def test_thumbnails_are_small_without_metadata_and_drawn_by_lot(tmp_path: Path) -> None:
    rows = []
    for number in range(30):
        path = scene(tmp_path / f"{number}.jpg", number, size=(900, 700))
        if number == 0:
            noise = np.random.default_rng(0).integers(0, 255, (800, 800, 3), dtype=np.uint8)
            exif = Image.Exif()
            exif.get_ifd(0x8825)[1] = "N"
            Image.fromarray(noise).save(path, exif=exif, comment=b"48.8566")
        rows.append(at(PARIS if number else TOKYO, region_id=2 if number else 6))
    inspection = inspected(tmp_path / "m.csv", *rows, open_files=True)
    pictures = report(inspection, tmp_path / "a.html").pictures
    assert len(pictures) == 9
    for picture in pictures:
        assert len(picture) <= THUMBNAIL_BYTES
        with Image.open(io.BytesIO(picture)) as opened:
            assert not opened.getexif()
            assert "comment" not in opened.info
            assert max(opened.size) <= 216
    assert pictures == report(inspection, tmp_path / "b.html").pictures
    assert pictures != report(inspection, tmp_path / "c.html", seed=1).pictures


def test_a_page_of_any_manifest_is_below_5_mb() -> None:
    """What is repeated is counted: thumbnails at their largest, and a map of every square."""
    assert MOST_THUMBNAILS * THUMBNAIL_BYTES * 4 / 3 < 3_000_000


def test_a_photo_that_goes_away_meanwhile_is_left_out(inspection: Inspection, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").unlink()
    assert len(report(inspection, tmp_path / "r.html").pictures) == 3


def test_what_the_director_confuses(inspection: Inspection, tmp_path: Path) -> None:
    answers = [Prediction(image_path="0.jpg", region_id=9, latitude=1.0, longitude=2.0)]
    write_predictions(answers, tmp_path / "predictions.csv")
    hard = find_hard_examples(tmp_path / "m.csv", tmp_path / "predictions.csv", regions=default_regions())
    page = report(inspection, tmp_path / "r.html", hard=hard)
    assert "1 of 1 answered photos were given a wrong region (100.0%)." in page.text
    assert "Western & Northern Europe → Africa" in page.text


def test_an_existing_page_is_kept(inspection: Inspection, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_inspection_report(inspection, tmp_path / "r.html")
    assert "Not fit" in report(inspection, tmp_path / "r.html", overwrite=True).text
