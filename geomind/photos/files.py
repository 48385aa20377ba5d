"""Which files of a folder are photos, in the order of their names, tars included. It opens none of them."""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from geomind.errors import PhotoError
from geomind.photos.reading import reason_of
from geomind.tars import SUFFIX as TAR_SUFFIX
from geomind.tars import list_members

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .png .webp .tif .tiff .bmp .gif .mpo .jp2 .j2k .avif .heic .heif".split()  # noqa: SIM905
)
"""Endings of the files that count as photos, in lower case; they match in any case."""


def find_photos(folder: Path | str) -> list[Path]:
    """List the photos of a folder and its subfolders, in the order of their names.

    Symbolic links are followed, each real folder once. Hidden folders (``.thumbnails``, ``.Trash``) are left out, and
    so are the ``._name`` files that macOS leaves beside photos on foreign disks. Everything else with an image's ending
    is listed, readable or not. A tar is walked like a folder, in its own order: ``a.tar/b.jpg`` is a photo in it.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
    """
    folder = Path(folder)
    return [folder / name for name in iter_photos(folder)]


def iter_photos(folder: Path | str) -> Iterator[str]:
    """Name what ``find_photos`` lists one after the other, relative to the folder, with "/" between the parts.

    A folder's names are held packed, so that a million photos take some 30 MB where they lie in one folder, and less
    where they lie in many.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise PhotoError(f"There is no folder {folder}. Check the spelling.")
    if not folder.is_dir():
        raise PhotoError(f"{folder} is a file. Name the folder that holds it.")
    photos = _walk(os.fspath(folder))
    first = next(photos, None)
    if first is None:
        endings = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise PhotoError(f"No photo in {folder} or its subfolders. Photos end in one of: {endings}.")
    yield first
    yield from photos


def _walk(root: str) -> Iterator[str]:
    """Name the photos below a folder depth first, names sorted, whatever loops its links make."""
    visited: set[tuple[int, int]] = set()
    waiting = [("", _entries(root, visited))]
    while waiting:
        above, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        name, is_folder = entry
        path = above + name
        if is_folder:
            waiting.append((f"{path}/", _entries(os.path.join(root, path), visited)))  # noqa: PTH118  strings
        elif _is_photo(name):
            yield path
        else:
            yield from (f"{path}/{member}" for member in _photos_in_tar(os.path.join(root, path)))  # noqa: PTH118


_SORTED_AT_ONCE = 20_000


def _entries(folder: str, visited: set[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Give the photos, tars and folders right in a folder, sorted by name, and whether each is a folder.

    Blocks of names are sorted and packed as they come, and merged as they are asked for: a million strings would take
    100 MB. A record is the name, a NUL, which sorts before all else, and one byte for the kind.
    """
    blocks: list[bytes] = []
    block: list[bytes] = []
    try:
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                name, is_folder = entry.name, _is_folder(entry)
                if _is_skipped(name, is_folder):
                    continue
                block.append(name.encode("utf-8", "surrogatepass") + (b"\0d" if is_folder else b"\0f"))
                if len(block) == _SORTED_AT_ONCE:
                    blocks.append(b"".join(sorted(block)))
                    block.clear()
    except OSError as error:
        logger.warning("The folder %s is left out: %s.", folder, reason_of(error))
        return
    blocks.append(b"".join(sorted(block)))
    block.clear()
    for record in heapq.merge(*map(_records, blocks)):
        yield record[:-2].decode("utf-8", "surrogatepass"), record.endswith(b"d")


def _records(block: bytes) -> Iterator[bytes]:
    start = 0
    while (nul := block.find(b"\0", start)) >= 0:
        yield block[start : nul + 2]
        start = nul + 2


def _photos_in_tar(tar: str) -> Iterator[str]:
    try:
        names = list_members(tar)
    except OSError as error:
        logger.warning("The tar %s is left out: %s.", tar, reason_of(error))
        return
    for name in names:
        *folders, last = name.split("/")
        if _is_photo(last) and not any(folder.startswith(".") for folder in folders):
            yield name


def _is_skipped(name: str, is_folder: bool) -> bool:
    if is_folder:
        return name.startswith(".")
    return not (_is_photo(name) or (_suffix(name) == TAR_SUFFIX and not _is_leftover(name)))


def _is_photo(name: str) -> bool:
    return _suffix(name) in IMAGE_SUFFIXES and not _is_leftover(name)


def _suffix(name: str) -> str:
    """Give the ending of a name in lower case, as ``Path.suffix`` takes it, which is slow for a million."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _is_leftover(name: str) -> bool:
    """Tell what macOS leaves beside photos on foreign disks, and what a killed download of ours leaves."""
    return name.startswith("._") or (name.startswith(".") and ".partial." in name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell folders from photos; what may not even be looked at counts as a photo, whose row will say so."""
    try:
        return entry.is_dir()
    except OSError:
        return False
