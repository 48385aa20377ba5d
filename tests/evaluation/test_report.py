"""The report: whole, bounded, safe whatever photos are called, quiet on the network, and right in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from evaluated import answered, evaluated
from PIL import Image

from geomind.data.manifest import write_manifest
from geomind.errors import OutputError
from geomind.evaluation import gallery
from geomind.evaluation.plots import PICTURES
from geomind.evaluation.report import LABELS, MOST_PAGES, write_report
from geomind.evaluation.scoring import Evaluation
from geomind.predictions import Prediction, write_predictions
from geomind.thumbnails import thumbnail_url

if TYPE_CHECKING:
    from chromium import Browser

PARIS, LYON, LIMA, TOKYO = (48.85, 2.35), (45.76, 4.84), (-12.05, -77.04), (35.6895, 139.6917)
WEST, LATIN, EAST = 2, 1, 6  # region ids of France, Peru, Japan

VOID = ("meta", "img", "path", "rect", "use")


class Page(HTMLParser):
    """A page's tags, its text, and what stands in each of its pages."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.pages: dict[str, str] = {}
        self._open: list[str] = []
        self._here = ""
        self.source = path.read_bytes().decode("utf-8", "strict")
        self.feed(self.source)
        assert self._open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._here = attributes["id"]
            self.pages[self._here] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._here:
            self.pages[self._here] += f" {data}"

    @property
    def pictures(self) -> list[bytes]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2]) for source in sources]


def report(evaluation: Evaluation, path: Path, **options: Any) -> Page:
    write_report(evaluation, path, **{"title": "predictions.csv", **options})
    return Page(path)


def sure(path: str, place: tuple[float, float], truth: tuple[float, float], region_id: int, **more: Any) -> Prediction:
    says = {"region_probability": 0.8, "confidence": 0.7, "radius_km_50": 300.0, "radius_km_90": 900.0}
    return answered(path, place, truth, region_id=region_id, **{**says, **more})


