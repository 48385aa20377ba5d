"""The unfinished work of ``geomind prepare``, in a folder beside its output, so that a stopped run can go on.

The folder holds the rows so far, those rejected, the keys of the files seen, and ``state.json``: how far each source
was read and how long the other files were then. The state is written once they are on the disk, so it never promises
what is not there; what follows in them is cut off by the next run. It knows no sources and no photos.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.csv_table import CsvWriter
from geomind.errors import GeoMindError, OutputError
from geomind.files import atomic_path, hold, make_folder

SAVE_SECONDS = 1.0
"""How much work a killed run loses, beside the chunk at hand; saving takes some milliseconds."""

_ROWS, _REJECTED, _KEYS, _STATE = "rows.csv", "rejected.csv", "keys.bin", "state.json"


@dataclass(frozen=True)
class Done:
    """How far a prepare has come."""

    read: tuple[int, ...]
    """Rows read of each source."""

    used: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Kind of reason -> rows rejected for it."""

    splits: Mapping[str, int] = field(default_factory=dict)
    """Split -> rows used that a source gave it."""

    finished: bool = False
    """All sources are read to their ends."""


class Journal:
    """The rows of an unfinished manifest and how far they go."""

    def __init__(
        self,
        folder: Path,
        done: Done,
        sizes: Mapping[str, int],
        columns: Mapping[str, Sequence[str]],
        arguments: Mapping[str, str],
        keys: IO[bytes],
    ) -> None:
        self.folder = folder
        self.done = done
        self._arguments = arguments
        self._keys = keys
        self._keys.truncate(sizes.get(_KEYS, 0))
        self._tables = {
            name: CsvWriter(folder / name, columns[name], keep_bytes=sizes.get(name))
            for name in columns
            if not done.finished
        }
        self._saved_at = time.monotonic()

    @property
    def rows_path(self) -> Path:
        """Where the rows are, as CSV."""
        return self.folder / _ROWS

    @property
    def rejected_path(self) -> Path:
        """Where the rejected rows are."""
        return self.folder / _REJECTED

    def keys(self) -> NDArray[np.uint64]:
        """Read the keys that were added so far."""
        self._keys.seek(0)
        return np.frombuffer(self._keys.read(), dtype=np.uint64)

    def add(self, rows: pd.DataFrame, rejected: pd.DataFrame, keys: NDArray[np.uint64], done: Done) -> None:
        """Add what one chunk gave, and how far the work has come with it."""
        self._tables[_ROWS].append(rows)
        self._tables[_REJECTED].append(rejected)
        self._keys.write(keys.tobytes())
        self.done = done
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def finish(self) -> None:
        """Close the tables: all sources are read."""
        self.done = replace(self.done, finished=True)
        self._save()
        self.close()

    def close(self) -> None:
        """Close the tables."""
        for table in self._tables.values():
            table.close()

    def remove(self) -> None:
        """Remove the folder, and the state last: as long as it is there the rest is known for what it is."""
        self.close()
        self._keys.close()
        for name in (_ROWS, _REJECTED, _KEYS, _STATE):
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()

    def _save(self) -> None:
        self._keys.flush()
        os.fsync(self._keys.fileno())
        sizes = {name: table.sync() for name, table in self._tables.items()}
        sizes[_KEYS] = self._keys.tell()
        state = {"arguments": dict(self._arguments), "sizes": sizes, "done": asdict(self.done)}
        with atomic_path(self.folder / _STATE) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")
        self._saved_at = time.monotonic()


@contextlib.contextmanager
def open_journal(
    output: Path,
    *,
    columns: Sequence[str],
    rejected_columns: Sequence[str],
    arguments: Mapping[str, str],
    sources: int,
    resume: bool,
    overwrite: bool,
) -> Iterator[Journal]:
    """Begin the unfinished work of an output, or go on with it where ``resume`` says so and there is any.

    It stays when the block is stopped or the disk is full, and is removed when a source is at fault.

    Args:
        output: What the work is for.
        columns: Of its rows.
        rejected_columns: Of its rejected rows.
        arguments: All that the result depends on, in words; work done with others is not gone on with.
        sources: How many there are.
        resume: Go on with unfinished work.
        overwrite: Begin anew where there is unfinished work and ``resume`` is false.

    Raises:
        OutputError: there is unfinished work and neither flag, it was begun otherwise, another process is at it, or it
            cannot be written.
    """
    folder = output.with_name(f"{output.name}.unfinished")
    headers = {_ROWS: columns, _REJECTED: rejected_columns}
    make_folder(folder)
    with _translated(output), (folder / _KEYS).open("a+b") as keys:
        hold(keys, folder)
        is_begun = (folder / _STATE).exists()
        if is_begun and not (resume or overwrite):
            raise OutputError(
                f"{folder} holds an unfinished manifest. Go on with it with --resume, or begin anew with --overwrite."
            )
        if not (is_begun and resume):  # what is begun anew is not read: it may be damaged
            (folder / _STATE).unlink(missing_ok=True)
            journal = Journal(folder, Done(read=(0,) * sources), {}, headers, arguments, keys)
        else:
            state = _read_state(folder)
            for what, value in arguments.items():
                if state.arguments.get(what) != value:
                    raise OutputError(
                        f"{folder} was begun with another {what}. Go on with the same, or begin anew with --overwrite."
                    )
            journal = Journal(folder, state.done, state.sizes, headers, arguments, keys)
        try:
            yield journal
        except BaseException as error:
            journal.close()
            is_source_at_fault = isinstance(error, GeoMindError) and not isinstance(error, OutputError)
            if is_source_at_fault or not (folder / _STATE).exists():
                with contextlib.suppress(OSError):
                    journal.remove()
            raise
        journal.remove()


@dataclass(frozen=True)
class _State:
    """What ``state.json`` says."""

    arguments: Mapping[str, str]
    sizes: Mapping[str, int]
    done: Done


def _read_state(folder: Path) -> _State:
    """Read how far a folder's work has come.

    Raises:
        OutputError: the state cannot be understood, or the files are shorter than they were.
    """
    mend = "Remove the folder, or begin anew with --overwrite and without --resume."
    try:
        said = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        arguments, sizes, done = dict(said["arguments"]), _counts(said["sizes"]), said["done"]
        state = _State(
            arguments,
            sizes,
            Done(
                read=tuple(_count(rows) for rows in done["read"]),
                used=_count(done["used"]),
                reasons=_counts(done["reasons"]),
                splits=_counts(done["splits"]),
                finished=bool(done["finished"]),
            ),
        )
        for name in () if state.done.finished else (_ROWS, _REJECTED, _KEYS):
            sizes[name]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise OutputError(f"{folder} is damaged: its {_STATE} makes no sense. {mend}") from error
    if not state.done.finished:
        for name, size in state.sizes.items():
            if not (folder / name).exists() or (folder / name).stat().st_size < size:
                raise OutputError(f"{folder} is damaged: {name} is too short. {mend}")
    return state


def _counts(said: Mapping[str, object]) -> dict[str, int]:
    return {name: _count(count) for name, count in said.items()}


def _count(said: object) -> int:
    """Take a number of rows or bytes.

    Raises:
        ValueError: it is none.
    """
    if type(said) is not int or said < 0:
        raise ValueError(f"{said!r} is no count.")
    return said


@contextlib.contextmanager
def _translated(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"Cannot write {output}: {reason}. Mend that and go on with --resume.") from error
