from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from local_server import Asked, LocalServer, Reply, StopAfter
from typer.testing import CliRunner

from geomind.cli import app
from geomind.data.http import Manners
from geomind.data.sources import flickr
from geomind.data.sources.flickr import TABLE_COLUMNS, FlickrQuery, SearchSummary, search_flickr
from geomind.data.sources.table import Table
from geomind.errors import ConfigError, DownloadError, GeoMindError, OutputError

FAST = Manners(per_second=10_000, tries=3, backoff_s=0.001, longest_wait_s=2, timeout_s=2, deadline_s=5)

KEY = "0123456789abcdef0123456789abcdef"


def photo(number: int, uploaded: int = 1_400_000_000, **fields: Any) -> dict[str, Any]:
    """Describe a photo as flickr.photos.search does with the extras geo, license, date_taken, owner_name and url_m.

    Numbers are sometimes text there, as they are here.
    """
    latitude, longitude = 10 + number % 50 / 10, 20 - number % 70 / 10
    return {
        "id": str(50_000_000_000 + number), "owner": f"{number % 5}@N00", "secret": "abcdef", "server": "65535",
        "farm": 66, "title": "=A title", "ispublic": 1, "isfriend": 0, "isfamily": 0, "license": "4",
        "datetaken": "2014-05-13 10:00:00", "datetakengranularity": 0, "datetakenunknown": "0",
        "ownername": f"Owner  {number % 5}", "latitude": str(latitude), "longitude": longitude, "accuracy": "16",
        "context": 0, "place_id": "", "woeid": "1", "geo_is_public": 1,
        "url_m": f"https://live.staticflickr.com/65535/{50_000_000_000 + number}_abcdef.jpg", "height_m": 333,
        "width_m": "500", "_uploaded": uploaded,
    } | fields  # fmt: skip


