"""Im2GPS, Im2GPS3k and YFCC4k: test sets of Flickr photos, a table of coordinates and a folder of images each.

The tables that the field passes on have the columns ``IMG_ID, AUTHOR, LAT, LON`` and more (GeoEstimation by
Müller-Budack et al., ECCV 2018); ``IMG_ID`` is the name of the file. The first edition of Im2GPS3k's calls latitudes
LON and longitudes LAT; here they are told by their values.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from geomind.data.csv_table import read_chunks, read_header
from geomind.data.sources.table import Table
from geomind.errors import ManifestError

logger = logging.getLogger(__name__)

SIZES = {"im2gps3k": 2997, "yfcc4k": 4536, "im2gps": 237}
"""How many photos each published set has. A part of one is another test, whose results compare with nobody's."""

_OWN_COLUMNS = {"IMG_ID", "LAT", "LON"}


def is_such(path: Path) -> bool:
    """Say whether a CSV is the table of a set in ``SIZES``, or a folder holds just one such table.

    The columns are not enough: the training set MP-16 has them too, and is no test.
    """
    tables = _tables(path)
    return len(tables) == 1 and _set_name(tables[0]) in SIZES


def open_im2gps(path: Path, images_dir: Path | None = None) -> Table:
    """Open a test set: its table, or the folder that holds it.

    Args:
        path: The CSV, or its folder.
        images_dir: Where the images are. If left out: where the first of them is found, among the folder of the table,
            ``images`` in it, a folder of the set's name, and the same beside the table's folder.

    Raises:
        ManifestError: there is no such table, or several are.
    """
    tables = _tables(path)
    if len(tables) != 1:
        what = "no table" if not tables else f"{len(tables)} tables"
        raise ManifestError(f"{path} holds {what} with the columns {', '.join(sorted(_OWN_COLUMNS))}. Name the CSV.")
    table = tables[0]
    name = _set_name(table)
    count, first, is_swapped = _survey(table)
    latitude, longitude = ("LON", "LAT") if is_swapped else ("LAT", "LON")
    if is_swapped:
        logger.warning(
            "%s calls latitudes LON and longitudes LAT, as the first edition did: a LAT is beyond 90 degrees and no "
            "LON is. They are read the right way round.",
            table,
        )
    if count != (whole := SIZES.get(name, count)):
        logger.warning(
            "%s lists %d photos; the published %s has %d, and results on it are compared on all of them.",
            table, count, name, whole,
        )  # fmt: skip
    folder = _images_dir(table, name, first) if images_dir is None else images_dir
    absolute = os.path.abspath(folder)  # noqa: PTH100

    def locate(names: Sequence[str]) -> list[str]:
        return [os.path.normpath(f"{absolute}{os.sep}{_file(name)}") if name else "" for name in names]

    columns = {"image_path": "IMG_ID", "latitude": latitude, "longitude": longitude}
    return Table.open(table, columns, locate=locate, source=name, split="test" if name in SIZES else "")


def _tables(path: Path) -> list[Path]:
    """Find the tables of coordinates at a path, by their headers."""
    found = []
    for each in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
        if each.suffix.lower() == ".csv" and each.is_file():
            try:
                if set(read_header(each)) >= _OWN_COLUMNS:
                    found.append(each)
            except ManifestError:
                continue
    return found


def _set_name(table: Path) -> str:
    return next((name for name in SIZES if name in table.name.lower()), table.stem)


def _survey(table: Path) -> tuple[int, str, bool]:
    """Count the rows of a table, give its first name, and say whether its latitudes stand under LON."""
    count, first = 0, ""
    farthest = {"LAT": 0.0, "LON": 0.0}
    for chunk in read_chunks(table, 10_000):
        first = first or chunk.cells["IMG_ID"].iloc[0]
        count += len(chunk.cells)
        for column in farthest:
            degrees = pd.to_numeric(chunk.cells[column], errors="coerce").abs().max()
            farthest[column] = float(np.fmax(farthest[column], degrees))
    return count, first, farthest["LAT"] > 90 >= farthest["LON"]


def _images_dir(table: Path, name: str, first: str) -> Path:
    for base in (table.parent, table.parent.parent):
        for folder in (base / "images", base / "images" / name, base / name, base / f"{name}_rgb_images", base):
            if first and (folder / _file(first)).is_file():
                return folder
    return table.parent / "images"


def _file(name: str) -> str:
    """Name the file of a photo; YFCC4k's table leaves the ending out in some editions."""
    return name if Path(name).suffix else f"{name}.jpg"
