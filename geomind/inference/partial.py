"""The rows of an unfinished inference, in a folder beside its output, so that a stopped run can go on.

The folder holds the list of the photos, taken once, what the run was begun with, and the rows so far in files of their
own, ``rows-FIRST-END.csv``: each is there whole or not at all, so that no kill leaves half a row. It asks no network.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from geomind.errors import ManifestError, OutputError
from geomind.files import atomic_path, hold, make_folder
from geomind.predictions import Prediction, iter_predictions, write_predictions

logger = logging.getLogger(__name__)

SAVE_SECONDS = 3.0
"""How much work a killed run loses, beside the windows at hand."""

MOST_ROWS = 10_000
"""Rows in one file at most: they are in memory until it is written."""

_LIST, _BEGUN, _LOCK = "photos.txt", "begun.json", "lock"

_ROWS = re.compile(r"rows-(\d{10,})-(\d{10,})\.csv", re.ASCII)

_MEND = "Begin anew with --overwrite and without --resume."


class Partial:
    """Rows of the first ``done`` photos of a list of ``total``; ``saved`` of them are on the disk."""

    def __init__(self, folder: Path, total: int, extra_columns: Sequence[str] = ()) -> None:
        self.folder = folder
        self.total = total
        self._extra_columns = extra_columns
        self._files = _contiguous(folder)
        self.done = self.saved = self._files[-1][1] if self._files else 0
        self._unsaved: list[Prediction] = []
        self._saved_at = time.monotonic()

    @property
    def photo_list(self) -> Path:
        """The file that lists the photos."""
        return self.folder / _LIST

    def names_to_do(self) -> Iterator[str]:
        """Name the photos that have no row yet, in order."""
        return itertools.islice(_read_list(self.photo_list), self.done, None)

    def add(self, rows: Sequence[Prediction]) -> None:
        """Add the rows of the photos that follow.

        Raises:
            OutputError: the disk is full.
        """
        self._unsaved += rows
        self.done += len(rows)
        if time.monotonic() - self._saved_at >= SAVE_SECONDS or len(self._unsaved) >= MOST_ROWS:
            self.save()

    def save(self) -> None:
        """Bring the rows so far to the disk.

        Raises:
            OutputError: the disk is full.
        """
        if self._unsaved:
            file = self.folder / f"rows-{self.saved:010d}-{self.done:010d}.csv"
            # Overwrite: one that does not follow on the others may be there, where a disk lost files.
            write_predictions(self._unsaved, file, overwrite=True, with_truth=False, extra_columns=self._extra_columns)
            self._files.append((self.saved, self.done, file))
            self.saved, self._unsaved = self.done, []
        self._saved_at = time.monotonic()

    def rows(self) -> Iterator[Prediction]:
        """Read all rows, in order.

        Raises:
            OutputError: a file was damaged since it was written.
        """
        self.save()
        for first, end, file in self._files:
            count = first
            try:
                for row in iter_predictions(file):
                    count += 1
                    yield row
            except ManifestError as error:
                raise OutputError(f"{self.folder} is damaged: {error} {_MEND}") from error
            if count != end:
                raise OutputError(f"{self.folder} is damaged: {file.name} is too short. {_MEND}")

    def remove(self) -> None:
        """Remove the folder; what says that it was begun goes last."""
        for file in self.folder.iterdir():
            if file.name != _BEGUN:
                file.unlink()
        (self.folder / _BEGUN).unlink(missing_ok=True)
        self.folder.rmdir()


@contextlib.contextmanager
def open_partial(
    output: Path | str,
    names: Callable[[], Iterator[str]],
    arguments: Mapping[str, str],
    extra_columns: Sequence[str] = (),
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[Partial]:
    """Begin the rows of an output, or go on with them where ``resume`` says so and there are any.

    They stay when the block is stopped or fails, and the log says how to go on; they are removed when it ends well.

    Args:
        output: What the rows are for.
        names: Lists the photos; asked only where the work is begun.
        arguments: All that the rows depend on, in words; rows made with others are not gone on with.
        extra_columns: What the rows hold beside the columns of every prediction.
        resume: Go on with unfinished rows.
        overwrite: Begin anew where there are unfinished rows and ``resume`` is false.

    Raises:
        OutputError: there are unfinished rows and neither flag, they were begun otherwise, another process is at them,
            or they cannot be written.
    """
    folder = partial_folder(output)
    make_folder(folder)
    with _translated(folder), _locked(folder):
        try:
            is_begun = (folder / _BEGUN).exists()
            if is_begun and not (resume or overwrite):
                raise OutputError(
                    f"{folder} holds an unfinished inference. Go on with it with --resume, or begin anew with "
                    "--overwrite."
                )
            total = _check(folder, arguments) if is_begun and resume else _begin(folder, names, arguments)
            partial = Partial(folder, total, extra_columns)
            try:
                yield partial
            except BaseException:
                _keep(partial)
                raise
            partial.remove()
        except BaseException:
            if not (folder / _BEGUN).exists():  # nothing was begun: nothing stays
                with contextlib.suppress(OSError):
                    Partial(folder, 0).remove()
            raise


def partial_folder(output: Path | str) -> Path:
    """Say where the rows of an unfinished output are."""
    return Path(output).with_name(f"{Path(output).name}.unfinished")


def _begin(folder: Path, names: Callable[[], Iterator[str]], arguments: Mapping[str, str]) -> int:
    """List the photos, write down what the rows are made with, and say how many photos there are."""
    (folder / _BEGUN).unlink(missing_ok=True)
    for file in folder.iterdir():
        if _ROWS.fullmatch(file.name):
            file.unlink()
    total = 0
    with atomic_path(folder / _LIST) as temporary, temporary.open("wb") as listed:
        for name in names():
            listed.write(name.encode("utf-8", "surrogatepass") + b"\0")
            total += 1
    with atomic_path(folder / _BEGUN) as temporary:
        temporary.write_text(json.dumps({"photos": total, "arguments": dict(arguments)}), encoding="utf-8")
    return total


def _check(folder: Path, arguments: Mapping[str, str]) -> int:
    """Read how many photos an inference was begun for.

    Raises:
        OutputError: it was begun with something else, or what it says makes no sense.
    """
    try:
        begun = json.loads((folder / _BEGUN).read_text(encoding="utf-8"))
        total, before = int(begun["photos"]), dict(begun["arguments"])
        (folder / _LIST).stat()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{folder} is damaged: {_BEGUN} or {_LIST} is gone or makes no sense. {_MEND}") from error
    for what, value in arguments.items():
        if before.get(what) != value:
            raise OutputError(
                f"{folder} was begun with another {what}. Go on with the same, or begin anew with --overwrite and "
                "without --resume."
            )
    return total


def _contiguous(folder: Path) -> list[tuple[int, int, Path]]:
    """Find the files of rows that follow on each other from the first photo on: (first, end, file)."""
    there = sorted(
        (int(match[1]), int(match[2]), file) for file in folder.iterdir() if (match := _ROWS.fullmatch(file.name))
    )
    files: list[tuple[int, int, Path]] = []
    for first, end, file in there:
        if first == (files[-1][1] if files else 0) and end > first:
            files.append((first, end, file))
    return files


def _keep(partial: Partial) -> None:
    """Keep the rows of a run that stops, as far as the disk takes them; where there are none, nothing is kept."""
    with contextlib.suppress(OutputError):
        partial.save()
    if partial.saved:
        logger.warning(
            "%d of %d photos are answered and kept in %s. Go on with --resume.",
            partial.saved,
            partial.total,
            partial.folder,
        )
    else:
        with contextlib.suppress(OSError):
            partial.remove()


def _read_list(file: Path) -> Iterator[str]:
    rest = b""
    with file.open("rb") as names:
        while block := names.read(2**16):
            *whole, rest = (rest + block).split(b"\0")
            for name in whole:
                yield name.decode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder as long as the block runs; a killed process holds nothing.

    Raises:
        OutputError: another process holds it.
    """
    with (folder / _LOCK).open("ab") as file:
        hold(file, folder)
        yield


@contextlib.contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"Cannot use {folder}: {reason}. Mend that and go on with --resume.") from error
