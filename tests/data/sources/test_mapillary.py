from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.data.sources import Format, ReadOptions, mapillary, open_source, recognise
from geomind.data.sources.mapillary import DESCRIPTION, open_mapillary
from geomind.errors import ManifestError


def write_half(folder: Path, keys: list[str]) -> Path:
    """Write one half of a city of Mapillary Street-Level Sequences, as its archives unpack."""
    folder.mkdir(parents=True)
    raw = [",key,lon,lat,ca,captured_at,pano"]
    sequences = [",key,sequence_key,frame_number"]
    for number, key in enumerate(keys):
        raw.append(f"{number},{key},{139.7 + number / 100},{35.6},{number * 10.5},2019-03-01,False")
        sequences.append(f"{number},{key},{folder.name}_{number // 2},{number}")
    derived = [",key,easting,northing,unique_cluster,control_panel,night,view_direction"]
    for name, lines in (("raw", raw), ("seq_info", sequences), ("postprocessed", derived)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    root = tmp_path / "msls"
    write_half(root / "train_val" / "tokyo" / "query", ["_a-1", "b", "c"])
    write_half(root / "train_val" / "tokyo" / "database", ["d"])
    write_half(root / "train_val" / "cph" / "query", ["e"])
    (root / "test" / "miami" / "query").mkdir(parents=True)
    (root / "test" / "miami" / "query" / "seq_info.csv").write_text(",key,sequence_key,frame_number\n")
    return root


def read(path: Path, rows: int = 100, **options: Any) -> pd.DataFrame:
    source = open_source(path, Format.MAPILLARY, ReadOptions(**options))
    parts = [records.rows.assign(fault=records.faults, line=records.lines) for records in source.chunks(rows)]
    return pd.concat(parts, ignore_index=True)


class TestStreetLevelSequences:
    def test_the_whole_a_city_or_a_half(self, sequences: Path) -> None:
        tokyo = sequences / "train_val" / "tokyo"
        for folder, count in ((sequences, 5), (sequences / "train_val", 5), (tokyo, 4), (tokyo / "query", 3)):
            assert recognise(folder) is Format.MAPILLARY
            assert len(read(folder)) == count

    def test_photos_of_one_drive_are_a_group(self, sequences: Path) -> None:
        rows = read(sequences / "train_val" / "tokyo" / "query", rows=2)
        images = sequences / "train_val" / "tokyo" / "query" / "images"
        assert rows["image_path"].tolist() == [str(images / f"{key}.jpg") for key in ("_a-1", "b", "c")]
        assert rows["group"].tolist() == ["query_0", "query_0", "query_1"]
        np.testing.assert_allclose(rows[["latitude", "longitude"]], [[35.6, 139.7], [35.6, 139.71], [35.6, 139.72]])
        assert rows["source"].unique().tolist() == ["mapillary"]
        assert rows["captured_at"].tolist() == ["2019-03-01"] * 3
        assert rows["pano"].tolist() == ["False"] * 3
        assert "" not in rows.columns  # the row numbers of pandas, which the tables were written with

    def test_a_city_without_positions_says_so(self, sequences: Path) -> None:
        with pytest.raises(ManifestError, match="publishes no positions of its test cities"):
            open_mapillary(sequences / "test" / "miami")

    def test_another_seq_info_is_an_error(self, sequences: Path) -> None:
        half = sequences / "train_val" / "cph" / "query"
        (half / "seq_info.csv").write_text("key,sequence\ne,s\n")
        with pytest.raises(ManifestError, match=r"seq_info\.csv has no column 'sequence_key'"):
            read(half)


DESCRIBED = [
    {"MAPLatitude": 58.5927694, "MAPLongitude": 16.1840944, "MAPCaptureTime": "2021_02_13_13_24_41_140",
     "MAPCompassHeading": {"TrueHeading": 12.5, "MagneticHeading": 12.5}, "MAPSequenceUUID": "s1",
     "md5sum": None, "filetype": "image", "filename": "IMG_0291.jpg"},
    {"MAPLatitude": 58.6, "MAPLongitude": 16.2, "MAPCaptureTime": "2021_02_13_13_24_42_140",
     "MAPSequenceUUID": "s1", "filename": "/elsewhere/IMG_0292.jpg"},
    {"error": {"type": "MapillaryGeoTaggingError", "message": "Unable to extract GPS Longitude or GPS Latitude"},
     "filename": "IMG_0293.jpg"},
    {"MAPGPSTrack": [[0, 16.1, 58.5, None, None]], "filename": "drive.mp4", "filetype": "blackvue"},
    "text",
    {"MAPLatitude": "58,6", "MAPLongitude": True, "filename": "IMG_0294.jpg"},
]  # fmt: skip
"""As mapillary_tools writes it: its schema image_description_schema.json, and the entries of photos that it refused."""

ANSWER = {"data": [
    {"id": "498763468214164", "captured_at": 1603459736644, "compass_angle": 80.5, "sequence": "abc",
     "geometry": {"type": "Point", "coordinates": [-122.1, 37.9]},
     "computed_geometry": {"type": "Point", "coordinates": [-122.25, 37.85]}},
    {"id": "2", "sequence": "abc", "geometry": {"type": "Point", "coordinates": [10.5, -20.25]}},
    {"id": "3", "sequence": "def"},
]}  # fmt: skip
"""As the API, version 4, answers ``GET /images?fields=…``."""


class TestJson:
    def test_a_folder_that_mapillary_tools_described(self, tmp_path: Path) -> None:
        (tmp_path / DESCRIPTION).write_text(json.dumps(DESCRIBED, indent=4), encoding="utf-8")
        assert recognise(tmp_path) is Format.MAPILLARY
        rows = read(tmp_path, rows=4)
        assert rows["image_path"].tolist() == [
            str(tmp_path / "IMG_0291.jpg"), "/elsewhere/IMG_0292.jpg", str(tmp_path / "IMG_0293.jpg"),
            str(tmp_path / "drive.mp4"), "", str(tmp_path / "IMG_0294.jpg"),
        ]  # fmt: skip
        assert rows["fault"].tolist() == [
            "", "", "refused by mapillary_tools: Unable to extract GPS Longitude or GPS Latitude",
            "a video, not a photo", "not the description of a photo", "latitude is not a number: '58,6'",
        ]  # fmt: skip
        assert rows["line"].tolist() == [1, 2, 3, 4, 5, 6]
        assert rows["group"].tolist()[:2] == ["s1", "s1"]
        assert rows["heading"].tolist()[:2] == ["12.5", ""]
        np.testing.assert_array_equal(rows[["latitude", "longitude"]][:2], [[58.5927694, 16.1840944], [58.6, 16.2]])
        assert open_source(tmp_path).total == 3  # nearly: entries with a position

    def test_answers_of_the_api(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        features = [
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10.5, -20.25]},
             "properties": {"id": 2, "sequence_id": "abc", "captured_at": 5}}
        ]  # fmt: skip
        forms = {
            "mapillary.json": json.dumps(ANSWER),
            "mapillary_list.json": "\ufeff" + json.dumps(ANSWER["data"]),
            "mapillary.jsonl": "\n".join(json.dumps(entry) for entry in ANSWER["data"]) + "\n",
            "mapillary.geojson": json.dumps({"type": "FeatureCollection", "features": features}),
        }
        for name, text in forms.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
            assert recognise(tmp_path / name) is Format.MAPILLARY
            rows = read(tmp_path / name).set_index(
                read(tmp_path / name)["image_path"].map(lambda path: Path(path).stem)
            )
            assert rows.loc["2", "image_path"] == str(tmp_path / "images" / "2.jpg")
            assert rows.loc["2", ["latitude", "longitude", "group"]].tolist() == [-20.25, 10.5, "abc"]
            if name != "mapillary.geojson":
                assert rows.index.tolist() == ["498763468214164", "2", "3"]
                # The computed position, which is the better one, goes before the camera's.
                assert rows.iloc[0][["latitude", "longitude", "heading"]].tolist() == [37.85, -122.25, "80.5"]
                assert rows["fault"].tolist() == ["", "", "latitude is not a number: ''"]

    def test_a_table_of_ids(self, tmp_path: Path) -> None:
        (tmp_path / "photos.csv").write_text("id,lat,lon,sequence_id\n12,1.5,2.5,abc\n", encoding="utf-8")
        rows = read(tmp_path / "photos.csv", images_dir=tmp_path / "far")
        assert rows["image_path"].tolist() == [str(tmp_path / "far" / "12.jpg")]
        assert rows["group"].tolist() == ["abc"]
        (tmp_path / "named.csv").write_text("filename,lat,lon,sequence\na/12.jpg,1.5,2.5,abc\n", encoding="utf-8")
        rows = read(tmp_path / "named.csv")
        assert rows["image_path"].tolist() == [str(tmp_path / "a" / "12.jpg")]
        assert rows["group"].tolist() == ["abc"]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('[{"id": "1"}, {"id": "2"', "broken, behind its entry 1"),
            ('[{"id": "1"}', "broken, behind its entry 1"),
            ("", None),
            ("nonsense", "broken, behind its entry 0"),
            ("[" * 100_000, "nested too deep"),
        ],
    )
    def test_broken_json_is_an_error(self, tmp_path: Path, text: str, reason: str | None) -> None:
        (tmp_path / "m.json").write_text(text, encoding="utf-8")
        if reason is None:
            assert list(open_mapillary(tmp_path / "m.json").chunks(10)) == []
        else:
            with pytest.raises(ManifestError, match=reason):
                read(tmp_path / "m.json")

    def test_text_that_is_not_utf_8_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "m.json").write_bytes(b'[{"id": "caf\xe9"}]')
        with pytest.raises(ManifestError, match="not in UTF-8"):
            read(tmp_path / "m.json")

    @given(
        entries=st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=12) | st.floats(allow_nan=False))),
        form=st.sampled_from(["list", "answer", "lines"]),
        block=st.integers(1, 40),
    )
    def test_entries_are_the_same_however_the_file_is_cut(
        self, tmp_path_factory: pytest.TempPathFactory, entries: list[Any], form: str, block: int
    ) -> None:
        text = {
            "list": json.dumps(entries, ensure_ascii=False),
            "answer": json.dumps({"data": entries}),
            "lines": "\n".join(json.dumps(entry) for entry in entries),
        }[form]
        path = tmp_path_factory.getbasetemp() / "cut.json"
        path.write_text(text, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            if form != "answer":  # its list has to begin in the first block
                patch.setattr(mapillary, "_BLOCK_CHARACTERS", block)
            assert list(mapillary._entries(path)) == entries
