"""The map page: whole, quiet on the network, bounded, and safe whatever photos are called."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from some_predictions import ANSWER, texts

from geomind.errors import OutputError
from geomind.outputs import web_map
from geomind.outputs.web_map import write_map
from geomind.outputs.words import unicode_text
from geomind.predictions import Prediction

KNOWING = dataclasses.replace(
    ANSWER, image_path="fiji.jpg", latitude=-17, longitude=179, true_latitude=-17, true_longitude=-179
)
MISSING = Prediction(image_path="broken.jpg", error="not an image")


class Page(HTMLParser):
    """The elements of a page, in order, and the text of each script and style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.source = path.read_bytes().decode("utf-8", "strict")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, text):
        if self.elements and self.elements[-1][0] in ("script", "style") and text.strip():
            self.texts.append((*self.elements[-1], text))

    @property
    def data(self) -> dict:
        (text,) = [text for tag, attributes, text in self.texts if attributes.get("id") == "data"]
        return json.loads(text, parse_constant=pytest.fail)


def test_the_page_holds_every_photo_and_where_it_is(tmp_path):
    assert write_map([ANSWER, MISSING], tmp_path / "map.html") == 2
    data = Page(tmp_path / "map.html").data
    photos = data["photos"]
    assert photos["name"] == ["iceland/a.jpg", "broken.jpg"]
    assert (photos["x"][1], photos["y"][1], photos["latitude"][1]) == (None, None, None)
    assert photos["error"] == ["", "not an image"]
    assert 0.3 * data["width"] < photos["x"][0] < 0.5 * data["width"]  # west of Greenwich
    assert 0 < photos["y"][0] < 0.2 * data["height"]  # far in the north
    assert (data["regions"], data["countries"]) == (["Western & Northern Europe"], ["Iceland"])
    assert photos["distance"] is None
    assert "lines to the truth" not in Page(tmp_path / "map.html").source.split("<script")[0]


def test_a_line_to_the_truth_is_cut_at_the_date_line(tmp_path):
    write_map([ANSWER, KNOWING], tmp_path / "map.html")
    data = Page(tmp_path / "map.html").data
    (pieces,) = data["lines"].values()
    assert list(data["lines"]) == ["1"]
    assert len(pieces) == 2
    assert all(max(piece[::2]) - min(piece[::2]) < 0.02 * data["width"] for piece in pieces)
    assert data["photos"]["distance"][0] is None
    assert data["photos"]["distance"][1] == pytest.approx(212.7, abs=0.2)
    assert data["photos"]["trueX"][0] is None
    assert "lines to the truth" in Page(tmp_path / "map.html").source


def test_the_page_asks_nothing_of_any_network(tmp_path):
    write_map([KNOWING, MISSING], tmp_path / "map.html")
    page = Page(tmp_path / "map.html")
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "srcset", "action", "style"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert set(re.findall(r"https?://[^\s\"'`$,]*", page.source)) == {"https://www.google.com/maps?q="}
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|importScripts|sendBeacon|innerHTML|eval)\b", page.source)
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_the_policy_lets_nothing_run_but_the_page_s_own(tmp_path):
    write_map([ANSWER], tmp_path / "map.html")
    page = Page(tmp_path / "map.html")
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, attributes, text in page.texts:
        if attributes.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


@given(texts)
@settings(max_examples=15)
def test_no_name_breaks_out_of_the_page(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "nasty.html"
    for text in (name, f"</script><script>alert(1)</script><!--{name}"):
        nasty = dataclasses.replace(
            ANSWER, image_path=text[:100], city=text[:100], region_name=text[:100], country="X<"
        )
        write_map([nasty], path, title=text[:100], overwrite=True)
        page = Page(path)
        assert page.data["photos"]["name"] == [unicode_text(text[:100])]
        assert [tag for tag, _ in page.elements].count("script") == 2


def test_of_many_photos_there_is_a_sample_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(web_map, "MOST_PHOTOS", 50)
    many = (dataclasses.replace(ANSWER, image_path=f"{i:04}.jpg") for i in range(1000))
    assert write_map(many, tmp_path / "map.html") == 1000
    page = Page(tmp_path / "map.html")
    names = page.data["photos"]["name"]
    assert len(names) == 50
    assert names == sorted(names)
    assert 300 < np.mean([int(name[:4]) for name in names]) < 700
    assert "1,000 photos" in page.source
    assert "a random sample of 50" in page.source


def test_the_page_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(web_map, "MOST_LINES", 3)
    long = [dataclasses.replace(KNOWING, image_path="x" * 5000 + f"{i}.jpg") for i in range(20)]
    write_map(long, tmp_path / "map.html")
    page = Page(tmp_path / "map.html")
    assert len(page.data["lines"]) == 3
    assert max(map(len, page.data["photos"]["name"])) < web_map.LONGEST_TEXT + 5
    assert page.data["photos"]["name"][7].endswith("7.jpg")
    assert len(page.source) < 700_000


def test_thumbnails_only_where_asked_for(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 20.0, 5.0)}
        Image.new("RGB", (900, 600), "red").save(tmp_path / name, exif=exif.tobytes())
    located = [dataclasses.replace(ANSWER, image_path=name) for name in ("gone.jpg", "a.jpg", "b.jpg", "c.jpg")]
    write_map(located, tmp_path / "none.html", images_dir=tmp_path)
    assert Page(tmp_path / "none.html").data["thumbnails"] == {}
    write_map(located, tmp_path / "two.html", images_dir=tmp_path, thumbnails=2)
    thumbnails = Page(tmp_path / "two.html").data["thumbnails"]
    assert list(thumbnails) == ["1", "2"]
    content = base64.b64decode(thumbnails["1"].removeprefix("data:image/jpeg;base64,"))
    assert content.startswith(b"\xff\xd8")
    assert b"Exif" not in content


def test_an_existing_page_is_kept_and_nobody_is_a_page(tmp_path):
    assert write_map([], tmp_path / "map.html") == 0
    with pytest.raises(OutputError, match="--overwrite"):
        write_map([], tmp_path / "map.html")
