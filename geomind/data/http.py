"""HTTP with manners: a pace for each site, retries that wait longer each time, limits of time and size.

It knows no photos and no tables. Whatever GeoMind fetches, it fetches here, and only for a command that was asked to.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.exceptions

from geomind import __version__
from geomind.errors import DownloadError, GoneError, UnreachableError

T = TypeVar("T")

_GONE = (404, 410, 451)

_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another one a moment later (RFC 9110, 6585 and 8470); other 5xx are treated likewise."""

_GIVE_UP_AFTER = 20
"""So many failures of a site in a row, each after several tries, and it is not asked any more."""

_GIVE_UP_STRANGER_AFTER = 3
"""The same for a site that never answered, for which there may be no network. It is tried twice each time."""

_READ_BYTES = 2**16

_REDIRECTS = 5


@dataclass(frozen=True)
class Manners:
    """How hard a site is pressed, and how long it is waited for."""

    per_second: float = 5.0
    """Requests to one site, counted together for all its hosts (farm1.example.org, farm2.example.org)."""

    tries: int = 5
    """How often one request is made before it counts as failed."""

    backoff_s: float = 1.0
    """The wait after a first failure; it doubles each time, and a random share up to half is taken off, so that many
    workers do not come back at once."""

    longest_wait_s: float = 120.0
    """No wait is longer. A site that asks for a longer one (Retry-After) is taken as out of reach."""

    timeout_s: float = 20.0
    """Silence after which a connection counts as lost."""

    deadline_s: float = 120.0
    """Time for one answer as a whole, which a trickle of bytes would stretch for ever."""