class FakeFlickr:
    """Answers flickr.photos.search as it is documented: filters, pages, and so many photos of a query and no more."""

    def __init__(self, photos: list[dict[str, Any]]) -> None:
        self.photos = sorted(photos, key=lambda each: -each["_uploaded"])
        self.queries: list[dict[str, str]] = []
        self.troubles: list[Reply] = []
        """Answered first, one each."""

    def __call__(self, asked: Asked) -> Reply:
        self.queries.append(dict(asked.form))
        if self.troubles:
            return self.troubles.pop(0)
        query = asked.form
        assert (asked.method, asked.path) == ("POST", "/services/rest/")
        assert (query["method"], query["format"], query["nojsoncallback"]) == ("flickr.photos.search", "json", "1")
        assert query["has_geo"] == "1"
        if query["api_key"] != KEY:
            return failure(100, "Invalid API Key (Key has invalid format)")
        if query.get("text") == "forbidden":
            return failure(18, "Illogical arguments")
        first, last = int(query["min_upload_date"]), int(query["max_upload_date"])
        found = [each for each in self.photos if first <= each["_uploaded"] <= last and self._fits(each, query)]
        per_page, page = min(int(query["per_page"]), 250), int(query["page"])
        pages = -(-len(found) // per_page)
        start = min(
            (page - 1) * per_page, flickr.SHOWN_OF_A_QUERY - per_page
        )  # beyond, the last page comes again and again
        shown = [
            {name: value for name, value in each.items() if name != "_uploaded"}
            for each in found[start : start + per_page]
        ]
        photos = {"page": page, "pages": pages, "perpage": per_page, "total": str(len(found)), "photo": shown}
        return Reply(body=json.dumps({"photos": photos, "stat": "ok"}).encode())

    def _fits(self, each: dict[str, Any], query: Any) -> bool:
        if "license" in query and each["license"] not in query["license"].split(","):
            return False
        if "bbox" in query:
            west, south, east, north = map(float, query["bbox"].split(","))
            assert west < east
            assert south < north
            return west <= float(each["longitude"]) <= east and south <= float(each["latitude"]) <= north
        return True


@pytest.fixture
def few_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show 1,000 photos of a query and not 4,000, which takes a test a quarter of the time."""
    monkeypatch.setattr(flickr, "SHOWN_OF_A_QUERY", 1_000)


def failure(code: int, message: str) -> Reply:
    return Reply(body=json.dumps({"stat": "fail", "code": code, "message": message}).encode())


def search(
    server: LocalServer, fake: FakeFlickr, output: Path, query: FlickrQuery | None = None, **options: Any
) -> SearchSummary:
    server.replies["/services/rest/"] = fake
    options = {"api_key": KEY, "manners": FAST} | options
    return search_flickr(query or FlickrQuery(), output, endpoint=server.url("/services/rest/"), **options)


def ids(output: Path) -> list[int]:
    frame = pd.read_csv(output, keep_default_na=False, dtype=str)
    return [int(Path(path).stem) - 50_000_000_000 for path in frame["image_path"]]


def test_a_photo_becomes_a_row(server: LocalServer, tmp_path: Path) -> None:
    output = tmp_path / "flickr.csv"
    done = search(server, FakeFlickr([photo(7)]), output)
    assert (done.photos, done.left_out, done.hidden, done.resumed, done.output) == (1, {}, 0, False, output)
    frame = pd.read_csv(output, keep_default_na=False)
    assert tuple(frame.columns) == TABLE_COLUMNS
    (row,) = frame.to_dict("records")
    assert row == {
        "image_path": "flickr/07/50000000007.jpg",
        "latitude": 10.7,
        "longitude": 19.3,
        "group": "2@N00 2014-05-13 1070 1930",
        "source": "flickr",
        "url": "https://live.staticflickr.com/65535/50000000007_abcdef.jpg",
        "license": "https://creativecommons.org/licenses/by/2.0/",
        "owner": "Owner 2",
        "page_url": "https://www.flickr.com/photos/2@N00/50000000007/",
        "taken": "2014-05-13 10:00:00",
        "accuracy": 16,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flickr.csv"]


def test_the_table_is_one_that_prepare_reads(server: LocalServer, tmp_path: Path) -> None:
    output = tmp_path / "flickr.csv"
    search(server, FakeFlickr([photo(n) for n in range(5)]), output)
    (records,) = Table.open(output).chunks(10)
    assert records.faults.tolist() == [""] * 5
    assert records.rows["image_path"][0] == str(tmp_path / "flickr/00/50000000000.jpg")
    assert records.rows["group"][0].startswith("0@N00 2014-05-13")
    assert records.rows["source"].tolist() == ["flickr"] * 5
    assert Table.open(output).extra_columns == ("url", "license", "owner", "page_url", "taken", "accuracy")


def test_the_query_is_what_was_asked_for(server: LocalServer, tmp_path: Path) -> None:
    fake = FakeFlickr([photo(1)])
    query = FlickrQuery(
        text="old bridge", tags=("river", "köln"), box=(-10.5, 0, 30, 45.25), taken_from=date(2012, 1, 2),
        taken_to=date(2014, 12, 31), licenses=frozenset({"by", "cc0"}),
    )  # fmt: skip
    search(server, fake, tmp_path / "a.csv", query)
    (asked,) = fake.queries
    expected = {
        "text": "old bridge", "tags": "river,köln", "tag_mode": "any", "bbox": "-10.5,0,30,45.25",
        "min_taken_date": "2012-01-02 00:00:00", "max_taken_date": "2014-12-31 23:59:59", "license": "4,9,11",
        "media": "photos", "content_type": "1", "per_page": "250", "page": "1", "sort": "date-posted-desc",
        "extras": "geo,license,date_taken,owner_name,url_m", "api_key": KEY,
    }  # fmt: skip
    assert expected.items() <= asked.items()
    assert int(asked["min_upload_date"]) < 1_080_000_000


def test_more_than_a_query_shows_is_found_in_parts(server: LocalServer, tmp_path: Path) -> None:
    """Flickr shows the first 4,000 photos of a query, and repeats its last page beyond them."""
    rng = np.random.default_rng(0)
    fake = FakeFlickr([photo(n, int(rng.integers(1_100_000_000, 1_700_000_000))) for n in range(9_500)])
    done = search(server, fake, tmp_path / "a.csv")
    assert sorted(ids(tmp_path / "a.csv")) == list(range(9_500))
    assert (done.photos, done.hidden, done.left_out) == (9_500, 0, {})
    assert all(int(query["page"]) <= 16 for query in fake.queries)
    assert len(fake.queries) < 9_500 / 250 * 1.5


@pytest.mark.usefixtures("few_shown")
def test_a_flood_of_one_second_is_said_to_be_hidden(server: LocalServer, tmp_path: Path) -> None:
    fake = FakeFlickr([photo(n) for n in range(1_100)])
    done = search(server, fake, tmp_path / "a.csv")
    assert (done.photos, done.hidden) == (1_000, 100)


@pytest.mark.usefixtures("few_shown")
def test_a_count_ends_the_search_with_the_latest(server: LocalServer, tmp_path: Path) -> None:
    photos = [photo(n, 1_200_000_000 + n) for n in range(1_500)]
    fake = FakeFlickr(photos)
    assert search(server, fake, tmp_path / "a.csv", count=300).photos == 300
    assert ids(tmp_path / "a.csv") == list(range(1_499, 1_199, -1))
    assert len(fake.queries) == 2
    assert search(server, FakeFlickr(photos), tmp_path / "b.csv", count=1_200).photos == 1_200
    assert search(server, FakeFlickr(photos), tmp_path / "c.csv", count=50_000).photos == 1_500


@pytest.mark.usefixtures("few_shown")
def test_a_count_is_reached_beyond_what_a_query_shows(server: LocalServer, tmp_path: Path) -> None:
    """The photos shown first do not fit the accuracy; those behind them are asked for once, and not again and again."""
    fake = FakeFlickr([photo(n, 1_200_000_000 + n, accuracy=16 if n < 1_000 else 3) for n in range(2_000)])
    done = search(server, fake, tmp_path / "a.csv", count=700)
    assert done.photos == 700
    assert done.left_out == {"accuracy below 11": 1_000}
    assert set(ids(tmp_path / "a.csv")) <= set(range(1_000))
    assert len(fake.queries) < 60


def test_what_does_not_fit_is_left_out_and_counted(server: LocalServer, tmp_path: Path) -> None:
    """Whatever the API takes its arguments for, the table holds what was asked for."""
    fake = FakeFlickr([
        photo(1),
        photo(2, accuracy=10),
        photo(3, latitude=0, longitude="0"),
        photo(4, latitude=None),
        photo(5, latitude="north"),
        photo(6, longitude=181),
        photo(7, id="../../etc/passwd"),
        photo(8, url_m=None, secret=None),
        photo(9, accuracy=None),
    ])  # fmt: skip
    done = search(server, fake, tmp_path / "a.csv")
    assert done.left_out == {"accuracy below 11": 2, "no position": 4, "no address": 2}
    assert ids(tmp_path / "a.csv") == [1]


def test_a_photo_given_twice_is_one_row(server: LocalServer, tmp_path: Path) -> None:
    done = search(server, FakeFlickr([photo(1), photo(2), photo(1), photo(3, accuracy=3)]), tmp_path / "a.csv")
    assert (ids(tmp_path / "a.csv"), done.left_out) == ([1, 2], {"accuracy below 11": 1})


def test_licences_are_held_even_if_the_api_forgets_them(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeFlickr, "_fits", lambda *_: True)
    fake = FakeFlickr(
        [photo(n, license=license_id) for n, license_id in enumerate(["4", "0", 9, "17", None, "5", "11"])]
    )
    done = search(server, fake, tmp_path / "a.csv", FlickrQuery(licenses=frozenset({"by", "cc0"})))
    assert ids(tmp_path / "a.csv") == [0, 2, 6]
    assert done.left_out == {"another licence": 4}
    search(server, fake, tmp_path / "b.csv")
    licenses = pd.read_csv(tmp_path / "b.csv", keep_default_na=False, dtype=str)["license"].tolist()
    assert licenses[1:6] == [
        "all-rights-reserved", "https://creativecommons.org/publicdomain/zero/1.0/", "17", "",
        "https://creativecommons.org/licenses/by-sa/2.0/",
    ]  # fmt: skip


def test_an_address_is_made_where_none_is_given(server: LocalServer, tmp_path: Path) -> None:
    fake = FakeFlickr([photo(1, url_m=None), photo(2, url_m="https://live.staticflickr.com/1/2_o.PNG?x=1")])
    search(server, fake, tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert frame["url"][0] == "https://live.staticflickr.com/65535/50000000001_abcdef.jpg"
    assert frame["image_path"][1] == "flickr/02/50000000002.png"


def test_a_box_across_the_date_line_is_asked_for_in_two_parts(server: LocalServer, tmp_path: Path) -> None:
    longitudes = (179.5, -179.5, 170, -170, 160, 0)
    fake = FakeFlickr([photo(n, latitude=-17, longitude=value) for n, value in enumerate(longitudes)])
    search(server, fake, tmp_path / "a.csv", FlickrQuery(box=(169, -20, -169, -15)))
    assert sorted(ids(tmp_path / "a.csv")) == [0, 1, 2, 3]
    assert {query["bbox"] for query in fake.queries} == {"169,-20,180,-15", "-180,-20,-169,-15"}


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(429, headers={"Retry-After": "0"}),
        Reply(503),
        Reply(500),
        failure(105, "Service currently unavailable"),
        failure(10, "Sorry, the Flickr search API is not currently available."),
        failure(201, "Sorry, the Flickr API service is not currently available."),
        failure(0, "Sorry, the Flickr API service is not currently available."),
        Reply(body=b"<html>upstream timeout</html>"),
        Reply(body=b"[1]"),
        Reply(body=b""),
        Reply(body=b"{", headers={"Content-Length": "9"}),
    ],
)
def test_passing_trouble_is_tried_again(server: LocalServer, tmp_path: Path, trouble: Reply) -> None:
    fake = FakeFlickr([photo(1)])
    fake.troubles = [trouble, trouble]
    assert search(server, fake, tmp_path / "a.csv").photos == 1
    assert len(fake.queries) == 3


@pytest.mark.parametrize(
    ("key", "query", "said"),
    [
        ("wrong", FlickrQuery(), r"does not accept the key in FLICKR_API_KEY: Invalid API Key.*services/apps"),
        (KEY, FlickrQuery(text="forbidden"), r"refuses the search: Illogical arguments \(error 18\)"),
    ],
)
def test_a_refusal_is_one_clear_line(
    server: LocalServer, tmp_path: Path, key: str, query: FlickrQuery, said: str
) -> None:
    fake = FakeFlickr([photo(1)])
    with pytest.raises(DownloadError, match=said) as caught:
        search(server, fake, tmp_path / "a.csv", query, api_key=key)
    assert "\n" not in str(caught.value)
    assert len(fake.queries) == 1
    assert not (tmp_path / "a.csv").exists()


def test_a_search_that_broke_off_goes_on_there(server: LocalServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    photos = [photo(n, int(rng.integers(1_100_000_000, 1_700_000_000))) for n in range(5_000)]
    fake = FakeFlickr(photos)
    output = tmp_path / "a.csv"
    whole = FakeFlickr(photos)
    search(server, whole, tmp_path / "whole.csv")
    asked = 0
    for _ in range(4):
        healthy = 4

        def answer(request: Asked, healthy: int = healthy, start: int = len(fake.queries)) -> Reply:
            return fake(request) if len(fake.queries) - start < healthy else Reply(503)

        server.replies["/services/rest/"] = answer
        with pytest.raises(
            DownloadError, match=r"cannot be asked: site in trouble \(503\).*photos are kept in .*a.csv.partial"
        ):
            search_flickr(FlickrQuery(), output, api_key=KEY, manners=FAST, endpoint=server.url("/services/rest/"))
        asked += healthy
        assert len(fake.queries) == asked
        assert not output.exists()
    done = search(server, fake, output)
    assert done.resumed
    assert len(fake.queries) == len(whole.queries)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "whole.csv"]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_kill_between_table_and_state_loses_and_doubles_nothing(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeFlickr([photo(n, 1_400_000_000 + n) for n in range(1_200)])
    written = flickr._Search._save
    saves = 0

    def save_and_die(self: flickr._Search) -> None:
        nonlocal saves
        saves += 1
        if saves == 3:
            self._table.sync()  # the rows are on the disk, and what says so is not
            raise Killed
        written(self)

    with monkeypatch.context() as patch:
        patch.setattr(flickr._Search, "_save", save_and_die)
        with pytest.raises(Killed):
            search(server, fake, tmp_path / "a.csv")
    done = search(server, fake, tmp_path / "a.csv")
    assert (done.resumed, done.photos, done.left_out) == (True, 1_200, {})
    assert sorted(ids(tmp_path / "a.csv")) == list(range(1_200))


def test_an_unfinished_search_is_not_mixed_with_another(server: LocalServer, tmp_path: Path) -> None:
    fake = FakeFlickr([photo(n, 1_400_000_000 + n) for n in range(600)])
    with pytest.raises(KeyboardInterrupt):
        search(server, fake, tmp_path / "a.csv", progress=StopAfter(2))
    other = FlickrQuery(text="castle")
    with pytest.raises(OutputError, match=r"a.csv.partial is an unfinished search for something else.*--overwrite"):
        search(server, fake, tmp_path / "a.csv", other)
    done = search(server, fake, tmp_path / "a.csv", other, overwrite=True)
    assert (done.photos, done.resumed) == (600, False)


def test_without_a_network_nothing_is_left(server: LocalServer, tmp_path: Path) -> None:
    url = server.url("/services/rest/")
    server.close()
    with pytest.raises(DownloadError, match=r"cannot be asked: cannot be reached\. The same command goes on later"):
        search_flickr(FlickrQuery(), tmp_path / "a.csv", api_key=KEY, manners=FAST, endpoint=url)
    assert list(tmp_path.iterdir()) == []


def test_no_spreadsheet_runs_what_anybody_wrote(server: LocalServer, tmp_path: Path) -> None:
    """Owners name themselves, and their names went into the table as they were: formulas, and half a character."""
    names = ["=cmd|x", "@me", "a;=1", "half \ud83d", "'s Gravenhage"]
    search(server, FakeFlickr([photo(n, ownername=name) for n, name in enumerate(names)]), tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert frame["owner"].tolist() == ["'=cmd|x", "'@me", r"'a;\u003D1", r"'half \uD83D", "'s Gravenhage"]


@pytest.mark.parametrize("stays_away", [False, True])
@pytest.mark.parametrize(
    "fields",
    [{"total": "abc"}, {"pages": "x"}, {"perpage": -1}, {"photo": "x"}, {"photo": {"0": 1}}, {"total": [1]}, None, []],
)
def test_an_odd_page_is_asked_for_again(
    server: LocalServer, tmp_path: Path, fields: dict[str, Any] | None, stays_away: bool
) -> None:
    """A total of "abc" was a ValueError, with a traceback."""
    page = {"page": 1, "pages": 1, "perpage": 250, "total": 1, "photo": []} | fields if fields else fields
    odd = Reply(body=json.dumps({"photos": page, "stat": "ok"}).encode())
    fake = FakeFlickr([photo(1)])
    fake.troubles = [odd] * (FAST.tries if stays_away else 1)
    if stays_away:
        with pytest.raises(DownloadError, match=r"cannot be asked: no page of photos\. The same command goes on"):
            search(server, fake, tmp_path / "a.csv")
    else:
        assert search(server, fake, tmp_path / "a.csv").photos == 1


def test_odd_photos_have_no_address(server: LocalServer, tmp_path: Path) -> None:
    """`photo: ["x"]` was an AttributeError and an address "http://[x/1.jpg" a ValueError, with tracebacks."""
    photos = [
        "x",
        7,
        None,
        photo(1, url_m="http://[x/1.jpg"),
        photo(2, license="9" * 5_000),
        photo(3, accuracy="9" * 5_000),
    ]
    photos = [
        {key: value for key, value in each.items() if key != "_uploaded"} if isinstance(each, dict) else each
        for each in photos
    ]
    page = {"page": 1, "pages": 1, "perpage": 250, "total": len(photos), "photo": photos}
    server.replies["/services/rest/"] = Reply(body=json.dumps({"photos": page, "stat": "ok"}).encode())
    done = search_flickr(
        FlickrQuery(), tmp_path / "a.csv", api_key=KEY, manners=FAST, endpoint=server.url("/services/rest/")
    )
    assert (ids(tmp_path / "a.csv"), done.left_out) == ([2, 3], {"no address": 4})


@pytest.mark.parametrize("code", [100, 18, 105])
def test_a_key_that_the_api_repeats_is_not_shown(server: LocalServer, tmp_path: Path, code: int) -> None:
    """The API's message was shown as it came: "bad key 0123…"."""
    fake = FakeFlickr([])
    fake.troubles = [failure(code, f"bad key {KEY}")] * FAST.tries
    with pytest.raises(DownloadError, match=r"bad key \(the key\)") as caught:
        search(server, fake, tmp_path / "a.csv")
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in repr(error)
        error = error.__cause__ or error.__context__


def test_two_searches_do_not_write_one_table(server: LocalServer, tmp_path: Path) -> None:
    """The same command in two terminals took up the same unfinished search, and both wrote into its table."""
    pytest.importorskip("fcntl")
    fake = FakeFlickr([photo(n, 1_400_000_000 + n) for n in range(600)])
    with pytest.raises(KeyboardInterrupt):
        search(server, fake, tmp_path / "a.csv", progress=StopAfter(2))
    first = flickr._Search(FlickrQuery(), tmp_path / "a.csv", overwrite=False)
    with pytest.raises(OutputError, match=r"Another process is writing .*a\.csv\.partial"):
        search(server, fake, tmp_path / "a.csv")
    first.close()
    assert search(server, fake, tmp_path / "a.csv").photos == 600


def test_a_table_that_lost_rows_is_not_gone_on_with(server: LocalServer, tmp_path: Path) -> None:
    """The table was filled up with NULs to where it had been."""
    fake = FakeFlickr([photo(n, 1_400_000_000 + n) for n in range(600)])
    with pytest.raises(KeyboardInterrupt):
        search(server, fake, tmp_path / "a.csv", progress=StopAfter(2))
    (tmp_path / "a.csv.partial").write_text("image_path\n")
    with pytest.raises(OutputError, match=r"a\.csv\.partial is damaged.*Delete it"):
        search(server, fake, tmp_path / "a.csv")
    (tmp_path / "a.csv.partial").unlink()
    assert search(server, fake, tmp_path / "a.csv").photos == 600


@pytest.mark.usefixtures("few_shown")
def test_what_is_left_out_is_counted_once_though_the_search_was_stopped(server: LocalServer, tmp_path: Path) -> None:
    """Photos left out of a part were met again in its halves, and a search taken up had forgotten them."""
    photos = [photo(n, 1_200_000_000 + n, accuracy=16 if n % 2 else 3) for n in range(2_000)]
    fake = FakeFlickr(photos)
    with pytest.raises(KeyboardInterrupt):
        search(server, fake, tmp_path / "a.csv", count=990, progress=StopAfter(5))
    done = search(server, fake, tmp_path / "a.csv", count=990)
    whole = search(server, FakeFlickr(photos), tmp_path / "b.csv", count=990)
    assert done.resumed
    assert (done.photos, done.left_out) == (990, whole.left_out)


def test_an_existing_table_is_kept(server: LocalServer, tmp_path: Path) -> None:
    fake = FakeFlickr([photo(1)])
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        search(server, fake, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert not fake.queries
    assert search(server, fake, tmp_path / "a.csv", overwrite=True).photos == 1


def test_nothing_found_is_an_error_and_leaves_nothing(server: LocalServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no photo for this search. Left out were: accuracy below 11 \(1\)"):
        search(server, FakeFlickr([photo(1, accuracy=3)]), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["a.parquet", "a"])
def test_another_ending_is_refused(loopback_only: None, tmp_path: Path, ending: str) -> None:
    with pytest.raises(OutputError, match=r"end in .*\.csv"):
        search_flickr(FlickrQuery(), tmp_path / ending, api_key=KEY)


def test_the_key_is_written_and_said_nowhere(
    server: LocalServer, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    heard.set_level("DEBUG")
    fake = FakeFlickr([photo(n, 1_400_000_000 + n) for n in range(600)])
    with pytest.raises(KeyboardInterrupt):
        search(server, fake, tmp_path / "a.csv", progress=StopAfter(2))
    for path in tmp_path.iterdir():
        assert KEY not in path.read_text()
    fake.troubles = [Reply(503)] * 3
    with pytest.raises(GeoMindError) as caught:
        search(server, fake, tmp_path / "a.csv")
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in repr(error)
        error = error.__cause__ or error.__context__
    assert all(KEY not in asked.path for asked in server.asked)
    assert KEY not in heard.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"box": (0, 10, 5, 10)}, "is empty"),
        ({"box": (5, 0, 5, 10)}, "is empty"),
        ({"box": (0, 0, 200, 10)}, "not on Earth"),
        ({"box": (0, -91, 20, 10)}, "not on Earth"),
        ({"box": (0, float("nan"), 20, 10)}, "not on Earth"),
        ({"taken_from": date(2020, 1, 1), "taken_to": date(2019, 1, 1)}, "No day is from 2020-01-01"),
        ({"min_accuracy": 17}, "from 1 to 16"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FlickrQuery(**fields)


def test_the_command(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.replies["/services/rest/"] = FakeFlickr([photo(n) for n in range(3)] + [photo(4, accuracy=3)])
    defaults = dict(flickr.search_flickr.__kwdefaults__ or {})
    defaults |= {"endpoint": server.url("/services/rest/"), "manners": FAST}
    monkeypatch.setattr(flickr.search_flickr, "__kwdefaults__", defaults)
    monkeypatch.setenv("FLICKR_API_KEY", f" {KEY}\n")
    output = tmp_path / "found.csv"
    command = ["download", "flickr", "--output", str(output), "--tags", "a, b", "--bbox", "0,0,50,50"]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    assert said.exit_code == 0
    assert "3 photos found." in said.stdout
    assert "accuracy below 11" in said.stdout
    assert KEY not in said.output
    assert len(ids(output)) == 3
    assert server.asked[0].form["tags"] == "a,b"


def test_the_command_without_a_key(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLICKR_API_KEY", raising=False)
    said = CliRunner().invoke(app, ["download", "flickr", "--output", str(tmp_path / "a.csv")])
    assert isinstance(said.exception, ConfigError)
    assert "FLICKR_API_KEY is not set. Ask Flickr for a key" in str(said.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", ""])
def test_a_box_of_another_form_is_wrong_usage(tmp_path: Path, box: str) -> None:
    said = CliRunner().invoke(app, ["download", "flickr", "--output", str(tmp_path / "a.csv"), "--bbox", box])
    assert said.exit_code == 2
