"""Files on the disk and files inside a tar, found the same way: ``shards/photos-000003.tar/000003-00000120.jpg``.

Nothing is ever unpacked: a file in a tar is a stretch of it, read in place. It knows no photos.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".tar"

BLOCK_BYTES = 512
"""A tar is made of blocks of this size: a header of one block before each file, and the file, filled up to whole ones
(POSIX.1-2017, pax, "ustar Interchange Format")."""

_KEY = re.compile(r"\d+-(\d{8,12})\.[^/]*", re.ASCII)

_THROUGH_TAR = re.compile(r"[^/]\.tar(?=/)", re.IGNORECASE)


@dataclass(frozen=True)
class Extent:
    """Where the bytes of a file are."""

    file: str
    """What is on the disk: the file itself, or the tar that it lies in."""

    start: int
    size: int
    in_tar: bool

    def open(self) -> BufferedReader | BytesIO:
        """Open it for reading; a file inside a tar is read whole, its size is for the caller to judge.

        Raises:
            OSError: it cannot be read.
        """
        if not self.in_tar:
            return open(self.file, "rb")  # noqa: PTH123  the caller closes it
        with open(self.file, "rb") as tar:  # noqa: PTH123
            tar.seek(self.start)
            return BytesIO(tar.read(self.size))


def locate(path: Path | str) -> Extent:
    """Find a file on the disk, or through the first component of its path that ends in ``.tar`` and is a file.

    The index of a tar is read once and kept (0.4 s for 10,000 photos and their JSON); a photo that GeoMind put into a
    shard needs none, as its name says where it begins.

    Raises:
        OSError: there is no such file, it is none (a folder, a pipe), its tar is none, or ends before the file does.
    """
    path = os.fspath(path)
    divided = _divide(path)
    if divided is None:
        status = os.stat(path)  # noqa: PTH116  strings: a million Paths take too long
        _require_file(status)
        return Extent(path, 0, status.st_size, in_tar=False)
    tar, member, status = divided
    start, size = _at_its_block(tar, member) or _index(tar, status.st_size, status.st_mtime_ns).get(member, (0, -1))
    if size < 0:
        raise FileNotFoundError(errno.ENOENT, "no such file in its tar")
    if start + size > status.st_size:  # and it may claim more than there is memory
        raise OSError(errno.EIO, "its tar is cut off")
    return Extent(tar, start, size, in_tar=True)


def list_members(tar: Path | str) -> list[str]:
    """Name the files of a tar, in its order.

    Links and devices are no files, and a name that leads out of the tar (``..``, a leading ``/``) is none. What stands
    behind damage is not found; the log says so.

    Raises:
        OSError: it cannot be read, or is no tar.
    """
    status = os.stat(tar)  # noqa: PTH116
    _require_file(status)
    return list(_index(os.fspath(tar), status.st_size, status.st_mtime_ns))


def member_key(shard: int, start: int) -> str:
    """Name a file of a shard by the byte where its header is to be, so that it is found there without an index."""
    return f"{shard:06d}-{start // BLOCK_BYTES:08d}"


def _divide(path: str) -> tuple[str, str, os.stat_result] | None:
    """Divide a path that leads through a tar into the tar, the name inside and the tar's status; None if none does."""
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    for end in (match.end() for match in _THROUGH_TAR.finditer(path)):
        status = os.stat(path[:end])  # noqa: PTH116
        if not stat.S_ISDIR(status.st_mode):
            _require_file(status)
            return path[:end], path[end:].strip("/"), status
    return None


def _require_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a file")  # opening a pipe would wait forever


def _at_its_block(tar: str, member: str) -> tuple[int, int] | None:
    """Find a file that is named by ``member_key``: (first byte, size); None where the tar has another one there."""
    key = _KEY.fullmatch(member)
    if key is None:
        return None
    start = int(key[1]) * BLOCK_BYTES
    with open(tar, "rb") as file:  # noqa: PTH123
        file.seek(start)
        header = file.read(BLOCK_BYTES)
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return None
    is_it = info.name == member and info.isreg() and not info.issparse() and info.size >= 0
    return (start + BLOCK_BYTES, info.size) if is_it else None


@functools.lru_cache(maxsize=16)
def _index(tar: str, size: int, modified: int) -> Mapping[str, tuple[int, int]]:
    """Read where each file of a tar lies: name -> (first byte, size). Size and time tell a tar from its successor."""
    del size, modified
    index: dict[str, tuple[int, int]] = {}
    try:
        with (
            open(tar, "rb") as raw,  # noqa: PTH123
            tarfile.open(fileobj=raw, mode="r:", encoding="utf-8", errors="surrogateescape") as file,
        ):
            for info in _forward(file):
                name = posixpath.normpath(info.name)
                leads_out = name.startswith(("/", "../")) or ".." in info.name.split("/")
                if info.isreg() and not info.issparse() and not leads_out:
                    index[name] = info.offset_data, info.size
            raw.seek(file.offset)  # tarfile takes a broken header for the end
            if raw.read(BLOCK_BYTES).strip(b"\0"):
                raise tarfile.ReadError("no header")
    except OSError:
        raise
    except Exception as error:  # tarfile throws many types on forged headers
        if not index:
            raise OSError(errno.EINVAL, "not a tar, or broken at its beginning") from error
        logger.warning("%s is damaged: %d files of it were found, what follows is lost.", tar, len(index))
    return index


def _forward(file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Give the headers of a tar, each behind the one before: a forged size may be negative, and lead back for ever."""
    before = -1
    while (info := file.next()) is not None:
        if info.offset <= before or info.size < 0:
            raise tarfile.ReadError("negative size")
        before = info.offset
        file.members = []  # type: ignore[attr-defined]  # it would keep them all
        yield info
