"""Flickr's search for geotagged photos, written as a table that prepare and download read. It fetches no photo.

The method is flickr.photos.search of the REST API (www.flickr.com/services/api/flickr.photos.search.html), whose
documentation is the source of every limit and error code here. A query shows its first 4,000 photos only, so a larger
one is divided by the time of upload until its parts are small enough.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from math import isfinite, nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from geomind.data.csv_table import CsvWriter, read_chunks
from geomind.data.http import Answer, Client, Manners, TryAgainError
from geomind.data.licenses import FLICKR_LICENSES, license_name
from geomind.data.sources.yfcc100m import CITY_ACCURACY, group_names
from geomind.errors import ConfigError, DownloadError, OutputError
from geomind.files import atomic_path, hold, refuse_existing
from geomind.photos import IMAGE_SUFFIXES, position_fault
from geomind.progress import SILENT, Progress
from geomind.spreadsheets import guard

KEY_VARIABLE = "FLICKR_API_KEY"

ENDPOINT = "https://api.flickr.com/services/rest/"

MANNERS = Manners(per_second=1.0, backoff_s=2.0)
"""3,600 queries an hour and key are allowed (www.flickr.com/services/developer/api)."""

TABLE_COLUMNS = (
    "image_path", "latitude", "longitude", "group", "source", "url", "license", "owner", "page_url", "taken",
    "accuracy",
)  # fmt: skip

SHOWN_OF_A_QUERY = 4_000

PHOTOS_PER_PAGE = 250
"""The most that a query about places gives."""

_FIRST_UPLOAD = int(datetime(2004, 2, 1, tzinfo=UTC).timestamp())
"""Flickr opened in February 2004."""

_INVALID_KEY = 100

_PASSING_ERRORS = (10, 105, 106, 201)
"""Search, service or write "not currently available". 201 is not documented, and met by the Flickr Foundation's
client; the words are looked for as well."""

_SHOWN_OF_A_MESSAGE = 200

_MAX_ANSWER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class FlickrQuery:
    """Which photos are looked for; what is left out does not matter."""

    text: str = ""
    """Words of the title, the description or the tags."""

    tags: tuple[str, ...] = ()
    """A photo has one of them at least."""

    box: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west may be greater than east, across the date line."""

    taken_from: date | None = None
    taken_to: date | None = None
    """Both days belong to it."""

    licenses: frozenset[str] | None = None
    """Short names of ``geomind.data.licenses``."""

    min_accuracy: int = CITY_ACCURACY
    """Flickr's scale: 1 the world, 11 a city, 16 a street."""

    def __post_init__(self) -> None:
        if self.box is not None:
            west, south, east, north = self.box
            if not all(map(isfinite, self.box)) or max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
                raise ConfigError(f"The box {self.box} is not on Earth. Give west, south, east, north in degrees.")
            if south >= north or west == east:
                raise ConfigError(f"The box {self.box} is empty. Give west, south, east, north in degrees.")
        if self.taken_from and self.taken_to and self.taken_from > self.taken_to:
            raise ConfigError(f"No day is from {self.taken_from} to {self.taken_to}. Exchange the two.")
        if not 1 <= self.min_accuracy <= 16:
            raise ConfigError(f"Flickr's accuracy goes from 1 to 16, so {self.min_accuracy} is none.")

    def boxes(self) -> list[str]:
        """Give the box as Flickr takes it, in two parts where it crosses the date line; "" without one."""
        if self.box is None:
            return [""]
        west, south, east, north = self.box
        parts = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
        return [f"{left:g},{south:g},{right:g},{north:g}" for left, right in parts if left < right]

    def arguments(self) -> dict[str, str]:
        """Give the arguments of the method that stay the same from page to page."""
        wanted = {
            "method": "flickr.photos.search",
            "format": "json",
            "nojsoncallback": "1",
            "media": "photos",
            "content_type": "1",  # no screenshots, no drawings
            "has_geo": "1",
            "extras": "geo,license,date_taken,owner_name,url_m",
            "sort": "date-posted-desc",
            "per_page": str(PHOTOS_PER_PAGE),
            "text": self.text,
            "tags": ",".join(self.tags),
            "tag_mode": "any" if self.tags else "",
            "min_taken_date": f"{self.taken_from} 00:00:00" if self.taken_from else "",
            "max_taken_date": f"{self.taken_to} 23:59:59" if self.taken_to else "",
            "license": ",".join(str(i) for i, (name, _) in FLICKR_LICENSES.items() if name in (self.licenses or ())),
        }
        return {name: value for name, value in wanted.items() if value}

    def describe(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        values = asdict(self) | {"licenses": sorted(self.licenses) if self.licenses is not None else None}
        described: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return described


@dataclass(frozen=True)
class SearchSummary:
    """What a search brought."""

    photos: int
    left_out: Mapping[str, int]
    """Why -> photos that Flickr gave and the table does not have."""

    hidden: int
    """Photos that Flickr counts and does not show, as more than it shows were uploaded in one second."""

    resumed: bool
    output: Path


@dataclass
class _State:
    """How far a search is, as it is kept beside its table."""

    query: dict[str, Any]
    parts: list[tuple[int, int, int]]
    """What is still to be asked, the next one last: box, first and last second of upload (Unix time). None ends later
    than the search began, so that pages do not shift while they are read."""

    page: int = 1
    """Of the next part."""

    kept_bytes: int = 0
    photos: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_ids: list[str] = field(default_factory=list)
    """Photos left out of a part that is read and divided all the same: they are met again, and not to be counted
    again. At most one such part is read, so they are few."""

    hidden: int = 0
    shown_did_not_do: bool = False
    """The photos shown of a part that has more were too few for the count, so parts are divided from now on."""


def search_flickr(
    query: FlickrQuery,
    output: Path,
    *,
    api_key: str,
    count: int | None = None,
    overwrite: bool = False,
    endpoint: str = ENDPOINT,
    manners: Manners = MANNERS,
    progress: Progress = SILENT,
) -> SearchSummary:
    """Write a table of the photos that Flickr has for a query, the latest uploads first.

    The table is ``<output>.partial`` until it is complete, and ``<output>.search.json`` says how far it is: the same
    search, started again after it was stopped, goes on there. Photos are not fetched; ``url`` is where each is, 500
    pixels wide or high.

    Args:
        query: What is looked for.
        output: The table to write, a .csv.
        api_key: Flickr's key of whoever asks. It is sent in the body of each request, and written nowhere.
        count: The search ends with so many photos; with all if left out.
        overwrite: Replace an existing table, and an unfinished search for something else.
        endpoint: Where the API is.
        manners: Pace, retries and timeouts.
        progress: Shows the photos found.

    Raises:
        ConfigError: there is no key.
        DownloadError: Flickr refuses the query or the key, cannot be reached, or has no such photo.
        OutputError: the table exists, an unfinished search for something else does, or nothing can be written.
    """
    if not api_key.strip():
        raise ConfigError(
            f"{KEY_VARIABLE} is not set. Ask Flickr for a key at https://www.flickr.com/services/apps/create/ and put "
            "it into this variable of your environment."
        )
    output = Path(output)
    if output.suffix.lower() != ".csv":
        raise OutputError(f"The table is a CSV; let {output} end in .csv.")
    refuse_existing(output, overwrite=overwrite)
    try:
        with (
            contextlib.closing(_Search(query, output, overwrite=overwrite)) as search,
            Client(manners) as client,
            progress.track("Searching Flickr", count) as advance,
        ):
            advance(search.state.photos)
            while search.state.parts and (count is None or search.state.photos < count):
                page = _ask(client, endpoint, query.arguments() | search.arguments(), api_key.strip(), search)
                advance(search.take(page, count), note=f"{len(search.state.parts):,} parts left")
            return search.finish()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"Cannot write {output}: {reason}. Choose another output or free the disk.") from error


