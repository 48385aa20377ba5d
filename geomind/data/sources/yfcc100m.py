"""YFCC100M, the published table of 100 million Flickr photos and videos, as photos with places. It fetches nothing.

The dump is tab-separated, without a header and without quotes; text is URL-encoded. Its 25 columns are: line number,
photo id, hash, owner's NSID and nickname, date taken and uploaded, camera, title, description, tags, machine tags,
longitude, latitude, accuracy, page, download address, licence's name and address, server, farm, secret, original
secret, extension, marker (0 photo, 1 video). The older dump, in ten parts, has neither line number nor hash (Thomee et
al., YFCC100M: The New Data in Multimedia Research, CACM 59(2), 2016; CLIP's list of its photos names the first three).

The hash names a photo's file in the published store: the MD5 of its download address, each byte in hex without leading
zero, as computing it for the dump's first row shows.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_plus

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from geomind.data.licenses import license_name
from geomind.data.sources import Records, file_fingerprint
from geomind.errors import ManifestError
from geomind.spreadsheets import guard

_COLUMNS = (
    "line", "id", "hash", "owner_id", "owner", "taken", "uploaded", "camera", "title", "description", "tags",
    "machine_tags", "longitude", "latitude", "accuracy", "page_url", "url", "license_name", "license", "server", "farm",
    "secret", "original_secret", "extension", "marker",
)  # fmt: skip

_OLDER_COLUMNS = ("id", *_COLUMNS[3:])

_READ = (
    "hash", "owner_id", "owner", "taken", "longitude", "latitude", "accuracy", "page_url", "url", "license", "marker",
)  # fmt: skip

CITY_ACCURACY = 11
"""Flickr's scale of accuracy: 1 the world, about 3 a country, 6 a region, 11 a city, 16 a street
(flickr.photos.search). A pin set below it may stand in the middle of a country."""

_BLOCK_BYTES = 8 * 2**20


class Yfcc100m:
    """The photos of a YFCC100M dump that are wanted; every other row is counted and left out."""

    extra_columns = ("url", "license", "owner", "page_url", "taken", "accuracy")

    def __init__(
        self,
        path: Path,
        *,
        images_dir: Path | None = None,
        min_accuracy: int = CITY_ACCURACY,
        licenses: frozenset[str] | None = None,
    ) -> None:
        """Open a dump: plain, or compressed with gzip (.gz) or bzip2 (.bz2).

        Args:
            path: The dump, or one of its parts.
            images_dir: Where the photos are or will be, ``abc/def/abcdef….jpg`` below it as in the published store;
                ``images`` beside the dump if left out.
            min_accuracy: Photos placed less accurately than this are left out, 1 to 16.
            licenses: Short names of the licences wanted, all if left out.

        Raises:
            ManifestError: it cannot be read, or is no such dump.
        """
        self.path = path
        self.left_out: Counter[str] = Counter()
        """Why -> how many of the rows read so far are not among the records."""

        self._images_dir = os.path.abspath(path.parent / "images" if images_dir is None else images_dir)  # noqa: PTH100
        self._min_accuracy = min_accuracy
        self._licenses = licenses
        self._columns, self.total = self._survey()

    @property
    def fingerprint(self) -> str:
        """What the records depend on."""
        wanted = "all" if self._licenses is None else ",".join(sorted(self._licenses))
        return f"{file_fingerprint(self.path)}, accuracy {self._min_accuracy}, {wanted}, {self._images_dir}"

    def chunks(self, rows: int, skip: int = 0) -> Iterator[Records]:
        """Read the wanted rows, at most so many at a time, without the first ``skip`` of them.

        Raises:
            ManifestError: the file cannot be read to its end.
        """
        self.left_out.clear()
        line = 1
        for block in self._blocks(_BLOCK_BYTES):
            records, lines = self._records(block, line)
            line += lines
            skipped = min(skip, len(records.faults))
            skip -= skipped
            for start in range(skipped, len(records.faults), rows):
                part = slice(start, start + rows)
                frame = records.rows.iloc[part].reset_index(drop=True)
                yield Records(frame, records.lines[part], records.faults[part])

    def _survey(self) -> tuple[tuple[str, ...], int]:
        """Tell the columns from the first line, and estimate the wanted rows from the first megabytes."""
        block = next(self._blocks(_BLOCK_BYTES), b"")
        if not block:
            raise ManifestError(f"{self.path} is empty. A YFCC100M dump has {len(_COLUMNS)} columns.")
        cells = block[: block.find(b"\n") + 1].count(b"\t") + 1
        by_count = {len(columns): columns for columns in (_COLUMNS, _OLDER_COLUMNS)}
        if cells not in by_count:
            raise ManifestError(
                f"{self.path} is no YFCC100M dump: its first line has {cells} tab-separated cells, the dump's have "
                f"{len(_COLUMNS)}, or {len(_OLDER_COLUMNS)} in its older form."
            )
        self._columns = by_count[cells]
        wanted = len(self._records(block, 1)[0].faults)
        self.left_out.clear()
        share = 1.0 if len(block) < _BLOCK_BYTES / 2 else self._share_of_file(len(block))
        return self._columns, round(wanted / share)

    def _share_of_file(self, unpacked_bytes: int) -> float:
        """Estimate which share of the whole dump its first bytes are, from how much of the file they take."""
        with self.path.open("rb") as packed, _unpacked(self.path, packed) as file:
            file.read(unpacked_bytes)
            return max(packed.tell(), 1) / max(self.path.stat().st_size, 1)

    def _blocks(self, size: int) -> Iterator[bytes]:
        """Give whole lines, about ``size`` bytes of them at a time."""
        try:
            with self.path.open("rb") as packed, _unpacked(self.path, packed) as file:
                rest = b""
                while data := file.read(size):
                    data = rest + data
                    end = data.rfind(b"\n") + 1
                    if not end and len(data) >= size:
                        raise ManifestError(f"{self.path} is no YFCC100M dump: one of its lines has {size:,} bytes.")
                    if end:
                        yield data[:end]
                    rest = data[end:]
                if rest:
                    yield rest + b"\n"
        except (EOFError, zlib.error) as error:
            raise ManifestError(f"{self.path} is cut short or broken: {error}. Fetch it again.") from error
        except OSError as error:
            raise ManifestError(f"Cannot read {self.path}: {(error.strerror or str(error)).lower()}.") from error

    def _records(self, block: bytes, first_line: int) -> tuple[Records, int]:
        """Turn some lines into the records of the wanted photos among them, and tell how many lines they were."""
        broken: list[tuple[int, int]] = []
        table = _parse(block, self._columns, broken)
        count = len(table) + len(broken)
        lines = np.delete(np.arange(first_line, first_line + count), [row - 1 for row, _ in broken])
        wanted = self._wanted(table)
        table, lines = table.filter(pa.array(wanted)), lines[wanted]
        rows, faults = self._rows(table)
        if broken:
            numbers = np.array([row for row, _ in broken])
            reasons = [f"wrong number of cells: {cells}, the dump has {len(self._columns)}" for _, cells in broken]
            filler = pd.DataFrame(dict.fromkeys(rows, ""), index=range(len(broken)))
            rows = pd.concat([rows, filler.assign(latitude=np.nan, longitude=np.nan)], ignore_index=True)
            lines = np.concatenate([lines, first_line + numbers - 1])
            faults = np.concatenate([faults, np.array(reasons, dtype=object)])
            order = np.argsort(lines, kind="stable")
            rows, lines, faults = rows.iloc[order].reset_index(drop=True), lines[order], faults[order]
        return Records(rows, lines, faults), count

    def _wanted(self, table: pa.Table) -> NDArray[np.bool_]:
        """Say which rows are wanted, and count the others under the first reason that holds."""
        licenses = self._licenses
        tests = {
            "blank line": _each(table["marker"], lambda text: text != ""),
            "video": _each(table["marker"], lambda text: text != "1"),
            "no position": _filled(table["latitude"]) & _filled(table["longitude"]),
            f"accuracy below {self._min_accuracy}": _each(table["accuracy"], self._is_accurate),
        }
        if licenses is not None:
            tests["another licence"] = _each(table["license"], lambda text: license_name(text) in licenses)
        wanted = np.ones(len(table), dtype=bool)
        for reason, passes in tests.items():
            if left := int(np.count_nonzero(wanted & ~passes)):
                self.left_out[reason] += left
            wanted &= passes
        return wanted

    def _is_accurate(self, text: str) -> bool:
        return text.isdecimal() and int(text[:4]) >= self._min_accuracy

    def _rows(self, table: pa.Table) -> tuple[pd.DataFrame, NDArray[np.object_]]:
        cells = {name: _text(table[name]) for name in table.column_names if name != "marker"}
        names = cells["hash"] if "hash" in cells else pa.array(map(_hash, cells["url"].to_pylist()), pa.string())
        folders = [pc.utf8_slice_codeunits(names, start, start + 3) for start in (0, 3)]
        files = pc.binary_join_element_wise(names, ".jpg", "")
        rows = pd.DataFrame(
            {"image_path": _series(pc.binary_join_element_wise(self._images_dir, *folders, files, os.sep))}
        )
        faults = np.full(len(rows), "", dtype=object)
        for name in ("latitude", "longitude"):
            texts = _series(cells[name])
            numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
            for row in np.flatnonzero(np.isnan(numbers) & (faults == "")):
                faults[row] = f"{name} is not a number: {texts.iloc[row][:40]!r}"
            rows[name] = numbers
        rows["group"] = _series(
            group_names(cells["owner_id"], cells["taken"], rows[["latitude", "longitude"]].to_numpy())
        )
        rows["split"] = ""
        rows["source"] = "yfcc100m"
        for name in self.extra_columns:
            rows[name] = _series(_decoded(cells[name]) if name == "owner" else cells[name])
        return rows, faults


_Unpacked = IO[bytes] | gzip.GzipFile | bz2.BZ2File


def _unpacked(path: Path, packed: IO[bytes]) -> contextlib.AbstractContextManager[_Unpacked]:
    """Read through the compression that the file's ending tells."""
    match path.suffix.lower():
        case ".bz2":
            return bz2.BZ2File(packed)
        case ".gz":
            return gzip.GzipFile(fileobj=packed)
        case _:
            return contextlib.nullcontext(packed)


