"""Writing files so that a reader sees the old one or the whole new one, never half. It knows not what is in them."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from geomind.errors import OutputError


@contextlib.contextmanager
def atomic_path(final: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``final``, moved onto it when the block ends well and removed when it does not.

    The data is on the disk (fsync) before the name is, so that a crash leaves the old file or the new one.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    final = Path(final)
    # The final ending stays last: writers choose their format by it.
    # A name of 255 bytes leaves no room for more, so it is cut; the checksum keeps two such names apart.
    checksum = f"{zlib.crc32(os.fsencode(final.name)):08x}"
    temporary = final.with_name(f".{final.stem[:40]}.{checksum}.{os.getpid()}.partial{final.suffix[:20]}")
    try:
        make_folder(final.parent)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
    except OSError as error:
        raise OutputError(f"Cannot write {final}: {_reason(error)}. Choose another output or free the disk.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def make_folder(folder: Path | str) -> Path:
    """Make a folder and its parents where they are missing.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {_reason(error)}. Choose another output.") from error
    return Path(folder)


def inside(folder: Path, name: str) -> Path | None:
    """Give the real path of a file of a folder; None where its name, or a link, leads out of the folder."""
    with contextlib.suppress(OSError, ValueError):  # a ValueError is of a NUL in the path
        real = (folder / name).resolve()
        if real.is_relative_to(folder.resolve()):
            return real
    return None


def refuse_existing(path: Path | str, *, overwrite: bool) -> None:
    """Stop before work begins that would end by replacing a file, or could not write it. It makes nothing.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, or cannot be written.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already. Choose another name, or replace it with --overwrite.")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {_reason(error)}. Choose another output.") from error
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: {folder} is a file. Choose another output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write in {folder}: permission denied. Choose another output.")


def hold(file: IO[bytes], what: Path) -> None:
    """Hold a file as long as it is open, so that no two processes write one thing.

    Raises:
        OutputError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows; there the second process cannot replace the files that the first has open
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"Another process is writing {what}. Wait until it ends, or stop it.") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
