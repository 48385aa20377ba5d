"""Can each photo be read, how large is it, and what does it look like: one look at every file. It compares none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geomind.errors import PhotoError
from geomind.photos import open_photo
from geomind.progress import SILENT, Progress
from geomind.tars import locate

TINY_SIDE = 64
"""A picture whose shorter side is less, in pixels, is a thumbnail or an icon: a network sees 224."""

BLANK_RANGE = 8
"""A picture whose 8 x 8 means differ by less than this, of 255, is blank. Its look says nothing, so it has none."""

HASH_BITS = 128

_FILES_AT_ONCE = 512
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class FileChecks:
    """What the files of a manifest are like: arrays of one entry a row."""

    faults: NDArray[np.object_]
    """(n,) why a photo cannot be read, "" where it can."""
    missing: NDArray[np.bool_]
    """(n,) there is no such file."""
    tiny: NDArray[np.bool_]
    """(n,) smaller than ``TINY_SIDE``."""
    blank: NDArray[np.bool_]
    """(n,) one even surface."""
    looks: NDArray[np.uint64]
    """(n, 2) perceptual hash, see ``difference_hash``; 0 where there is none."""
    has_look: NDArray[np.bool_]
    """(n,) readable and not blank."""
    contents: NDArray[np.int64]
    """(n,) number of the file's content: rows of byte-equal files have the same one; -1 where it cannot be read."""

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which photos can be read: (n,)."""
        return np.asarray(self.faults == "", dtype=bool)


def check_files(paths: Sequence[str], *, progress: Progress = SILENT) -> FileChecks:
    """Open every photo, on all cores. Memory grows by some 100 bytes a photo.

    A JPEG is decoded at an eighth of its size, as in ``geomind prepare``: only decoding finds a truncated one. Files of
    equal size are read once more and compared by a checksum of their bytes.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looked: list[_Look] = []
        with progress.track("Opening photos", len(paths)) as advance:
            bad = 0
            for part in _mapped(pool, _look, paths):
                looked += part
                bad += sum(each.fault != "" for each in part)
                advance(len(part), note=f"{bad:,} unreadable" if bad else "")
        faults = np.array([each.fault for each in looked], dtype=object)
        sizes = np.array([each.size for each in looked], dtype=np.int64)
        contents = _number_contents(paths, sizes, faults == "", pool, progress)
    return FileChecks(
        faults=faults,
        missing=sizes < 0,
        tiny=np.array([each.tiny for each in looked], dtype=bool),
        blank=np.array([each.blank for each in looked], dtype=bool),
        looks=np.array([each.look for each in looked], dtype=np.uint64).reshape(-1, 2),
        has_look=(faults == "") & ~np.array([each.blank for each in looked], dtype=bool),
        contents=contents,
    )


def difference_hash(image: Image.Image) -> tuple[tuple[int, int], bool]:
    """Hash what a picture looks like to 128 bits, and say whether it is blank.

    dHash: is each of 8 x 8 neighbours brighter than the one before it, once along rows and once along columns (after
    Krawetz 2013, "Kind of Like That"). On 72 real photos, saving at quality 20, halving and brightening each change at
    most 6 bits of nine pictures in ten; two views of one street differ by 20 and more. A library for these lines would
    bring its own way to open images.
    """
    grey = image.convert("L")
    rows, columns, means = (
        np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.int16) for size in ((9, 8), (8, 9), (8, 8))
    )
    bits = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), (columns[1:] > columns[:-1]).ravel()])
    # Interleaved, so that each 16 bits of the hash are of the whole picture and few pictures share any.
    packed = np.packbits(bits.reshape(16, 8).T).view(np.uint64)
    return (int(packed[0]), int(packed[1])), bool(np.ptp(means) < BLANK_RANGE)


class _Look(NamedTuple):
    fault: str
    size: int
    """Bytes, -1 for a file that is not there."""
    tiny: bool = False
    blank: bool = False
    look: tuple[int, int] = (0, 0)


def _look(path: str) -> _Look:
    try:
        size = locate(path).size
    except FileNotFoundError:
        return _Look("missing", -1)
    except (OSError, ValueError) as error:
        return _Look(str(getattr(error, "strerror", None) or error).lower(), 0)
    try:
        image = open_photo(path, min_side=TINY_SIDE)
    except PhotoError as error:
        return _Look(str(error), size)
    look, blank = difference_hash(image)
    return _Look("", size, min(image.size) < TINY_SIDE, blank, (0, 0) if blank else look)


def _number_contents(
    paths: Sequence[str], sizes: NDArray[np.int64], readable: NDArray[np.bool_], pool: ThreadPoolExecutor,
    progress: Progress,
) -> NDArray[np.int64]:  # fmt: skip
    """Number the contents of files: byte-equal files get one number, unreadable ones -1."""
    contents = np.where(readable, np.arange(len(paths)), -1)
    _, kind, alike = np.unique(np.where(readable, sizes, -1), return_inverse=True, return_counts=True)
    rows = np.flatnonzero(readable & (alike[kind] > 1))
    if len(rows) == 0:
        return contents
    first_of: dict[str, int] = {}
    with progress.track("Comparing files of equal size", len(rows)) as advance:
        done = 0
        for part in _mapped(pool, _checksum, [paths[row] for row in rows.tolist()]):
            for row, checksum in zip(rows[done : done + len(part)].tolist(), part, strict=True):
                contents[row] = first_of.setdefault(checksum, row)
            done += len(part)
            advance(len(part))
    return contents


def _checksum(path: str) -> str:
    try:
        with locate(path).open() as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError:  # it was there a moment ago
        return path


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[str], _Result], paths: Sequence[str]
) -> Iterator[list[_Result]]:
    """Apply a function to paths in the pool, some at a time: a pool takes in all that it is given at once."""
    for start in range(0, len(paths), _FILES_AT_ONCE):
        yield list(pool.map(function, paths[start : start + _FILES_AT_ONCE]))
