"""OpenStreetView-5M: 5 million street photos of Mapillary's, ``train.csv`` and ``test.csv`` beside ``images/``.

A row has an ``id``; its photo is ``images/train/<number>/<id>.jpg``, in one of 98 numbered folders (5 for the test),
as the published archives unpack. Photos of one ``sequence`` were taken on one drive. (Astruc et al., OpenStreetView-5M:
The Many Roads to Global Visual Geolocation, CVPR 2024, and the columns of the published files.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.data.csv_table import read_header
from geomind.data.sources.table import Table, Tables
from geomind.errors import ManifestError

_SPLITS = ("train", "test")

_OWN_COLUMNS = {"id", "latitude", "longitude", "sequence", "thumb_original_url", "unique_country"}
"""Columns by which its tables are known."""


def is_such(path: Path) -> bool:
    """Say whether a folder or a CSV is OSV-5M or a part of it."""
    try:
        return any(set(read_header(table)) >= _OWN_COLUMNS for table in _tables(path))
    except ManifestError:
        return False


def open_osv5m(path: Path, images_dir: Path | None = None) -> Tables:
    """Open OSV-5M: its folder, or one of its tables.

    Args:
        path: The folder of ``train.csv`` and ``test.csv``, one of them or both, or such a file: its name says the
            split.
        images_dir: Holds ``train`` and ``test``; ``images`` beside the tables if left out.

    Raises:
        ManifestError: there is no such table, or it lacks a column.
    """
    if not (tables := _tables(path)):
        raise ManifestError(f"There is neither train.csv nor test.csv in {path}. Name the folder of OSV-5M.")
    opened = []
    for table in tables:
        columns = {"image_path": "id"}
        if "sequence" in read_header(table):
            columns["group"] = "sequence"
        split = next((split for split in _SPLITS if split in table.stem.lower()), "")
        images = NumberedImages((table.parent / "images" if images_dir is None else images_dir) / split)
        opened.append(Table.open(table, columns, locate=images.paths, source="osv5m", split=split))
    return Tables(tuple(opened))


class NumberedImages:
    """Where the photo of each number is, in a folder of folders; found once, and kept in 10 bytes a photo."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)  # noqa: PTH100  strings: five million Paths take too much memory

    def paths(self, names: Sequence[str]) -> list[str]:
        """Give the path of each photo; one that is nowhere is said to be in the folder itself."""
        numbers, folders, places = self._index
        wanted = np.array([int(name) if _is_number(name) else 0 for name in names], dtype=np.uint64)
        found = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
        is_there = numbers[found] == wanted
        own = [folders[place] if there else self._folder for place, there in zip(places[found], is_there, strict=True)]
        return [f"{folder}{os.sep}{name}.jpg" if name else "" for folder, name in zip(own, names, strict=True)]

    @cached_property
    def _index(self) -> tuple[NDArray[np.uint64], list[str], NDArray[np.uint16]]:
        """List the photos: (n,) numbers in order, the folders, and (n,) which of these each number is in."""
        numbers = [np.zeros(1, dtype=np.uint64)]  # 0 is no photo, and stands for a name that is no number
        places = [np.zeros(1, dtype=np.uint16)]
        folders = [self._folder]
        for folder in _folders(self._folder):
            here = np.fromiter(_numbers(folder), dtype=np.uint64)
            if len(here):
                numbers.append(here)
                places.append(np.full(len(here), len(folders), dtype=np.uint16))
                folders.append(folder)
        every = np.concatenate(numbers)
        order = np.argsort(every, kind="stable")
        return every[order], folders, np.concatenate(places)[order]


def _tables(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / f"{split}.csv" for split in _SPLITS if (path / f"{split}.csv").is_file()]
    return [path] if path.suffix.lower() == ".csv" else []


def _folders(folder: str) -> Iterator[str]:
    """Give a folder and those below it, in the order of their names."""
    if os.path.isdir(folder):  # noqa: PTH112
        yield folder
        with os.scandir(folder) as entries:
            below = sorted(entry.path for entry in entries if entry.is_dir())
        for each in below:
            yield from _folders(each)


def _numbers(folder: str) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name, ending = os.path.splitext(entry.name)  # noqa: PTH122
            if ending == ".jpg" and _is_number(name):
                yield int(name)


def _is_number(name: str) -> bool:
    """Tell whether a name is that of a number of at most 64 bits and of no other."""
    return name.isascii() and name.isdecimal() and len(name) < 20 and not name.startswith("0")
