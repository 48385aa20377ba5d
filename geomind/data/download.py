"""Fetching the photos of a table to where its paths say: verified, resumed, every row accounted for.

It knows no place and no region. ``geomind.data.http`` is what talks to the network.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from geomind.data.http import Answer, Client, Manners
from geomind.data.licenses import license_name
from geomind.data.sources.table import NAMES, table_file
from geomind.errors import DownloadError, GoneError, ManifestError, OutputError, PhotoError
from geomind.files import atomic_path
from geomind.photos import IMAGE_SUFFIXES, open_photo
from geomind.progress import SILENT, Progress
from geomind.spreadsheets import guard, unguard

REPORT_COLUMNS = ("image_path", "line", "url", "outcome", "reason")

OUTCOMES = ("fetched", "present", "dead", "refused", "failed")

MAX_BYTES = 64 * 2**20
"""Larger files are refused unless asked for; Flickr's largest photos have 200 MB, those of 500 pixels 0.2."""

_CHUNK_ROWS = 1_000

_WAITING_PER_WORKER = 16
"""Rows read ahead for each worker. They are reported in their order, so a slow one holds up so many."""

_LONGEST_NAME = 255
"""Bytes of a file's name on nearly every file system."""

_LONGEST_PATH = 4_095
"""Bytes of a path on Linux; others take less, which is then found out when it is written."""

_MOST_PARTS = 200
"""Folders one in another. Making them takes a level of Python's stack each, of which there are 1,000."""

_UNWRITABLE_PATH = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
"""What is wrong with one path and not with the disk, as where its folder's name is another photo's."""

_CANNOT_BE_WRITTEN = "path cannot be written"

_LEADS_OUT = "path leads out of the folder of photos"

_OTHER_TYPES = ("", "application/octet-stream", "binary/octet-stream")
"""What stores answer beside image/…; the content decides."""

_REMOVED_FROM_FLICKR = "photo_unavailable"
"""Flickr answers for a removed photo with a redirect to a picture that says so, as
s.yimg.com/pw/images/en-us/photo_unavailable_l.png (openimages/dataset issue 9)."""

_REMOVED_PICTURE = (2051, "880a7a58e05d3e83797f27573bb6d35c")
"""Size and MD5 of that picture in its most frequent form; ImageNet's downloaders know it by them."""


@dataclass(frozen=True)
class DownloadSummary:
    """What became of the rows: ``fetched + present + dead + refused + failed == rows``."""

    rows: int
    fetched: int
    present: int
    """Photos that were there already, and can be decoded."""

    dead: int
    """The photo is gone for good; it is not asked for again as long as the report names it."""

    refused: int
    """Its licence is not among those asked for, or is not known."""

    failed: int
    """Everything else; the next run tries again."""

    reasons: Mapping[str, int]
    """Kind of reason (what stands before its colon) -> rows that did not come for it, the most frequent first."""

    report_path: Path
    """The CSV of the rows that are not there, with the outcome and reason of each."""