@dataclass(frozen=True)
class _Page:
    """One page of an answer."""

    photos: Sequence[Any]
    """As they came: a photo may be no mapping, which ``_row`` sees to."""

    total: int
    pages: int
    per_page: int


class _RefusedError(DownloadError):
    """The API understood the question and does not answer it."""


def _ask(client: Client, endpoint: str, arguments: Mapping[str, str], api_key: str, search: _Search) -> _Page:
    """Get one page of photos.

    Raises:
        DownloadError: the API gives no answer, or a refusal.
    """
    try:
        return client.fetch(
            endpoint, lambda answer: _read_page(answer, api_key), form={**arguments, "api_key": api_key}
        )
    except _RefusedError:
        raise
    except DownloadError as error:
        kept = f"{photos:,} photos are kept in {search.partial}; the" if (photos := search.state.photos) else "The"
        raise DownloadError(f"Flickr cannot be asked: {error}. {kept} same command goes on later.") from error


def _read_page(answer: Answer, api_key: str) -> _Page:
    """Read what the API says; where it says that it is out of order, or nothing that makes sense, try again.

    Raises:
        DownloadError: it refuses. No message holds the key, though the API may repeat it.
    """
    try:
        said = json.loads(answer.read(_MAX_ANSWER_BYTES))
        code, message = int(said.get("code") or 0), str(said.get("message", ""))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise TryAgainError("no JSON") from None  # the cause holds the whole answer
    message = " ".join(message.replace(api_key, "(the key)").split())[:_SHOWN_OF_A_MESSAGE]
    if code in _PASSING_ERRORS or "not currently available" in message:
        raise TryAgainError(f"{message} (error {code})")
    if code == _INVALID_KEY:
        raise _RefusedError(
            f"Flickr does not accept the key in {KEY_VARIABLE}: {message}. "
            "Copy it again from https://www.flickr.com/services/apps/."
        )
    if said.get("stat") != "ok":
        raise _RefusedError(f"Flickr refuses the search: {message} (error {code}). Change the search.")
    try:
        page = said["photos"]
        photos = page.get("photo") or []
        total, pages = int(page.get("total") or 0), int(page.get("pages") or 1)
        per_page = int(page.get("perpage") or PHOTOS_PER_PAGE)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise TryAgainError("no page of photos") from None
    if not isinstance(photos, list) or per_page < 1:
        raise TryAgainError("no page of photos")
    return _Page(photos, total, pages, per_page)


