"""Street photos of Mapillary's: the photos of one sequence, one drive or walk, are one group.

Three forms, as people hold them: Mapillary Street-Level Sequences (``raw.csv`` and ``seq_info.csv`` beside ``images/``,
for every city's ``query`` and ``database``; Warburg et al., CVPR 2020), the ``mapillary_image_description.json`` that
mapillary_tools writes into a folder of photos, and answers of the API version 4 saved as JSON, GeoJSON or CSV, with the
photos as ``<id>.jpg``.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from geomind.data.csv_table import read_chunks
from geomind.data.sources import NOTHING_LEFT_OUT, Records, Source, file_fingerprint
from geomind.data.sources.table import NAMES, Table, Tables, below, table_file
from geomind.errors import ManifestError

DESCRIPTION = "mapillary_image_description.json"

_SOURCE = "mapillary"

_SEQUENCES = ("sequence", "sequence_id", "sequence_key", "MAPSequenceUUID")

_IDS = ("id", "image_id", "key")

_BLOCK_CHARACTERS = 2**20

_MAX_ENTRY_CHARACTERS = 2**25
"""A longer entry of a JSON list is none of a photo; reading on would only fill the memory."""


def is_such(path: Path) -> bool:
    """Say whether a folder or a file is one of these forms, by names that only they have."""
    if not path.is_dir():
        return path.name.lower().startswith("mapillary") and path.suffix.lower() in (".json", ".geojson", ".jsonl")
    return (path / DESCRIPTION).is_file() or bool(_street_level_tables(path))


def has_own_folders(path: Path) -> bool:
    """Say whether photos are where the tables of Mapillary Street-Level Sequences have them, whatever a person says."""
    return path.is_dir() and not (path / DESCRIPTION).is_file()


def open_mapillary(path: Path, images_dir: Path | None = None) -> Source:
    """Open street photos.

    Args:
        path: The folder of Mapillary Street-Level Sequences or a part of it, a folder with a description, or a JSON or
            CSV file.
        images_dir: Where the photos of a file or a description are, if neither beside it nor in ``images`` beside it.

    Raises:
        ManifestError: it is none of these, or a table lacks a column.
    """
    if path.is_dir() and (path / DESCRIPTION).is_file():
        return Descriptions.open(path / DESCRIPTION, images_dir)
    if path.is_dir():
        if tables := _street_level_tables(path):
            return Tables(tuple(_open_street_level(table) for table in tables))
        raise ManifestError(
            f"{path} holds neither {DESCRIPTION} nor raw.csv with seq_info.csv (Mapillary publishes no positions of "
            "its test cities). Name a folder that does, or a JSON or CSV file."
        )
    if path.suffix.lower() in (".csv", ".tsv", ".parquet"):
        return _open_table(path, images_dir)
    return Descriptions.open(path, images_dir)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _street_level_tables(folder: Path) -> list[Path]:
    """Find the tables of positions in the whole of the sequences, in one city, or in one half of a city."""
    halves = ("train_val/*/database", "train_val/*/query", "*/database", "*/query", "database", "query", ".")
    tables = {table for half in halves for table in folder.glob(f"{half}/raw.csv")}
    return sorted(table for table in tables if (table.parent / "seq_info.csv").is_file())


def _open_street_level(table: Path) -> Table:
    sequences = _Sequences(table.parent / "seq_info.csv")
    locate = partial(_jpegs, os.path.abspath(table.parent / "images"))  # noqa: PTH100
    return Table.open(table, {"image_path": "key"}, locate=locate, source=_SOURCE, tie=sequences.of)


class _Sequences:
    """Which sequence each photo of one half of a city belongs to."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def of(self, keys: Sequence[str]) -> list[str]:
        """Name the sequences of photos, "" where the table has none."""
        return [self._by_key.get(key, "") for key in keys]

    @cached_property
    def _by_key(self) -> dict[str, str]:
        by_key: dict[str, str] = {}
        for chunk in read_chunks(self._table, 10_000):
            try:
                by_key.update(zip(chunk.cells["key"], chunk.cells["sequence_key"], strict=True))
            except KeyError as error:
                raise ManifestError(f"{self._table} has no column {error}: it is no seq_info.csv.") from error
        return by_key


