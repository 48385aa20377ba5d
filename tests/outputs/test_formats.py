"""Files of predictions beside the CSV: what is written is valid, whatever photos are called."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from some_predictions import ANSWER, predictions, texts

from geomind.errors import ManifestError, OutputError
from geomind.outputs import parquet
from geomind.outputs.words import describe, unicode_text, xml_text
from geomind.predictions import (
    CANDIDATE_COLUMNS,
    CELL_COLUMNS,
    COLUMNS,
    TRUTH_COLUMNS,
    Prediction,
    read_predictions,
    write_predictions,
)

EXTRA = CELL_COLUMNS + CANDIDATE_COLUMNS
KML, GPX = "{http://www.opengis.net/kml/2.2}", "{http://www.topografix.com/GPX/1/1}"
NASTY = [
    "</name><script>.jpg", "a&b.jpg", "]]>.jpg", 'q"\'.jpg', "caf\udce9.jpg", "\x00\x01\x1f\ufffe.jpg", "\r\n\t.jpg",
    "\ud83d.jpg", "<!--.jpg", "-->.jpg", "--.jpg", "&#0;", "\u2028.jpg",
]  # fmt: skip


def nasty(test):
    """Try a test with names that have broken writers before."""
    for name in NASTY:
        test = example(name)(test)
    return given(texts)(test)


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("with_truth", [False, True])
def test_any_predictions_read_back_from_parquet(tmp_path_factory, with_truth):
    path = tmp_path_factory.mktemp("roundtrip") / "predictions.parquet"

    @given(st.lists(predictions(with_truth=with_truth), max_size=4))
    def check(written):
        assert write_predictions(written, path, overwrite=True, extra_columns=EXTRA) == len(written)
        assert read_predictions(path) == written

    check()


def test_parquet_has_the_columns_and_their_types(tmp_path):
    write_predictions([ANSWER], tmp_path / "p.parquet", with_truth=True)
    schema = pq.read_schema(tmp_path / "p.parquet")
    assert tuple(schema.names) == COLUMNS + TRUTH_COLUMNS
    assert str(schema.field("latitude").type) == "double"
    assert str(schema.field("region_id").type) == "int32"
    assert str(schema.field("image_path").type) == "string"


def test_rows_go_to_parquet_in_groups(tmp_path, monkeypatch):
    """A million rows must not wait in memory."""
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 10)
    written = [dataclasses.replace(ANSWER, image_path=f"{i}.jpg") for i in range(25)]
    write_predictions(iter(written), tmp_path / "p.parquet")
    assert pq.ParquetFile(tmp_path / "p.parquet").num_row_groups == 3
    assert read_predictions(tmp_path / "p.parquet") == written


def test_what_is_no_parquet_of_predictions_says_so(tmp_path):
    path = tmp_path / "p.parquet"
    path.write_bytes(b"image_path\n")
    with pytest.raises(ManifestError, match=r"p\.parquet is not a Parquet file"):
        read_predictions(path)
    with pytest.raises(ManifestError, match="no such file"):
        read_predictions(tmp_path / "none.parquet")
    pq.write_table(pq.read_table(_written(tmp_path / "q.parquet")).drop_columns(["city"]), path)
    with pytest.raises(ManifestError, match="no column city"):
        read_predictions(path)
    table = pq.read_table(tmp_path / "q.parquet")
    wrong = table.set_column(4, "latitude", [[91.0]])
    pq.write_table(wrong, path)
    with pytest.raises(ManifestError, match=r"row 1: .*latitude 91.0 is outside"):
        read_predictions(path)
    pq.write_table(table.set_column(4, "latitude", [["north"]]), path)
    with pytest.raises(ManifestError, match="row 1: "):
        read_predictions(path)


def _written(path: Path) -> Path:
    write_predictions([ANSWER], path)
    return path


# ── GeoJSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def features(path: Path) -> list[dict]:
    collection = json.loads(path.read_bytes().decode("utf-8", "strict"), parse_constant=pytest.fail)
    assert set(collection) == {"type", "features"}
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


@given(st.lists(predictions(with_truth=False), max_size=4))
def test_geojson_is_valid_and_has_every_photo(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "p.geojson"
    assert write_predictions(written, path, overwrite=True, extra_columns=EXTRA) == len(written)
    for feature, prediction in zip(features(path), written, strict=True):
        assert set(feature) == {"type", "geometry", "properties"}  # RFC 7946, 3.2
        assert feature["type"] == "Feature"
        assert tuple(feature["properties"]) == COLUMNS + EXTRA
        assert feature["properties"]["image_path"] == unicode_text(prediction.image_path)
        assert feature["properties"]["region_id"] == prediction.region_id
        if prediction.place is None:
            assert feature["geometry"] is None
        else:
            latitude, longitude = prediction.place
            assert feature["geometry"] == {"type": "Point", "coordinates": [longitude, latitude]}


# ── KML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(predictions(with_truth=True), max_size=3))
def test_kml_is_valid_and_has_every_photo(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "p.kml"
    assert write_predictions(written, path, overwrite=True, extra_columns=EXTRA) == len(written)
    root = ElementTree.parse(path).getroot()
    assert root.tag == KML + "kml"
    (document,) = root
    name, description, *placemarks = document
    assert (name.tag, description.tag) == (KML + "name", KML + "description")
    for placemark, prediction in zip(placemarks, written, strict=True):
        order = [child.tag.removeprefix(KML) for child in placemark]  # the schema gives this order
        assert order == ["name", "description", "ExtendedData", *(["Point"] if prediction.answered else [])]
        data = {each.get("name"): each[0].text for each in placemark.find(KML + "ExtendedData")}
        assert set(data) <= {*COLUMNS, *EXTRA, *TRUTH_COLUMNS}
        if prediction.place is not None:
            longitude, latitude = placemark.findtext(f"{KML}Point/{KML}coordinates").split(",")
            assert (float(latitude), float(longitude)) == prediction.place
            assert data["latitude"] == latitude


# ── GPX ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(predictions(with_truth=False), max_size=4))
@example([dataclasses.replace(ANSWER, longitude=180), dataclasses.replace(ANSWER, longitude=-1e-6)])
def test_gpx_is_valid_and_counts_photos_without_a_place(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "p.gpx"
    assert write_predictions(written, path, overwrite=True, extra_columns=EXTRA) == len(written)
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.get("version"), root.get("creator")) == (GPX + "gpx", "1.1", "GeoMind")
    metadata, *waypoints = root
    assert metadata.tag == GPX + "metadata"
    located = [each for each in written if each.place is not None]
    for waypoint, prediction in zip(waypoints, located, strict=True):
        assert [child.tag.removeprefix(GPX) for child in waypoint] == ["name", "desc", "src", "link"]
        latitude, longitude = float(waypoint.get("lat")), float(waypoint.get("lon"))
        assert -90 <= latitude <= 90
        assert -180 <= longitude < 180  # the schema leaves 180 out
        assert latitude == prediction.latitude
        assert longitude == prediction.longitude or (longitude, prediction.longitude) == (-180, 180)
        assert "e" not in waypoint.get("lat") + waypoint.get("lon")  # xsd:decimal knows no exponent
    comment = f"<!-- {len(written) - len(located)} of {len(written)} photos have no place and no waypoint. -->"
    assert comment in path.read_text("utf-8")


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


@nasty
@settings(max_examples=50)
def test_no_name_breaks_a_file(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    written = [Prediction(image_path=name, latitude=1, longitude=2, city=name, error=name)]
    for ending in ("geojson", "kml", "gpx", "parquet", "csv"):
        write_predictions(written, folder / f"nasty.{ending}", overwrite=True)
    assert features(folder / "nasty.geojson")[0]["properties"]["city"] == unicode_text(name)
    placemark = ElementTree.parse(folder / "nasty.kml").getroot()[0][2]
    waypoint = ElementTree.parse(folder / "nasty.gpx").getroot()[1]
    shown = [placemark[0].text, waypoint[0].text]
    assert len(placemark) == 4
    assert len(waypoint) == 4
    assert shown == [ElementTree.fromstring(f"<a>{xml_text(name)}</a>").text] * 2
    if all(character.isprintable() for character in name):
        assert shown == [name] * 2


@given(texts)
def test_any_text_is_xml_in_an_attribute_and_in_an_element(text):
    element = ElementTree.fromstring(f'<a b="{xml_text(text)}">{xml_text(text)}</a>')
    assert element.get("b") == element.text
    assert len(element.text) >= len(text)


def test_a_name_that_is_no_utf_8_shows_its_bytes():
    assert unicode_text("caf\udce9.jpg") == r"caf\xe9.jpg"
    assert unicode_text("\ud83d") == "\ufffd"


@pytest.mark.parametrize("ending", ["geojson", "kml", "gpx", "parquet"])
def test_rows_are_written_as_they_come_and_none_stays_after_a_failure(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 100)
    sizes = []

    def failing():
        for i in range(8000):
            if i % 2000 == 1999:
                sizes.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
            yield dataclasses.replace(ANSWER, image_path=f"{i}.jpg")
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        write_predictions(failing(), tmp_path / f"p.{ending}")
    assert 0 < sizes[0] < sizes[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_format_may_be_named(tmp_path):
    write_predictions([ANSWER], tmp_path / "places.json", format="geojson")
    assert len(features(tmp_path / "places.json")) == 1
    write_predictions([ANSWER], tmp_path / "UPPER.CSV")
    assert read_predictions(tmp_path / "UPPER.CSV") == [ANSWER]
    with pytest.raises(OutputError, match=r"ends in \.csv, .*or \.gpx"):
        write_predictions([ANSWER], tmp_path / "places.json", overwrite=True)


@pytest.mark.parametrize("ending", ["csv", "parquet", "geojson", "kml", "gpx"])
def test_a_truth_that_comes_late_is_never_dropped(tmp_path, ending):
    knowing = dataclasses.replace(ANSWER, true_latitude=64, true_longitude=-22)
    with pytest.raises(ValueError, match="with_truth"):
        write_predictions([ANSWER, knowing], tmp_path / f"p.{ending}")


def test_nobody_is_an_empty_file(tmp_path):
    for ending in ("parquet", "geojson", "kml", "gpx"):
        assert write_predictions([], tmp_path / f"p.{ending}") == 0
    assert features(tmp_path / "p.geojson") == []
    assert read_predictions(tmp_path / "p.parquet") == []
    ElementTree.parse(tmp_path / "p.kml")


def test_words_of_a_prediction():
    knowing = dataclasses.replace(ANSWER, true_latitude=64.1466, true_longitude=-21.9426)
    assert describe(knowing) == (
        "Reykjavík, IS; Western & Northern Europe (91%); 90% within 300 km; 0.0 km from the truth"
    )
    assert describe(Prediction(image_path="a.jpg", error="broken")) == "broken"


def test_a_csv_is_written_and_read_without_pyarrow(tmp_path):
    """Reading a table of Arrow takes longer than answering one photo."""
    code = (
        "import sys; from geomind.predictions import *; from geomind.predictions import Prediction;"
        "write_predictions([Prediction(image_path='a', error='b')], 'p.csv'); read_predictions('p.csv');"
        "print([m for m in ('torch', 'pandas', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_file_given_to_a_writer_stays_open():
    """The CSV's text wrapper closed it, and what atomic_path does then failed."""
    from geomind.outputs import csv_rows

    file = io.BytesIO()
    assert csv_rows.write([ANSWER], COLUMNS, file) == 1
    assert not file.closed