def download_photos(
    table: Path,
    *,
    images_dir: Path | None = None,
    licenses: frozenset[str] | None = None,
    workers: int = 8,
    max_bytes: int = MAX_BYTES,
    manners: Manners | None = None,
    progress: Progress = SILENT,
) -> DownloadSummary:
    """Fetch the photos of a manifest, or of any table with a path and a ``url`` a row.

    A photo is written only when it has come in full and can be decoded. One that is there already is not fetched again,
    so that a run that was stopped goes on where it stopped. ``<table>.download.csv`` lists the rows whose photos are
    not there. Nothing is written outside the folder of photos, whatever the table says.

    Args:
        table: .csv, .tsv or .parquet.
        images_dir: The folder of photos, from which relative paths are taken; the table's own folder if left out.
        licenses: Short names of the licences wanted, read from the column ``license``; all if left out.
        workers: Photos fetched at a time.
        max_bytes: The largest file taken.
        manners: Pace, retries and timeouts.
        progress: Shows the rows done.

    Raises:
        ManifestError: the table cannot be read, or lacks a column.
        DownloadError: not one photo came, and none was there.
        OutputError: a photo or the report cannot be written, or another file has the report's name.
    """
    table = Path(table)
    columns = _Columns.of(table)
    if licenses is not None and columns.license is None:
        raise ManifestError(f"{table} has no column 'license' to choose by. Leave out the licences to fetch all.")
    root = os.path.abspath(images_dir or table.parent)  # noqa: PTH100  links stay as they are written
    if os.path.exists(root) and not os.path.isdir(root):  # noqa: PTH110, PTH112
        raise OutputError(f"{root} is no folder. Name the folder of photos with --images-dir.")
    report_path = table.with_name(f"{table.stem}.download.csv")
    dead_before = {hash(row["url"]): row["reason"] for row in _reported(report_path) if row["outcome"] == "dead"}
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    stopped: BaseException | None = None
    with atomic_path(report_path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        report = csv.DictWriter(file, REPORT_COLUMNS, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        report.writeheader()
        try:
            with (
                progress.track("Fetching photos", table_file(table).count_nearly()) as advance,
                ThreadPoolExecutor(workers) as pool,
                Client(manners, connections=workers) as client,  # closed before the pool, whose work it ends
            ):
                fetcher = _Fetcher(client, max_bytes, dead_before)
                wishes = (_wish(root, licenses, *row) for row in columns.rows(table))
                for wish, outcome, reason in _in_order(wishes, fetcher.fetch, pool, workers):
                    counts[outcome] += 1
                    dead_before.pop(hash(wish.url), None)
                    if reason:
                        reasons[reason.partition(": ")[0]] += 1
                        cells = (wish.image_path, wish.line, wish.url, outcome, reason)
                        report.writerow(_guarded(dict(zip(REPORT_COLUMNS, cells, strict=True))))
                    advance(1, note=", ".join(f"{counts[name]:,} {name}" for name in ("fetched", "dead", "failed")))
        except BaseException as error:  # noqa: BLE001  raised again below: Ctrl-C must not lose what is known
            stopped = error
        for row in _reported(report_path):
            if stopped is not None and row["outcome"] == "dead" and hash(row["url"]) in dead_before:
                report.writerow(_guarded(row))
    if stopped is not None:
        raise stopped
    if not counts["fetched"] + counts["present"]:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        raise DownloadError(
            f"None of the {counts.total():,} photos of {table} came: {why or 'it has no row'}. "
            f"{report_path} gives the reason of each."
            + (" Name the folder that the paths lead into with --images-dir." if reasons[_LEADS_OUT] else "")
        )
    fetched, present, dead, refused, failed = (counts[outcome] for outcome in OUTCOMES)
    total = counts.total()
    return DownloadSummary(total, fetched, present, dead, refused, failed, dict(reasons.most_common()), report_path)


@dataclass(frozen=True)
class _Wish:
    """A row of the table, and where its photo belongs."""

    image_path: str
    line: int
    url: str
    path: Path
    outcome: str = ""
    """Known before anything is fetched: refused or failed."""

    reason: str = ""


@dataclass(frozen=True)
class _Columns:
    """The columns of a table that are of interest here."""

    image_path: str
    url: str
    license: str | None

    @classmethod
    def of(cls, table: Path) -> _Columns:
        """Find them in a table's header, in any case.

        Raises:
            ManifestError: the table cannot be read, or has none for the path or the address.
        """
        header = table_file(table).header()
        by_name = {name.lower(): name for name in reversed(header)}
        path = next((by_name[name] for name in NAMES["image_path"] if name in by_name), None)
        if path is None or "url" not in by_name:
            missing = "url" if path else " or ".join(NAMES["image_path"])
            raise ManifestError(f"{table} has no column {missing}: it has {', '.join(header)[:200]}.")
        return cls(path, by_name["url"], by_name.get("license"))

    def rows(self, table: Path) -> Iterator[tuple[int, str, str, str, str]]:
        """Give each row: line, path, address, licence, and what is wrong with it."""
        for chunk in table_file(table).chunks(_CHUNK_ROWS, 0):
            licenses = chunk.cells[self.license] if self.license else itertools.repeat("")
            cells = (chunk.cells[self.image_path], chunk.cells[self.url], licenses, chunk.faults)
            yield from zip(chunk.lines.tolist(), *cells, strict=False)


def _wish(
    root: str, licenses: frozenset[str] | None, line: int, image_path: str, url: str, license_cell: str, fault: str
) -> _Wish:
    """Judge a row by what it says."""
    path = os.path.normpath(os.path.join(root, image_path))  # noqa: PTH118  Path does not resolve ".."
    outcome, reason = "failed", fault or _path_fault(root, image_path, path) or ("" if url else "no url")
    if not reason and licenses is not None and (name := license_name(license_cell)) not in licenses:
        outcome, reason = "refused", f"licence not asked for: {name or license_cell or 'unknown'}"
    return _Wish(image_path, line, url, Path(path), outcome if reason else "", reason)


def _path_fault(root: str, image_path: str, path: str) -> str:
    """Say why nothing may be written to where a row's path leads; "" where it may."""
    if not image_path:
        return "no path"
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return _LEADS_OUT
    parts = Path(path).parts
    if (
        "\0" in path
        or len(os.fsencode(path)) > _LONGEST_PATH
        or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
        or len(parts) > _MOST_PARTS
    ):
        return _CANNOT_BE_WRITTEN
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return "" if suffix in IMAGE_SUFFIXES else f"path has no image's ending: {suffix!r}"


def _in_order(
    wishes: Iterator[_Wish], fetch: Callable[[_Wish], tuple[str, str]], pool: ThreadPoolExecutor, workers: int
) -> Iterator[tuple[_Wish, str, str]]:
    """Fetch several photos at a time, and give what became of them in the order of the wishes."""
    waiting: deque[tuple[_Wish, Future[tuple[str, str]] | None]] = deque()
    under_way: set[Path] = set()

    def first() -> tuple[_Wish, str, str]:
        wish, future = waiting.popleft()
        if future is None:
            return wish, wish.outcome, wish.reason
        outcome, reason = future.result()
        under_way.discard(wish.path)
        return wish, outcome, reason

    for wish in wishes:
        while len(waiting) >= workers * _WAITING_PER_WORKER or wish.path in under_way:
            yield first()
        if wish.outcome:
            waiting.append((wish, None))
        else:
            under_way.add(wish.path)
            waiting.append((wish, pool.submit(fetch, wish)))
    while waiting:
        yield first()


@dataclass(frozen=True)
class _Fetcher:
    """Fetches one photo, in whatever thread."""

    client: Client
    max_bytes: int
    dead_before: Mapping[int, str]
    """Hash of an address -> why it is dead; addresses themselves would take three times the memory."""

    def fetch(self, wish: _Wish) -> tuple[str, str]:
        """Bring a photo to its path, and tell the outcome and, where it is not there, the reason."""
        if _is_there(wish.path):
            return "present", ""
        if reason := self.dead_before.get(hash(wish.url)):
            return "dead", reason
        try:
            self.client.fetch(wish.url, lambda answer: self._write(answer, wish.path))
        except GoneError as error:
            return "dead", str(error)
        except DownloadError as error:
            return "failed", str(error)
        except OutputError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _UNWRITABLE_PATH:
                return "failed", _CANNOT_BE_WRITTEN
            raise
        return "fetched", ""

    def _write(self, answer: Answer, path: Path) -> None:
        if _REMOVED_FROM_FLICKR in answer.url:
            raise GoneError("removed from Flickr")
        if not (answer.content_type.startswith("image/") or answer.content_type in _OTHER_TYPES):
            raise DownloadError(f"not an image: {answer.content_type}")
        with atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                for data in answer.chunks(self.max_bytes):
                    file.write(data)
            if temporary.stat().st_size == _REMOVED_PICTURE[0] and _md5(temporary) == _REMOVED_PICTURE[1]:
                raise GoneError("removed from Flickr")
            try:
                open_photo(temporary, min_side=1)
            except PhotoError as error:
                raise DownloadError(str(error)) from error


def _is_there(path: Path) -> bool:
    try:
        open_photo(path, min_side=1)
    except PhotoError:
        return False
    return True


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _guarded(row: Mapping[str, str | int]) -> dict[str, str | int]:
    """Write a stranger's texts so that no spreadsheet runs them."""
    return {name: guard(value) if isinstance(value, str) else value for name, value in row.items()}


def _reported(report_path: Path) -> Iterator[dict[str, str]]:
    """Read the report of an earlier run, if there is one.

    Raises:
        OutputError: the file is somebody's other table, which must not be replaced.
    """
    with contextlib.suppress(FileNotFoundError), report_path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            if tuple(rows.fieldnames or ()) != REPORT_COLUMNS:
                raise csv.Error
            for row in rows:
                yield {name: unguard(cell or "") for name, cell in row.items() if name}
        except (csv.Error, UnicodeDecodeError) as error:
            raise OutputError(f"{report_path} is no report of an earlier download. Move it elsewhere.") from error
