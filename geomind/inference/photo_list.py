"""Which photos are to be answered: those of a folder, or those that a list names. It opens none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from geomind.errors import ManifestError
from geomind.photos import iter_photos

PATH_COLUMNS = ("image_path", "filename", "path", "file")
"""The columns of a table in which photos are looked for, in this order."""

TABLE_SUFFIXES = (".csv", ".parquet")


@runtime_checkable
class Photos(Protocol):
    """Photos by name, in order; there may be more than there is memory for."""

    @property
    def described(self) -> str:
        """What they are, in words that another run can be compared with."""
        ...

    def names(self) -> Iterator[str]:
        """Name each photo as its row is to name it."""
        ...

    def path(self, name: str) -> str:
        """Say where the photo of a name is."""
        ...


@dataclass(frozen=True)
class FolderOfPhotos:
    """The photos of a folder and its subfolders, by their paths from there."""

    folder: Path

    @property
    def described(self) -> str:
        """What they are, in words that another run can be compared with."""
        return f"the folder {self.folder.absolute()}"

    def names(self) -> Iterator[str]:
        """Name the photos.

        Raises:
            PhotoError: there is no such folder, or no photo in it.
        """
        return iter_photos(self.folder)

    def path(self, name: str) -> str:
        """Say where the photo of a name is."""
        return os.path.join(self.folder, name)  # noqa: PTH118  strings: a million Paths take too long


@dataclass(frozen=True)
class ListOfPhotos:
    """The photos that a file names: a text file with a path a line, or a table, which a manifest is.

    Paths are taken from the list's folder, as a manifest's are.
    """

    file: Path

    @property
    def described(self) -> str:
        """What they are, in words that another run can be compared with."""
        return f"the list {self.file.absolute()}"

    def names(self) -> Iterator[str]:
        """Name the photos, as the list writes them.

        Raises:
            ManifestError: it cannot be read, has no column for the photos, or names none.
        """
        empty = True
        for name in _from_table(self.file) if self.file.suffix.lower() in TABLE_SUFFIXES else _from_text(self.file):
            if name:
                empty = False
                yield name
        if empty:
            raise ManifestError(f"{self.file} names no photo. Write one path a line.")

    def path(self, name: str) -> str:
        """Say where the photo of a name is."""
        return os.path.join(self.file.parent, name)  # noqa: PTH118


def _from_text(file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as lines:  # bytes: a name may hold what Python takes for the end of a line
            for number, line in enumerate(lines, start=1):
                raw = line.rstrip(b"\r\n")
                if b"\0" in raw:
                    raise ManifestError(f"{file}, line {number}: no text. A list has one path a line.")
                yield os.fsdecode(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
    except OSError as error:
        raise ManifestError(f"Cannot read {file}: {(error.strerror or str(error)).lower()}.") from error


def _from_table(file: Path) -> Iterator[str]:
    if file.suffix.lower() == ".csv":
        from geomind.data.csv_table import read_chunks, read_header

        column = _path_column(read_header(file), file)
        for chunk in read_chunks(file, 5_000):
            yield from chunk.cells[column]
        return
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            column = _path_column(table.schema_arrow.names, file)
            for batch in table.iter_batches(5_000, columns=[column]):
                yield from (str(name) for name in batch.column(0).to_pylist() if name is not None)
    except (OSError, pyarrow.ArrowException) as error:
        raise ManifestError(f"Cannot read {file}: {str(error).partition(chr(10))[0].rstrip('.').lower()}.") from error


def _path_column(header: Sequence[str], file: Path) -> str:
    for name in PATH_COLUMNS:
        if name in header:
            return name
    raise ManifestError(f"{file} has no column of photos. Call it {PATH_COLUMNS[0]}.")
