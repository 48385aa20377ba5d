"""A folder that grows: its new photos are answered as they come, and their rows appended to one CSV."""

from __future__ import annotations

import csv
import io
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from geomind.cascade import Geolocator
from geomind.errors import OutputError, PhotoError
from geomind.files import hold, make_folder
from geomind.inference.engine import WINDOW, locate_photos
from geomind.inference.partial import partial_folder
from geomind.inference.photo_list import FolderOfPhotos
from geomind.outputs import csv_rows
from geomind.predictions import COLUMNS, Prediction
from geomind.spreadsheets import unguard
from geomind.tars import locate

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two looks at the folder."""

AT_REST_SECONDS = 60.0
"""A file that nobody changed for as long is whole; a younger one is when the next look finds it unchanged."""


def watch(
    folder: Path | str,
    output: Path | str,
    geolocator: Geolocator,
    *,
    batch_size: int = WINDOW,
    workers: int | None = None,
    interval: float = INTERVAL,
    tell: Callable[[int, int], None] = lambda new, total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Append a row for every photo that has none yet, and go on so until it is stopped.

    A photo gets one row, whatever becomes of it later; those that the output names already get none, be they from an
    earlier watch or from an inference. A row that a kill left half written is cut off, and its photo answered again.

    Args:
        folder: The folder, walked with its subfolders at each look.
        output: The CSV; it is made where there is none.
        geolocator: Who answers.
        batch_size: Photos answered at once; their rows are on the disk before the next are answered.
        workers: Threads that decode; one a core if left out.
        interval: Seconds between two looks.
        tell: Is told of new rows: how many, and of how many in all.
        sleep: Waits so many seconds.

    Raises:
        PhotoError: there is no such folder.
        OutputError: the output is no CSV of predictions, cannot be written, or another process writes it.
    """
    photos = FolderOfPhotos(Path(folder))
    with _GrowingCsv(Path(output), COLUMNS + geolocator.extra_columns) as rows:
        changing: dict[str, tuple[int, int]] = {}
        while True:
            before, changing = changing, {}
            new = _whole(photos, rows.names, before, changing)
            count = 0
            while batch := list(itertools.islice(new, batch_size)):
                answers = locate_photos(map(photos.path, batch), batch, geolocator, workers=workers)
                rows.append(list(answers))
                count += len(batch)
            if count:
                tell(count, len(rows.names))
            sleep(interval)


def _whole(
    photos: FolderOfPhotos,
    known: set[str],
    before: dict[str, tuple[int, int]],
    changing: dict[str, tuple[int, int]],
) -> Iterator[str]:
    """Name the photos that are not known and whole; the others' size and time are put into ``changing``."""
    try:
        for name in photos.names():
            if name in known:
                continue
            state = _state(photos.path(name))
            if state is None:  # it went away again
                continue
            is_at_rest = time.time() - state[1] / 1e9 > AT_REST_SECONDS
            if is_at_rest or before.get(name) == state:
                yield name
            else:
                changing[name] = state
    except PhotoError:
        if not photos.folder.is_dir():
            raise  # otherwise it is empty yet


def _state(path: str) -> tuple[int, int] | None:
    """Give the size and the time in ns of a photo's file, or of the tar that it lies in."""
    try:
        status = os.stat(locate(path).file)  # noqa: PTH116
    except FileNotFoundError:
        return None
    except OSError:
        return 0, 0  # it cannot be read, and its row will say so
    return status.st_size, status.st_mtime_ns


class _GrowingCsv:
    """A CSV of predictions that rows are appended to, and the names of the photos that have one."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path = path
        self._columns = columns
        self.names: set[str] = set()

    def __enter__(self) -> _GrowingCsv:
        if self._path.suffix.lower() != ".csv":
            raise OutputError(f"Cannot append to {self._path}: a watch writes CSV. Choose a name that ends in .csv.")
        if partial_folder(self._path).exists():
            raise OutputError(
                f"{partial_folder(self._path)} holds an unfinished inference. Finish it first with --resume, without "
                "--watch."
            )
        make_folder(self._path.parent)
        try:
            self._file = self._path.open("a+b", buffering=0)  # no rest is left to write where the disk was full
        except OSError as error:
            raise self._refused(error) from error
        try:
            hold(self._file, self._path)
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: list[Prediction]) -> None:
        """Write rows, all or none, and bring them to the disk.

        Raises:
            OutputError: the disk is full.
        """
        text = io.BytesIO()
        csv_rows.write(rows, self._columns, text)
        header, _, body = text.getvalue().partition(b"\n")
        end = self._file.seek(0, os.SEEK_END)
        left = memoryview(body if end else header + b"\n" + body)
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)
            raise self._refused(error) from error
        self.names.update(row.image_path for row in rows)

    def _read(self) -> None:
        """Read whose rows are there, and cut off what a kill left of one.

        Raises:
            OutputError: it is no CSV of predictions.
        """
        whole = 0
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as lines:
            for cells, end in _rows_and_ends(lines):
                if whole:
                    self.names.add(unguard(cells[0]))
                elif tuple(cells) != self._columns:
                    raise OutputError(
                        f"Cannot append to {self._path}: its columns are not those of `geomind infer`. Choose another "
                        "output."
                    )
                whole = end
            lines.seek(whole)
            tail = lines.read()
        if b"\n" in tail:  # more than one row is not cut off
            raise OutputError(
                f"Cannot append to {self._path}: its row behind byte {whole:,} makes no sense. Mend it, or choose "
                "another output."
            )
        if tail:
            logger.warning("%s ended within a row, which is cut off; its photo is answered again.", self._path)
            os.ftruncate(self._file.fileno(), whole)

    def _refused(self, error: OSError) -> OutputError:
        reason = (error.strerror or str(error)).lower()
        return OutputError(f"Cannot write {self._path}: {reason}. Mend that and start the watch again.")


def _rows_and_ends(file: IO[bytes]) -> Iterator[tuple[list[str], int]]:
    """Give the header and the rows of a CSV as far as they are whole, and the byte where each ends."""
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in file:
            if not line.endswith(b"\n"):
                return
            read += len(line)
            yield line.decode("utf-8-sig" if read == len(line) else "utf-8")

    width = 0
    try:
        for cells in csv.reader(lines(), strict=True):
            width = width or len(cells)
            if len(cells) != width:
                return
            yield cells, read
    except (csv.Error, UnicodeDecodeError):  # a quote that is open at the end, or half a character
        return