def _open_table(path: Path, images_dir: Path | None) -> Table:
    header = table_file(path).header()
    sequence = next((name for name in _SEQUENCES if name in header), None)
    columns = {} if sequence is None else {"group": sequence}
    has_paths = any(name.lower() in NAMES["image_path"] for name in header)
    photo_id = next((name for name in _IDS if name in header), None)
    if has_paths or photo_id is None:
        return Table.open(path, columns, images_dir=images_dir, source=_SOURCE)
    locate = partial(_jpegs, _images_dir(path, images_dir))
    return Table.open(path, columns | {"image_path": photo_id}, locate=locate, source=_SOURCE)


def _images_dir(path: Path, images_dir: Path | None) -> str:
    beside = path.parent / "images"
    return os.path.abspath(images_dir or (beside if beside.is_dir() else path.parent))  # noqa: PTH100


def _jpegs(folder: str, ids: Sequence[str]) -> list[str]:
    return [f"{folder}{os.sep}{each}.jpg" if each else "" for each in ids]


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Descriptions:
    """A JSON list of photos: mapillary_tools' description of a folder, or answers of the API."""

    path: Path
    folder: str
    """Where photos are that are named without a folder."""

    total: int

    extra_columns: ClassVar[tuple[str, ...]] = ("captured_at", "heading")
    left_out: ClassVar[Mapping[str, int]] = NOTHING_LEFT_OUT

    @classmethod
    def open(cls, path: Path, images_dir: Path | None = None) -> Descriptions:
        """Look at a JSON list.

        Raises:
            ManifestError: the file cannot be read.
        """
        file_fingerprint(path)
        with path.open("rb") as file:  # every photo has one of these
            blocks = iter(lambda: file.read(2**20), b"")
            total = sum(block.count(b'"MAPLatitude"') + block.count(b'"geometry"') for block in blocks)
        is_description = path.name == DESCRIPTION and images_dir is None
        return cls(path, os.path.abspath(path.parent) if is_description else _images_dir(path, images_dir), total)  # noqa: PTH100

    @property
    def fingerprint(self) -> str:
        """What the rows depend on."""
        return f"{file_fingerprint(self.path)}, {self.folder}"

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read the list, so many photos at a time.

        Raises:
            ManifestError: the file is no JSON in UTF-8, or broken.
        """
        entries = itertools.islice(enumerate(_entries(self.path), start=1), skip, None)
        while chunk := list(itertools.islice(entries, rows)):
            numbers, values = zip(*chunk, strict=True)
            photos = [_photo(value) for value in values]
            frame = pd.DataFrame(
                {
                    "image_path": pd.Series(below(self.folder, [photo.file for photo in photos]), dtype="str"),
                    "latitude": [photo.latitude for photo in photos],
                    "longitude": [photo.longitude for photo in photos],
                    "group": pd.Series([photo.sequence for photo in photos], dtype="str"),
                    "captured_at": pd.Series([photo.captured_at for photo in photos], dtype="str"),
                    "heading": pd.Series([photo.heading for photo in photos], dtype="str"),
                }
            ).assign(split="", source=_SOURCE)
            faults = np.array([photo.fault for photo in photos], dtype=object)
            yield Records(frame, np.array(numbers, dtype=np.int64), faults)


@dataclass(frozen=True)
class _Photo:
    """One entry of a list."""

    file: str = ""
    latitude: float = float("nan")
    longitude: float = float("nan")
    sequence: str = ""
    captured_at: str = ""
    heading: str = ""
    fault: str = ""


def _photo(entry: object) -> _Photo:
    """Make sense of an entry, be it mapillary_tools', the API's or GeoJSON's."""
    if not isinstance(entry, dict):
        return _Photo(fault="not the description of a photo")
    if isinstance(error := entry.get("error"), dict):
        return _Photo(_text(entry.get("filename")), fault=f"refused by mapillary_tools: {_text(error.get('message'))}")
    if entry.get("filetype", "image") != "image":
        return _Photo(_text(entry.get("filename")), fault="a video, not a photo")
    if "MAPLatitude" in entry or "filename" in entry:
        file = _text(entry.get("filename"))
        place = (entry.get("MAPLatitude"), entry.get("MAPLongitude"))
        sequence, captured_at = entry.get("MAPSequenceUUID"), entry.get("MAPCaptureTime")
        compass = entry.get("MAPCompassHeading")
        heading = compass.get("TrueHeading") if isinstance(compass, dict) else None
    else:
        # What a GeoJSON feature says besides where it is stands in its properties.
        said = entry | (entry["properties"] if isinstance(entry.get("properties"), dict) else {})
        file = f"{said['id']}.jpg" if said.get("id") else ""
        place = _coordinates(said.get("computed_geometry")) or _coordinates(said.get("geometry")) or (None, None)
        sequence = next((said[name] for name in _SEQUENCES if said.get(name)), None)
        captured_at, heading = said.get("captured_at"), said.get("computed_compass_angle", said.get("compass_angle"))
    fault = "" if file else "no path"
    for name, value in zip(("latitude", "longitude"), place, strict=True):
        if np.isnan(_degrees(value)):
            fault = fault or f"{name} is not a number: {_text(value)[:40]!r}"
    latitude, longitude = map(_degrees, place)
    return _Photo(file, latitude, longitude, _text(sequence), _text(captured_at), _text(heading), fault)


