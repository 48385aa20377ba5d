"""A folder of photos that carry their own position, in their EXIF or in XMP."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from geomind.data.sources import NOTHING_LEFT_OUT, Records
from geomind.errors import PhotoError
from geomind.photos import find_photos, read_gps


@dataclass(frozen=True)
class ExifFolder:
    """The photos of a folder and its subfolders; each says where it was taken."""

    photos: Sequence[Path]

    extra_columns: ClassVar[tuple[str, ...]] = ()
    left_out: ClassVar[Mapping[str, int]] = NOTHING_LEFT_OUT

    @classmethod
    def open(cls, folder: Path) -> ExifFolder:
        """List the photos of a folder.

        Raises:
            PhotoError: there is no such folder, or no photo in it.
        """
        return cls(find_photos(folder))

    @property
    def total(self) -> int:
        """How many photos there are."""
        return len(self.photos)

    @property
    def fingerprint(self) -> str:
        """What the rows depend on: which photos there are, their sizes and times of writing; not their sidecars."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(os.fsencode(photo) + b"\0")
            with contextlib.suppress(OSError):  # gone, or a link to nothing: reading it will say so
                status = photo.stat()
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            digest.update(b"\0")
        return digest.hexdigest()

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read the positions, so many photos at a time, on all cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(skip, len(self.photos), rows):
                photos = self.photos[start : start + rows]
                names, latitudes, longitudes, faults = zip(*pool.map(_read, photos), strict=True)
                text = pd.Series(names, dtype="str")
                empty = pd.Series([""] * len(photos), dtype="str")
                frame = pd.DataFrame(
                    {"image_path": text, "latitude": latitudes, "longitude": longitudes, "group": empty, "split": empty}
                ).assign(source="exif")
                yield Records(frame, np.zeros(len(photos), dtype=np.int64), np.array(faults, dtype=object))


def _read(photo: Path) -> tuple[str, float, float, str]:
    """Read one position: absolute path, latitude, longitude, and the reason where there is none."""
    path = os.path.abspath(photo)  # noqa: PTH100  Path.absolute() keeps the ".." of the path that was given
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return shown, np.nan, np.nan, "the file name is not UTF-8; rename the file"
    try:
        return path, *read_gps(photo), ""
    except PhotoError as error:
        return path, np.nan, np.nan, str(error)