class TryAgainError(Exception):
    """An attempt failed for a reason that may pass; the message is the reason."""

    def __init__(self, reason: str, *, wait_s: float | None = None, is_busy: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """What the site asked to wait; None leaves it to the manners."""

        self.is_busy = is_busy
        """The site has enough of us: nobody asks it again before the wait is over."""


class StoppedError(Exception):
    """The client was closed while it waited or read."""


class Answer:
    """A 200 whose body is still to be read."""

    def __init__(self, response: requests.Response, deadline: float, stopped: threading.Event) -> None:
        self.url = str(response.url)
        """Where the last redirect led."""

        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._response = response
        self._deadline = deadline
        self._stopped = stopped

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        """Give the body piece by piece.

        Raises:
            DownloadError: it is larger than ``max_bytes``, or takes too long.
        """
        too_large = f"too large: more than {max_bytes:,} bytes"
        announced = self._response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            raise DownloadError(too_large)
        length = 0
        while data := self._response.raw.read1(_READ_BYTES):  # not read(): it waits until the whole piece is there
            length += len(data)
            if length > max_bytes:
                raise DownloadError(too_large)
            if time.monotonic() > self._deadline:
                raise DownloadError("too slow")
            if self._stopped.is_set():
                raise StoppedError
            yield data

    def read(self, max_bytes: int) -> bytes:
        """Give the whole body, as ``chunks`` does."""
        return b"".join(self.chunks(max_bytes))


class Client:
    """Asks sites from as many threads as one likes; the pace and the memory of failures are common to all."""

    def __init__(self, manners: Manners | None = None, *, connections: int = 1) -> None:
        self._manners = manners or Manners()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._answered: set[str] = set()
        self._session = requests.Session()
        self._session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=connections))
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=connections))
        # identity: pictures are packed already, and a small packed body may unpack to any size.
        self._session.headers.update({"User-Agent": f"geomind/{__version__}", "Accept-Encoding": "identity"})
        self._session.max_redirects = _REDIRECTS
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.auth = _no_password

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Make every thread that waits or reads here stop."""
        self._stopped.set()
        self._session.close()

    def fetch(self, url: str, receive: Callable[[Answer], T], *, form: Mapping[str, str] | None = None) -> T:
        """Ask for an address until it answers, and hand the answer over.

        Args:
            url: http or https.
            receive: Reads the answer. It is called again where the connection is lost meanwhile, or where it raises
                ``TryAgainError`` itself.
            form: Makes it a POST with these fields; no redirect is followed then.

        Raises:
            GoneError: there is nothing any more, for good.
            UnreachableError: no answer after all tries, or the site was given up before.
            DownloadError: any other refusal, with the reason.
            StoppedError: the client was closed.
        """
        site = _site(url)
        attempt = 1
        while True:
            give_up_after = _GIVE_UP_AFTER if site in self._answered else _GIVE_UP_STRANGER_AFTER
            if self._failures[site] >= give_up_after:
                raise UnreachableError(f"{site} was given up after {give_up_after} failures in a row")
            self._take_turn(site)
            try:
                with self._answer(url, form) as answer:
                    received = receive(answer)
            except DownloadError:
                self._failures[site] = 0  # a refusal is an answer too
                raise
            except TryAgainError as error:
                wait_s = self._backoff_s(attempt) if error.wait_s is None else error.wait_s
                tries = self._manners.tries if site in self._answered else min(2, self._manners.tries)
                if attempt >= tries or wait_s > self._manners.longest_wait_s:
                    self._failures[site] += 1
                    raise UnreachableError(str(error)) from error
                if error.is_busy:
                    self._hold(site, wait_s)
                self._sleep(wait_s)
                attempt += 1
            else:
                self._failures[site] = 0
                return received

    @contextlib.contextmanager
    def _answer(self, url: str, form: Mapping[str, str] | None) -> Iterator[Answer]:
        """Ask once, and translate whatever goes wrong, inside the block too."""
        deadline = time.monotonic() + self._manners.deadline_s
        method = "GET" if form is None else "POST"
        heard: list[requests.Response] = []

        def hear(response: requests.Response, **_: object) -> None:
            heard.append(response)

        try:
            with self._session.request(
                method,
                url,
                data=form,
                stream=True,
                timeout=self._manners.timeout_s,
                allow_redirects=form is None,  # a form may hold a key, which is for nobody else
                hooks={"response": hear},
            ) as response:
                self._answered.add(_site(url))
                if form is not None and response.is_redirect:
                    raise DownloadError(f"redirected ({response.status_code}), and a form is sent nowhere else")
                _check_status(response)
                yield Answer(response, deadline, self._stopped)
        except requests.TooManyRedirects as error:
            raise DownloadError("redirected in circles") from error
        except requests.exceptions.SSLError as error:
            raise DownloadError("its certificate is not trusted") from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise TryAgainError("no answer in time") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise TryAgainError("connection lost") from error
        except requests.ConnectionError as error:
            raise TryAgainError("cannot be reached") from error
        except urllib3.exceptions.HTTPError as error:
            raise TryAgainError("connection lost") from error
        except (requests.RequestException, UnicodeError) as error:  # what is left is about the address
            if heard and heard[-1].is_redirect:
                raise DownloadError("redirected to no web address") from error
            raise DownloadError(f"no web address: {url[:80]}") from error

    def _take_turn(self, site: str) -> None:
        """Wait until the site may be asked again."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free_at.get(site, now))
            self._free_at[site] = turn + 1 / self._manners.per_second
        self._sleep(turn - now)

    def _hold(self, site: str, wait_s: float) -> None:
        """Let nobody ask a site for a while."""
        with self._lock:
            self._free_at[site] = max(self._free_at.get(site, 0), time.monotonic() + wait_s)

    def _backoff_s(self, attempt: int) -> float:
        longest = min(self._manners.backoff_s * 2.0 ** (attempt - 1), self._manners.longest_wait_s)
        return longest * random.uniform(0.5, 1)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise StoppedError


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in _GONE:
        raise GoneError(f"not there any more ({status})")
    if status in _PASSING or status >= 500:
        wait_s = _retry_after(response.headers.get("Retry-After", ""))
        what = "too many requests" if status == 429 else "site in trouble"
        raise TryAgainError(f"{what} ({status})", wait_s=wait_s, is_busy=status == 429 or wait_s is not None)
    raise DownloadError(f"refused ({status})")


def _retry_after(text: str) -> float | None:
    """Read what a site asks to wait: seconds, or a date (RFC 9110, 10.2.3)."""
    if text.strip().isdecimal():
        return float(text)
    with contextlib.suppress(ValueError):
        date = parsedate_to_datetime(text)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _site(url: str) -> str:
    """Name what shares one pace: the last two parts of a host's name, or its number."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise DownloadError(f"no web address: {url[:80]}") from error
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise DownloadError(f"no web address: {url[:80]}")
    labels = host.split(".")
    return host if labels[-1].isdecimal() or ":" in host else ".".join(labels[-2:])


def _no_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no password: without this, requests takes the user's from ~/.netrc for any site a table names."""
    return request
