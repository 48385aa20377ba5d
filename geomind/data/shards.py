"""Photos in shards: tar files of some hundred megabytes, read much faster than millions of files. It opens no image.

A shard follows WebDataset's convention: each photo, its bytes unchanged, is followed by its row as JSON under the same
name, ``000003-00000120.jpg`` and ``000003-00000120.json``. The name tells where in which shard the photo begins, so
that any photo is read without an index (``geomind.tars``).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from geomind.errors import OutputError, PhotoError
from geomind.files import atomic_path
from geomind.photos import IMAGE_SUFFIXES, read_photo_bytes
from geomind.tars import BLOCK_BYTES, member_key

SHARD_MB = 500
"""Size of a shard in megabytes of 10**6 bytes: some thousand photos, so that a few shards at a time mix many places,
and one is read in seconds."""

_END_OF_TAR = bytes(2 * BLOCK_BYTES)

_LEFTOVERS = re.compile(r"(\.photos-\d{6,}\..*\.partial\.tar)|photos-(\d{6,})\.tar", re.ASCII)

_IN_SHARD = re.compile(r"(.*\.tar)/.*", re.IGNORECASE | re.DOTALL)


def shard_of(image_paths: Sequence[str]) -> NDArray[np.int64]:
    """Number the shards that photos lie in: paths, as a manifest writes them -> (n,), from 0 in order of appearance.

    Photos outside of shards count as one shard together.
    """
    numbers: dict[str, int] = {}
    number_of_folder: dict[str, int] = {}
    shards = np.empty(len(image_paths), dtype=np.int64)
    for row, path in enumerate(image_paths):
        folder = path.rpartition("/")[0]
        if folder not in number_of_folder:
            inside = _IN_SHARD.fullmatch(folder + "/")
            number_of_folder[folder] = numbers.setdefault(inside[1] if inside else "", len(numbers))
        shards[row] = number_of_folder[folder]
    return shards


def refuse_shards(folder: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Stop before work begins that could not end in shards in this folder. It makes nothing.

    Raises:
        OutputError: the folder is a file, lies in a source, where its shards would be taken for photos the next time,
            or holds shards already and ``overwrite`` is false.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file. Name a folder for the shards.")
    here = Path(os.path.realpath(folder))
    for source in sources:
        if source.is_dir() and here.is_relative_to(os.path.realpath(source)):
            raise OutputError(f"The folder {folder} lies in {source}, whose photos go into it. Name one outside of it.")
    if not overwrite and any(folder.glob("photos-*.tar")):
        raise OutputError(f"{folder} holds shards already. Choose another folder, or replace them with --overwrite.")


class ShardWriter:
    """Writes photos into shards, one behind the other; the same photos and rows give the same bytes.

    A shard has its name when it is whole, and not before. Shards that were in the folder are replaced; when the block
    ends well, those beyond the new ones are removed, and so is what a killed run left.
    """

    def __init__(self, folder: Path, *, shard_mb: int = SHARD_MB) -> None:
        self.folder = folder
        self.shards = 0
        """How many shards are whole."""
        self._max_bytes = shard_mb * 10**6
        self._shard = contextlib.ExitStack()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._shard.__exit__(kind, error, traceback)
            return
        self._finish()
        for path in list(self.folder.iterdir()) if self.shards else ():
            found = _LEFTOVERS.fullmatch(path.name)
            if found and (found[1] or int(found[2]) >= self.shards):
                path.unlink()

    def add(self, photo: Path, row: Mapping[str, object]) -> Path:
        """Add a photo and its row, and give its new path: ``folder/photos-000003.tar/000003-00000120.jpg``.

        Raises:
            OutputError: the photo cannot be read or lies in a shard that would be replaced, or the disk is full.
        """
        if _is_below(os.path.dirname(photo), os.path.realpath(self.folder)):  # noqa: PTH120
            raise OutputError(f"{photo} lies in {self.folder}, whose shards are replaced. Name another folder.")
        try:
            data = read_photo_bytes(photo)
        except PhotoError as error:
            raise OutputError(
                f"{photo} cannot be put into a shard: {error}. Bring it back and go on with --resume, or begin anew "
                "with --overwrite."
            ) from error
        said = json.dumps(row, allow_nan=False).encode()
        length = sum(BLOCK_BYTES + len(each) + _filling(each) for each in (data, said))
        if self._file is not None and self._file.tell() + length + len(_END_OF_TAR) > self._max_bytes:
            self._finish()
        file, shard = self._file or self._begin(), self._shard_path()
        key, suffix = member_key(self.shards, file.tell()), photo.suffix.lower()
        name = key + (suffix if suffix in IMAGE_SUFFIXES else ".jpg")
        for member, content in ((name, data), (f"{key}.json", said)):
            header = tarfile.TarInfo(member)  # of nobody, at time 0: nothing but the photos decides the bytes
            header.size = len(content)
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
            file.write(content)
            file.write(bytes(_filling(content)))
        return shard / name

    def _shard_path(self) -> Path:
        return self.folder / f"photos-{self.shards:06d}.tar"

    def _begin(self) -> IO[bytes]:
        temporary = self._shard.enter_context(atomic_path(self._shard_path()))
        self._file = self._shard.enter_context(temporary.open("wb"))
        return self._file

    def _finish(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with self._shard:
                file.write(_END_OF_TAR)
            self.shards += 1


@functools.lru_cache(maxsize=1024)
def _is_below(folder: str, other: str) -> bool:
    return Path(os.path.realpath(folder)).is_relative_to(other)


def _filling(content: bytes) -> int:
    """Count the bytes between a file's end and the next block's beginning."""
    return -len(content) % BLOCK_BYTES