class _Search:
    """A search under way: its table so far, and the file that says how far that is."""

    def __init__(self, query: FlickrQuery, output: Path, *, overwrite: bool) -> None:
        self.partial = output.with_name(f"{output.name}.partial")
        self.resumed = False
        self._output = output
        self._boxes = query.boxes()
        self._licenses = query.licenses
        self._min_accuracy = query.min_accuracy
        self._state_path = output.with_name(f"{output.name}.search.json")
        self._seen: set[str] = set()
        self._unlock = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            is_there = self.partial.exists()
            held = undo.enter_context(self.partial.open("ab"))
            hold(held, self.partial)
            self.state = self._begin(query, is_there=is_there, overwrite=overwrite)
            keep_bytes = self.state.kept_bytes if self.resumed else None
            self._table = CsvWriter(self.partial, TABLE_COLUMNS, keep_bytes=keep_bytes)
            undo.callback(self._table.close)
            if self.resumed:  # after the cut: what is cut off was not seen
                self._seen.update(self.state.left_out_ids)
                for chunk in read_chunks(self.partial, 10_000):
                    self._seen.update(Path(path).stem for path in chunk.cells["image_path"])
            self._unlock = undo.pop_all()

    def _begin(self, query: FlickrQuery, *, is_there: bool, overwrite: bool) -> _State:
        """Take up the search that was stopped, or begin one."""
        if is_there and self._state_path.exists():
            try:
                state = _State(**json.loads(self._state_path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise OutputError(f"{self._state_path} cannot be read. Delete it to search anew.") from error
            if state.query == query.describe():
                self.resumed = True
                return state
            if not overwrite:
                raise OutputError(
                    f"{self.partial} is an unfinished search for something else. Finish that one, choose another "
                    "output, or give it up with --overwrite."
                )
        until = int(datetime.now(UTC).timestamp())
        parts = [(box, _FIRST_UPLOAD, until) for box in reversed(range(len(self._boxes)))]
        return _State(query.describe(), parts)

    def arguments(self) -> dict[str, str]:
        """Give the arguments of the next page."""
        box, first, last = self.state.parts[-1]
        uploaded = {"min_upload_date": str(first), "max_upload_date": str(last), "page": str(self.state.page)}
        return uploaded | ({"bbox": self._boxes[box]} if self._boxes[box] else {})

    def take(self, page: _Page, count: int | None) -> int:
        """Write a page's photos, plan what to ask next, and tell how many photos are new."""
        state = self.state
        box, first, last = state.parts[-1]
        too_many = page.total > SHOWN_OF_A_QUERY and first < last
        lacking = None if count is None else count - state.photos
        # A part is divided before it is read, unless the photos that it shows may be all that are wanted.
        is_large = lacking is None or lacking > SHOWN_OF_A_QUERY or state.shown_did_not_do
        divide = too_many and state.page == 1 and is_large
        new = 0 if divide else self._write(page.photos, lacking, are_met_again=too_many)
        at_end = not page.photos or state.page >= min(page.pages, SHOWN_OF_A_QUERY // page.per_page)
        if divide or (at_end and too_many):
            middle = (first + last) // 2
            state.parts[-1:] = [(box, first, middle), (box, middle + 1, last)]
            state.page = 1
            state.shown_did_not_do |= at_end
        elif at_end:
            state.hidden += max(0, page.total - SHOWN_OF_A_QUERY)
            state.parts.pop()
            state.page = 1
        else:
            state.page += 1
        self._save()
        return new

    def _write(self, found: Sequence[Any], lacking: int | None, *, are_met_again: bool) -> int:
        """Append the photos of a page that are wanted."""
        rows: list[dict[str, Any]] = []
        for photo in found:
            if lacking is not None and len(rows) >= lacking:
                break
            row = _row(photo)
            if row["photo_id"] and row["photo_id"] in self._seen:
                continue
            if reason := self._unwanted(row):
                self.state.left_out[reason] = self.state.left_out.get(reason, 0) + 1
                if are_met_again:
                    self.state.left_out_ids.append(row["photo_id"])
            else:
                rows.append(row)
            self._seen.add(row["photo_id"])
        if rows:
            frame = pd.DataFrame(rows)
            points = frame[["latitude", "longitude"]].to_numpy(dtype=np.float64)
            frame["group"] = group_names(frame["owner_id"], frame["taken"], points)
            self._table.append(frame)
            self.state.photos += len(rows)
        return len(rows)

    def _unwanted(self, row: Mapping[str, Any]) -> str:
        """Say why a photo is left out; "" where it is not."""
        if not row["photo_id"].isdecimal() or not row["url"]:
            return "no address"
        if position_fault(row["latitude"], row["longitude"]):
            return "no position"
        if row["accuracy"] < self._min_accuracy:
            return f"accuracy below {self._min_accuracy}"
        if self._licenses is not None and license_name(row["license"]) not in self._licenses:
            return "another licence"
        return ""

    def _save(self) -> None:
        """Bring the table to the disk first, then how far it is."""
        self.state.kept_bytes = self._table.sync()
        with atomic_path(self._state_path) as temporary:
            temporary.write_text(json.dumps(asdict(self.state)), encoding="utf-8")

    def finish(self) -> SearchSummary:
        """Give the table its name.

        Raises:
            DownloadError: there is no photo in it.
        """
        state = self.state
        if not state.photos:
            left_out = ", ".join(f"{reason} ({count:,})" for reason, count in state.left_out.items())
            raise DownloadError(f"Flickr shows no photo for this search. Left out were: {left_out or 'none'}.")
        self._table.close()
        self.partial.replace(self._output)
        self._state_path.unlink()
        return SearchSummary(state.photos, dict(state.left_out), state.hidden, self.resumed, self._output)

    def close(self) -> None:
        """Close the table; what is in it stays, for a search that was stopped."""
        with self._unlock:
            if not self.state.photos:
                self.partial.unlink()
                self._state_path.unlink(missing_ok=True)


def _row(photo: Any) -> dict[str, Any]:
    """Read one photo of an answer. Numbers come as numbers or as text, and any field may be missing.

    What has no address, or none that is one, has an empty ``url``. No spreadsheet runs what anybody wrote.
    """
    fields = photo if isinstance(photo, dict) else {}
    cells = {name: guard(" ".join(str(value).split())) for name, value in fields.items() if value is not None}
    photo_id, owner_id = cells.get("id", ""), cells.get("owner", "")
    url = cells.get("url_m", "")
    if not url and cells.get("server") and cells.get("secret"):  # www.flickr.com/services/api/misc.urls.html
        url = f"https://live.staticflickr.com/{cells['server']}/{photo_id}_{cells['secret']}.jpg"
    try:
        suffix = Path(urlsplit(url).path).suffix.lower()
    except ValueError:
        url = suffix = ""
    license_id = cells.get("license", "")
    name, page = FLICKR_LICENSES.get(int(license_id[:4]) if license_id.isdecimal() else -1, (license_id, ""))
    accuracy = cells.get("accuracy", "")
    return {
        "photo_id": photo_id,
        "owner_id": owner_id,
        "image_path": f"flickr/{photo_id[-2:]}/{photo_id}{suffix if suffix in IMAGE_SUFFIXES else '.jpg'}",
        "latitude": _degrees(cells.get("latitude", "")),
        "longitude": _degrees(cells.get("longitude", "")),
        "source": "flickr",
        "url": url,
        "license": page or name,
        "owner": cells.get("ownername", ""),
        "page_url": f"https://www.flickr.com/photos/{owner_id}/{photo_id}/",
        "taken": cells.get("datetaken", ""),
        "accuracy": int(accuracy[:4]) if accuracy.isdecimal() else 0,
    }


def _degrees(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