def _degrees(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    except OverflowError:  # JSON has whole numbers of any length
        return float("nan")


def _coordinates(point: Any) -> tuple[Any, Any] | None:
    """Give latitude and longitude of a GeoJSON point, which has them the other way round."""
    coordinates = point.get("coordinates") if isinstance(point, dict) else None
    return (coordinates[1], coordinates[0]) if isinstance(coordinates, list) and len(coordinates) >= 2 else None


def _text(value: object) -> str:
    return "" if value is None else str(value)


_LIST_INSIDE = re.compile(r'"(?:data|features)"\s*:\s*\[')
"""Where the list begins in an answer of the API, or in GeoJSON."""

_GAP = re.compile(r"[\s,]*")


def _entries(path: Path) -> Iterator[Any]:
    """Read the entries of a JSON list, or of a file with one entry a line, without holding the whole of it.

    Raises:
        ManifestError: the file is no JSON in UTF-8, or broken.
    """
    decoder, count = json.JSONDecoder(), 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_BLOCK_CHARACTERS)
            position = _GAP.match(text).end()  # type: ignore[union-attr]  # it matches everywhere
            if is_list := text.startswith("[", position):
                position += 1
            elif inside := _LIST_INSIDE.search(text, position, 2**16):
                is_list, position = True, inside.end()
            while True:
                position = _GAP.match(text, position).end()  # type: ignore[union-attr]
                if is_list and text.startswith("]", position):
                    return
                try:
                    entry, position = decoder.raw_decode(text, position)
                except json.JSONDecodeError as error:
                    more = file.read(_BLOCK_CHARACTERS) if len(text) - position < _MAX_ENTRY_CHARACTERS else ""
                    if not more and position == len(text) and not is_list:
                        return
                    if not more:
                        raise ManifestError(f"{path} is no JSON list, or broken, behind its entry {count}.") from error
                    text, position = text[position:] + more, 0
                    continue
                count += 1
                yield entry
    except OSError as error:
        raise ManifestError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not in UTF-8, behind its entry {count}.") from error
    except RecursionError as error:
        raise ManifestError(f"{path} is no list of photos: it is nested too deep.") from error
