"""Where photos with known places come from: one file per kind of source. None knows countries, regions or the manifest.

A source is read in chunks, so that its size does not matter, and judges only what it alone can see: a cell that is no
number, a photo without GPS. What is checked of every photo is checked in ``geomind.data.prepare``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from geomind.errors import ManifestError

if TYPE_CHECKING:  # the command line names the formats in its help, which must be quick
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Records:
    """Some photos of a source, in its order."""

    rows: pd.DataFrame
    """image_path (absolute), latitude, longitude (NaN where there is none), group, split, source and the source's own
    columns."""

    lines: NDArray[np.int64]
    """(n,) the line of the source's file where each row begins (of Parquet and JSON the row, from 1), 0 where there is
    no file of rows."""

    faults: NDArray[np.object_]
    """(n,) why a row cannot be used, "" where nothing is known against it."""


class Source(Protocol):
    """Something that lists photos and where they were taken."""

    @property
    def total(self) -> int:
        """How many rows there are, nearly; only the progress bar goes by it."""
        ...

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The source's own columns, known before the first row, as the manifest's header has to be."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that changes when the source does: a stopped reading must not go on in other rows."""
        ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Why -> how many photos of the source are not among its records, as far as it was read."""
        ...

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read the rows, so many at a time, without the first ``skip``: those that a stopped reading gave already."""
        ...


NOTHING_LEFT_OUT: Mapping[str, int] = MappingProxyType({})
"""The ``left_out`` of a source that gives all it has."""


class Format(StrEnum):
    """The kinds of sources, by the names that the command line gives them."""

    AUTO = "auto"
    PHOTOS = "photos"
    TABLE = "table"
    YFCC100M = "yfcc100m"
    OSV5M = "osv5m"
    IM2GPS = "im2gps"
    MAPILLARY = "mapillary"


@dataclass(frozen=True)
class ReadOptions:
    """What a person may say about sources; each source takes what concerns it."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the manifest -> column of a table, where the table calls it otherwise."""

    images_dir: Path | None = None
    """Where the photos of a table are, if not beside it."""

    min_accuracy: int | None = None
    """Photos placed less accurately than this on Flickr's scale are left out; the source's default if None."""

    licenses: frozenset[str] | None = None
    """Short names of the licences wanted; all if None."""

    @property
    def fingerprint(self) -> str:
        """All of it as a text."""
        licenses = None if self.licenses is None else sorted(self.licenses)
        # Absolute: "photos" is another folder when the command is given again from elsewhere.
        images_dir = None if self.images_dir is None else os.path.abspath(self.images_dir)  # noqa: PTH100
        return f"{sorted(self.columns.items())}, {images_dir}, {self.min_accuracy}, {licenses}"


_TAKEN_BY: Mapping[str, tuple[Format, ...]] = {
    "columns": (Format.TABLE,),
    "images_dir": (Format.TABLE, Format.YFCC100M, Format.OSV5M, Format.IM2GPS, Format.MAPILLARY),
    "min_accuracy": (Format.YFCC100M,),
    "licenses": (Format.YFCC100M,),
}
"""Field of ``ReadOptions`` -> the kinds of sources that go by it."""


def refuse_idle_options(paths: Sequence[Path], kinds: Sequence[Format], options: ReadOptions) -> None:
    """Refuse what is said about sources that none of them goes by: a filter that filters nothing misleads.

    Raises:
        ManifestError: no source takes one of the options.
    """
    from geomind.data.sources import mapillary

    for name, takers in _TAKEN_BY.items():
        if getattr(options, name) in (None, {}):
            continue
        taken = (
            kind in takers
            and not (name == "images_dir" and kind is Format.MAPILLARY and mapillary.has_own_folders(path))
            for path, kind in zip(paths, kinds, strict=True)
        )
        if not any(taken):
            raise ManifestError(
                f"--{name.replace('_', '-')} does nothing here: it is for sources of the format {' or '.join(takers)}, "
                f"and these are read as {', '.join(dict.fromkeys(kinds))}. Leave it out, or say --format."
            )


def open_source(path: Path, kind: Format = Format.AUTO, options: ReadOptions | None = None) -> Source:
    """Open a source of photos.

    Raises:
        ManifestError: there is nothing at the path, or it is not of this kind.
        PhotoError: it is a folder without a photo.
    """
    options = options or ReadOptions()
    _require(path)
    match recognise(path) if kind is Format.AUTO else kind:
        case Format.PHOTOS:
            from geomind.data.sources.exif import ExifFolder

            return ExifFolder.open(path)
        case Format.YFCC100M:
            from geomind.data.sources.yfcc100m import CITY_ACCURACY, Yfcc100m

            accuracy = CITY_ACCURACY if options.min_accuracy is None else options.min_accuracy
            return Yfcc100m(path, images_dir=options.images_dir, min_accuracy=accuracy, licenses=options.licenses)
        case Format.OSV5M:
            from geomind.data.sources.osv5m import open_osv5m

            return open_osv5m(path, options.images_dir)
        case Format.IM2GPS:
            from geomind.data.sources.im2gps import open_im2gps

            return open_im2gps(path, options.images_dir)
        case Format.MAPILLARY:
            from geomind.data.sources.mapillary import open_mapillary

            return open_mapillary(path, options.images_dir)
        case _:
            from geomind.data.sources.table import Table

            return Table.open(path, options.columns, images_dir=options.images_dir)


def recognise(path: Path) -> Format:
    """Tell what kind of source something is, by names that only this kind has.

    Raises:
        ManifestError: there is nothing at the path, or it is of no kind that can be told.
    """
    from geomind.data.sources import im2gps, mapillary, osv5m

    _require(path)
    for module, kind in ((osv5m, Format.OSV5M), (im2gps, Format.IM2GPS), (mapillary, Format.MAPILLARY)):
        if module.is_such(path):
            return kind
    if path.is_dir():
        return Format.PHOTOS
    if path.name.lower().startswith("yfcc100m"):
        return Format.YFCC100M
    if path.suffix.lower() in (".csv", ".tsv", ".tab", ".parquet"):
        return Format.TABLE
    raise ManifestError(
        f"{path} is neither a folder of photos nor a table (.csv, .tsv, .parquet). "
        f"If it is one of {', '.join(list(Format)[2:])}, say so with --format."
    )


def _require(path: Path) -> None:
    if not path.exists():
        raise ManifestError(f"There is no {path}. Name a folder of photos, or a table of photos and their places.")


def file_fingerprint(path: Path) -> str:
    """Tell a file from the same one after a change, without reading it: its size and when it was written.

    Raises:
        ManifestError: the file cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ManifestError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    return f"{status.st_size} bytes of {status.st_mtime_ns}"