ROWS = [
    sure("0.jpg", PARIS, PARIS, WEST),
    sure("1.jpg", PARIS, LYON, WEST, region_probability=0.6),
    sure("2.jpg", TOKYO, LYON, EAST, region_probability=0.3, confidence=0.1, abstained="confidence 0.1 < 0.5"),
    sure("3.jpg", LIMA, LIMA, LATIN),
    Prediction(image_path="4.jpg", error="cannot decode", true_latitude=LIMA[0], true_longitude=LIMA[1]),
]
REGIONS = [WEST, WEST, WEST, LATIN, LATIN]


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (600, 800, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif.get_ifd(0x8825)[1] = "N"
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg", exif=exif, comment=b"48.8566")
    return evaluated(ROWS, regions=REGIONS, folder=tmp_path)


def test_the_page_holds_scores_and_every_region_its_own(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report(evaluation, tmp_path / "r.html")
    assert list(page.pages) == ["overview", f"region-{LATIN}", f"region-{WEST}"]
    overview, west = page.pages["overview"], page.pages[f"region-{WEST}"]
    for section in ("Scores", "How far off", "Calibration", "Answering only the surest", "What the radii hold",
                    "Truth and guess", "Which region was taken for which", "Regions", "What went wrong",
                    "Farthest off", "Nearest"):  # fmt: skip
        assert section in overview, section
    assert "5 photos, 4 with an answer." in overview
    assert "1 photos abstain" in overview
    assert f"{evaluation.metrics.geoscore:,.0f}" in overview
    assert "cannot decode" in overview
    assert "Western & Northern Europe" in west
    assert re.search(r"6 East Asia\s+1\s+33\.3%", west), "what its photos were taken for"
    assert "No other region's." in west
    assert re.search(r"Photos\s+3\s+5\s", west), "its scores beside those of all photos"
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert set(links) == {"#overview", f"#region-{LATIN}", f"#region-{WEST}"}


def test_the_worst_come_first_and_no_photo_is_best_and_worst(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report(evaluation, tmp_path / "r.html")
    overview = page.pages["overview"]
    worst, best = overview.split("Farthest off")[1].split("Nearest")
    assert re.findall(r"(\d\.jpg)", worst) == ["2.jpg", "1.jpg"]
    assert re.findall(r"(\d\.jpg)", best) == ["0.jpg", "3.jpg"]
    assert re.search(r"taken Lyon[^,]*, France placed Tokyo[^,]*, Japan", worst)
    assert "East Asia, 30%" in worst
    assert "confidence 0.1 < 0.5" in worst


def test_the_page_asks_nothing_of_any_network(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report(evaluation, tmp_path / "r.html")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not {"style", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:", page.source)
    style = page.source[page.source.index("<style>") + 7 : page.source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [attributes["content"] for tag, attributes in page.tags if tag == "meta" and "content" in attributes
                 and "http-equiv" in attributes]  # fmt: skip
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": f"'sha256-{digest}'", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip


def test_the_page_is_for_light_and_dark_alike(evaluation: Evaluation, tmp_path: Path) -> None:
    source = report(evaluation, tmp_path / "r.html").source
    style = source[source.index("<style>") : source.index("</style>")]
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", style))
    assert "--band-3" in used
    for theme in (light, dark.partition(":root { color-scheme")[0]):
        assert used <= set(re.findall(r"(--[a-z0-9-]+):", theme))


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>"&\u202e\udce9.jpg'
    rows = [
        sure("0.jpg", PARIS, PARIS, WEST, abstained="<b>", region_name="</section>"),
        sure("1.jpg", TOKYO, LIMA, EAST, error="<style>"),
    ]
    plain = evaluated(rows, regions=[WEST, LATIN])
    names = (evil, "x" * 5000)
    called = tuple(
        dataclasses.replace(row, image_path=name) for row, name in zip(plain.predictions, names, strict=True)
    )
    evaluation = dataclasses.replace(plain, predictions=called, notes=("<h1>",))
    page = report(evaluation, tmp_path / "r.html", title="</title><script>")
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "b>"} & set(tags)
    assert tags.count("h1") == tags.count("title") == tags.count("style") == 1
    assert evil.replace("\udce9", r"\xe9") in page.text
    assert "x" * 200 not in page.source


def test_a_score_that_nobody_named_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"new_km": 12.25, "new<score>": 0.123456, "new_count": 7, "median_km": None, "geoscore_low": 1000.4,
            "geoscore_high": None, "not_measured": None}  # fmt: skip
    flat = Evaluation.flat
    monkeypatch.setattr(Evaluation, "flat", lambda self: {**flat(self), **more})
    scores = report(evaluated(ROWS, regions=REGIONS), tmp_path / "r.html").pages["overview"]
    for said in (r"new_km\s+12 km", r"new<score>\s+0\.1235", r"new_count\s+7", r"Median distance\s+–"):
        assert re.search(said, scores), said
    assert re.search(r"GeoScore, of 5,000\s+[\d,]+\s+1,000 – –", scores), "with its interval"
    assert "not_measured" not in scores
    assert "geoscore_low" not in scores


def test_every_score_has_a_name() -> None:
    keys = evaluated(ROWS, regions=REGIONS).flat()
    assert {key for key in keys if not key.endswith(("_low", "_high"))} == set(LABELS)


def test_thumbnails_are_small_and_without_metadata(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "3.jpg").unlink()
    page = report(evaluation, tmp_path / "r.html")
    assert len(page.pictures) == 6, "three photos, on the page of the whole and of their region"
    assert page.text.count("no picture") == 2
    assert "3.jpg" in page.text
    for picture in page.pictures:
        assert len(picture) <= gallery.THUMBNAIL_BYTES
        with Image.open(io.BytesIO(picture)) as opened:
            assert not opened.getexif()
            assert "comment" not in opened.info
            assert max(opened.size) <= 240


def test_photos_are_looked_for_where_the_predictions_name_them(evaluation: Evaluation, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(evaluation, files=tuple(Path("gone") / each.name for each in evaluation.files))
    assert report(elsewhere, tmp_path / "a.html").pictures == []
    page = report(elsewhere, tmp_path / "b.html", images_dir=tmp_path)
    assert page.pictures == report(evaluation, tmp_path / "c.html").pictures != []


def test_rows_that_say_less_leave_out_what_they_do_not_say(tmp_path: Path) -> None:
    rows = [answered("0.jpg", PARIS, LYON), answered("1.jpg", LIMA, TOKYO)]
    page = report(evaluated(rows, regions=[WEST, EAST]), tmp_path / "r.html")
    assert "No row carries radii" in page.text
    for absent in (
        "Calibration",
        "Answering only the surest",
        "What the radii hold",
        "taken for which",
        "Director",
    ):
        assert absent not in page.text, absent
    nobody = [Prediction(image_path="0.jpg", error="gone", true_latitude=1.0, true_longitude=2.0)]
    page = report(evaluated(nobody, regions=[9]), tmp_path / "nobody.html")
    assert "1 photo, 0 with an answer." in page.text
    assert "Farthest off" not in page.text
    assert page.pictures == []


def test_one_photo_is_the_nearest(tmp_path: Path) -> None:
    page = report(evaluated(ROWS[:1], regions=[WEST]), tmp_path / "r.html")
    assert "Farthest off" not in page.text
    assert page.pages["overview"].count("0.jpg") == 1


def test_a_table_of_many_regions_has_a_page_for_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomind.evaluation.report.MOST_PAGES", 1)
    monkeypatch.setattr("geomind.evaluation.report.MOST_IN_MATRIX", 2)
    page = report(evaluated([*ROWS, sure("5.jpg", TOKYO, TOKYO, EAST)], regions=[*REGIONS, EAST]), tmp_path / "r.html")
    assert list(page.pages) == ["overview", f"region-{WEST}"]
    assert "the largest have a page: 1 of 3" in page.text
    assert "regions with fewer photos left out: 1" in page.text
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} == {"#overview", f"#region-{WEST}"}


def test_an_existing_page_is_kept(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        report(evaluation, tmp_path / "r.html")
    assert "Scores" in report(evaluation, tmp_path / "r.html", overwrite=True).text


def test_the_command_writes_page_and_pictures(geomind: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"image_path": [each.image_path for each in ROWS], "latitude": [each.true_latitude for each in ROWS],
         "longitude": [each.true_longitude for each in ROWS], "country": "", "region_id": REGIONS, "group": "",
         "split": "test", "source": "test"}
    )  # fmt: skip
    write_manifest(frame, tmp_path / "m.csv")
    blind = [dataclasses.replace(each, true_latitude=None, true_longitude=None) for each in ROWS]
    write_predictions(blind, tmp_path / "p.csv")
    words = ("evaluate", "p.csv", "--truth", "m.csv", "--by", "country", "--report", "r.html", "--plots", "plots")
    code, said, _ = geomind(*words)
    assert code == 0
    assert "Report: r.html" in said
    assert "Not drawn" not in said
    assert sorted(each.name for each in (tmp_path / "plots").iterdir()) == sorted(PICTURES)
    page = Page(tmp_path / "r.html")
    assert page.text.count("no picture") == 8, "the manifest's photos are not there"
    assert re.search(r"By country.*FR\s*3", page.text, re.DOTALL)
    code, _, error = geomind(*words)
    assert code == 1
    assert "--overwrite" in error

    bare = [Prediction(image_path=each.image_path, latitude=1.0, longitude=2.0) for each in ROWS]
    write_predictions(bare, tmp_path / "p.csv", overwrite=True)
    code, said, _ = geomind(*words, "--overwrite")
    assert code == 0
    assert "Not drawn: calibration.png" in said
    assert "Not drawn: risk_coverage.png" in said
    assert "No row carries radii" in said
    assert sorted(each.name for each in (tmp_path / "plots").iterdir()) == ["errors.png", "map.png", "regions.png"]


# ── 10,000 photos, in a real browser ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 10,000 photos in 13 regions, every thumbnail as large as it may be."""
    folder = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    picture = thumbnail_url(folder / "noise.png", gallery.THUMBNAIL_SIZE, most_bytes=gallery.THUMBNAIL_BYTES)
    rng = np.random.default_rng(1)
    truth = np.stack([rng.uniform(-60, 75, 10_000), rng.uniform(-180, 180, 10_000)], axis=1)
    guess = np.stack(
        [np.clip(truth[:, 0] + rng.normal(0, 15, 10_000), -90, 90), rng.uniform(-180, 180, 10_000)], axis=1
    )
    true, routed = rng.integers(0, 13, 10_000), rng.integers(0, 13, 10_000)
    chances = rng.uniform(0.1, 1, 10_000)
    rows = [
        sure(f"<script>{i}.jpg", tuple(guess[i]), tuple(truth[i]), int(routed[i]), region_probability=float(chances[i]),
             confidence=float(1 - chances[i]), radius_km_90=float(300 + 9000 * chances[i]))
        for i in range(10_000)
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gallery, "thumbnail_urls", lambda paths, *_, **__: [picture] * len(paths))
        write_report(evaluated(rows, regions=true.tolist()), folder / "report.html", title="10,000 photos")
    return folder / "report.html"


def test_the_report_of_10_000_photos_is_below_15_mb(large: Path) -> None:
    assert large.stat().st_size < 15_000_000
    assert "800 of 10,000 photos, by lot" in Page(large).text


def test_pages_and_thumbnails_of_any_table_are_bounded() -> None:
    """At most this many bytes, whatever the number of photos and regions: thumbnails in base64."""
    assert (gallery.MOST_THUMBNAILS + 2 * MOST_PAGES) * gallery.THUMBNAIL_BYTES * 4 / 3 < 8_000_000


def test_the_browser_tells_of_what_it_should_not_find(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<meta http-equiv='Content-Security-Policy' content=\"style-src 'none'\"><p style='color:red'>"
        "<img src='http://127.0.0.1:9/x.png'>"
    )
    browser.open(tmp_path / "bad.html")
    assert any("Content Security Policy" in said for said in browser.said)
    assert "http://127.0.0.1:9/x.png" in browser.asked


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_it_and_asks_for_nothing(large: Path, browser: Browser, dark: bool, width: int) -> None:
    browser.open(large, dark=dark, width=width)
    assert browser.said == []
    assert browser.asked == [large.as_uri()]
    red, green, blue = map(int, re.findall(r"\d+", browser.run("getComputedStyle(document.body).backgroundColor"))[:3])
    assert (max(red, green, blue) < 60) if dark else (min(red, green, blue) > 200)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the page"
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    # The style of the page is in force, which its policy could have forbidden.
    assert browser.run("getComputedStyle(document.querySelector('.facts')).display") == "grid"
    assert browser.run("document.querySelector('.map path.way').getBoundingClientRect().width > 100")
    assert browser.run("document.querySelector('.map use').getBoundingClientRect().width > 200")


def test_a_browser_turns_the_pages(large: Path, browser: Browser) -> None:
    def shown() -> list[str]:
        return browser.run("[...document.querySelectorAll('section')].filter(s => s.offsetHeight).map(s => s.id)")

    browser.open(large)
    assert shown() == ["overview"]
    browser.run("document.querySelector('#overview table a[href=\"#region-5\"]').click()")
    assert shown() == ["region-5"]
    browser.run("[...document.querySelectorAll('#region-5 nav a')].at(-1).click()")
    assert shown() == ["region-6"]
    browser.run("document.querySelector('#region-6 nav a').click()")
    assert shown() == ["overview"]
    browser.open(large, fragment="region-12")
    assert shown() == ["region-12"]
    assert browser.said == []