def _parse(block: bytes, columns: tuple[str, ...], broken: list[tuple[int, int]]) -> pa.Table:
    """Split lines into cells of bytes; rows of another length go to ``broken``: (number from 1, cells)."""

    def note(row: Any) -> str:
        broken.append((row.number, row.actual_columns))
        return "skip"

    read = [name for name in _READ if name in columns]
    return pa_csv.read_csv(
        pa.BufferReader(block),
        # One thread and one block: only so a broken row has a number.
        pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(columns)),
        pa_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False, invalid_row_handler=note),
        pa_csv.ConvertOptions(column_types=dict.fromkeys(read, pa.binary()), include_columns=read),
    )


def _each(column: pa.ChunkedArray, test: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Test the cells of a column that has few different ones, each of those once."""
    cells = column.combine_chunks().dictionary_encode()
    passes = [test(value.decode("utf-8", "replace")) for value in cells.dictionary.to_pylist()]
    which: NDArray[np.int32] = cells.indices.to_numpy()
    return np.array(passes, dtype=bool)[which]


def _filled(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    lengths: NDArray[np.int32] = pc.binary_length(column).to_numpy()
    return lengths > 0


def _text(column: pa.ChunkedArray) -> pa.Array:
    """Read bytes as UTF-8; what is none becomes a replacement character and does not stop the reading."""
    cells = column.combine_chunks()
    try:
        return cells.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([cell.decode("utf-8", "replace") for cell in cells.to_pylist()], pa.string())


def _decoded(column: pa.Array) -> pa.Array:
    """Undo the URL encoding of a column in which cells repeat; no spreadsheet runs what anybody wrote there."""
    cells = column.dictionary_encode()
    decoded = [guard(" ".join(unquote_plus(text).split())) for text in cells.dictionary.to_pylist()]
    return pa.array(decoded, pa.string()).take(cells.indices)


def _hash(url: str) -> str:
    return "".join(f"{byte:x}" for byte in hashlib.md5(url.encode(), usedforsecurity=False).digest())


def group_names(owners: Any, taken: Any, points: NDArray[np.float64]) -> pa.Array:
    """Name what must not straddle a split: an owner's photos of one day in one hundredth of a degree, about 1 km.

    Not the whole day: a day's journey would tie all the blocks on its way, and many journeys a continent.

    Args:
        owners: (n,) text.
        taken: (n,) text that begins with the day, 2012-02-16.
        points: (n, 2) degrees.
    """
    cells = np.floor(np.nan_to_num(points) * 100).astype(np.int64)
    places = [pa.array(cells[:, axis]).cast(pa.string()) for axis in (0, 1)]
    days = pc.utf8_slice_codeunits(pa.array(taken, pa.string()), 0, 10)
    return pc.binary_join_element_wise(pa.array(owners, pa.string()), days, *places, " ")


def _series(cells: pa.Array) -> pd.Series[str]:
    return cells.to_pandas().astype("str")  # type: ignore[no-any-return]
