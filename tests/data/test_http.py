from __future__ import annotations

import ast
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import requests
from local_server import LocalServer, Reply

from geomind.data.http import Client, Manners, StoppedError, TryAgainError
from geomind.errors import DownloadError, GoneError, UnreachableError

FAST = Manners(per_second=1000, tries=3, backoff_s=0.001, longest_wait_s=5, timeout_s=0.3, deadline_s=0.5)

PACKAGE = Path(__file__).parents[2] / "geomind"


def fetch(url: str, manners: Manners = FAST, *, max_bytes: int = 1000) -> bytes:
    with Client(manners) as client:
        return client.fetch(url, lambda answer: answer.read(max_bytes))


def test_a_body_comes_whole(server: LocalServer) -> None:
    server.replies["/a"] = Reply(body=b"hello", headers={"Content-Type": "Image/JPEG; charset=x"})
    with Client(FAST) as client:
        got = client.fetch(server.url("/a"), lambda answer: (answer.read(5), answer.content_type, answer.url))
    assert got == (b"hello", "image/jpeg", server.url("/a"))
    assert server.asked[0].method == "GET"
    assert server.asked[0].headers["User-Agent"].startswith("geomind/")


def test_a_form_is_posted_and_not_part_of_the_address(server: LocalServer) -> None:
    server.replies["/rest"] = Reply(body=b"{}")
    with Client(FAST) as client:
        client.fetch(server.url("/rest"), lambda answer: answer.read(9), form={"api_key": "s3cret", "text": "a b&c"})
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/rest")
    assert asked.form == {"api_key": "s3cret", "text": "a b&c"}


@pytest.mark.parametrize("status", [404, 410, 451])
def test_what_is_gone_is_asked_for_once(server: LocalServer, status: int) -> None:
    server.replies["/a"] = Reply(status)
    with pytest.raises(GoneError, match=rf"not there any more \({status}\)"):
        fetch(server.url("/a"))
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 418, 204, 206])
def test_a_refusal_is_asked_for_once(server: LocalServer, status: int) -> None:
    server.replies["/a"] = Reply(status)
    with pytest.raises(DownloadError, match=rf"refused \({status}\)") as caught:
        fetch(server.url("/a"))
    assert not isinstance(caught.value, GoneError | UnreachableError)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_trouble_is_tried_again(server: LocalServer, status: int) -> None:
    server.replies["/a"] = [Reply(status), Reply(status), Reply(body=b"at last")]
    assert fetch(server.url("/a")) == b"at last"
    assert len(server.asked) == 3


def test_trouble_that_stays_is_an_error_after_all_tries(server: LocalServer) -> None:
    server.replies["/a"] = Reply(503)
    with pytest.raises(UnreachableError, match=r"site in trouble \(503\)"):
        fetch(server.url("/a"))
    assert len(server.asked) == FAST.tries


def test_waits_double_and_are_never_the_same(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.replies["/a"] = Reply(500)
    waits: list[float] = []
    with Client(Manners(per_second=1e9, tries=6, backoff_s=1, longest_wait_s=4)) as client:
        monkeypatch.setattr(client, "_sleep", waits.append)
        with pytest.raises(UnreachableError):
            client.fetch(server.url("/a"), lambda answer: answer.read(1))
    backoffs = [wait for wait in waits if wait > 1e-6]
    assert len(backoffs) == 5
    for wait, longest in zip(backoffs, (1, 2, 4, 4, 4), strict=True):
        assert longest / 2 <= wait <= longest
    assert len(set(backoffs)) == 5


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(server: LocalServer, form: str) -> None:
    asked_to = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.replies["/a"] = [Reply(429, headers={"Retry-After": asked_to}), Reply(body=b"now")]
    started = time.monotonic()
    assert fetch(server.url("/a")) == b"now"
    assert time.monotonic() - started >= (1 if form == "seconds" else 0.5)


def test_nobody_asks_a_site_that_asked_for_a_wait(server: LocalServer) -> None:
    server.replies["/busy"] = [Reply(429, headers={"Retry-After": "1"}), Reply(body=b"now")]
    server.replies["/other"] = Reply(body=b"other")
    with Client(FAST) as client:
        first = threading.Thread(target=client.fetch, args=(server.url("/busy"), lambda answer: answer.read(9)))
        first.start()
        while not server.asked:
            time.sleep(0.005)
        time.sleep(0.05)
        started = time.monotonic()
        client.fetch(server.url("/other"), lambda answer: answer.read(9))
        assert time.monotonic() - started > 0.5
        first.join()


def test_a_wait_that_is_too_long_is_not_waited_for(server: LocalServer) -> None:
    server.replies["/a"] = Reply(429, headers={"Retry-After": "3600"})
    with pytest.raises(UnreachableError, match=r"too many requests \(429\)"):
        fetch(server.url("/a"))
    assert len(server.asked) == 1


def test_a_body_that_is_cut_is_fetched_again(server: LocalServer) -> None:
    server.replies["/a"] = [Reply(body=b"hel", headers={"Content-Length": "5"}), Reply(body=b"hello")]
    assert fetch(server.url("/a")) == b"hello"


def test_a_body_that_stays_cut_is_an_error(server: LocalServer) -> None:
    server.replies["/a"] = Reply(body=b"hel", headers={"Content-Length": "5"})
    with pytest.raises(UnreachableError, match="connection lost"):
        fetch(server.url("/a"))


def test_silence_is_a_lost_connection(server: LocalServer) -> None:
    server.replies["/a"] = Reply(pieces=(b"x",), pause_s=0.6)
    with pytest.raises(UnreachableError, match="no answer in time"):
        fetch(server.url("/a"))


def test_a_trickle_ends_at_the_deadline(server: LocalServer) -> None:
    """A server that sends a byte now and then is never silent, so a timeout alone would wait for ever."""
    server.replies["/a"] = Reply(pieces=(b"x",) * 50, pause_s=0.1)
    started = time.monotonic()
    with pytest.raises(DownloadError, match="too slow"):
        fetch(server.url("/a"))
    assert time.monotonic() - started < 4
    assert len(server.asked) == 1


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_not_read(server: LocalServer, announced: bool) -> None:
    headers = {"Content-Length": "100000"} if announced else {"Transfer-Encoding": "chunked"}
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    server.replies["/a"] = Reply(body=b"x" * 100_000 if announced else chunk * 2 + b"0\r\n\r\n", headers=headers)
    with pytest.raises(DownloadError, match="too large: more than 99,999 bytes"):
        fetch(server.url("/a"), max_bytes=99_999)


def test_a_closed_port_cannot_be_reached(server: LocalServer) -> None:
    url = server.url("/a")
    server.close()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        fetch(url)


@pytest.mark.parametrize(
    "url", ["", "photo.jpg", "ftp://example.org/a.jpg", "file:///etc/passwd", "http://", "http://[::1", "data:,x"]
)
def test_what_is_no_web_address_is_said_to_be_none(loopback_only: None, url: str) -> None:
    with pytest.raises(DownloadError, match="no web address"):
        fetch(url)


def test_redirects_are_followed_and_tell_where_they_led(server: LocalServer) -> None:
    server.replies["/a"] = Reply(302, headers={"Location": "/b"})
    server.replies["/b"] = Reply(body=b"here")
    with Client(FAST) as client:
        assert client.fetch(server.url("/a"), lambda answer: answer.url) == server.url("/b")


def test_circles_and_other_schemes_are_refused(server: LocalServer) -> None:
    server.replies["/circle"] = Reply(302, headers={"Location": "/circle"})
    server.replies["/file"] = Reply(302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(DownloadError, match="redirected in circles"):
        fetch(server.url("/circle"))
    with pytest.raises(DownloadError, match=r"^redirected to no web address$"):  # the address asked for was one
        fetch(server.url("/file"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_form_goes_to_no_other_address(server: LocalServer, status: int) -> None:
    """A 307 or 308 sent the form, with the API's key in it, to whatever host it named, over http too."""
    server.replies["/rest"] = Reply(status, headers={"Location": server.url("/thief")})
    server.replies["/thief"] = Reply(body=b"{}")
    with Client(FAST) as client, pytest.raises(DownloadError, match=rf"redirected \({status}\)"):
        client.fetch(server.url("/rest"), lambda answer: answer.read(9), form={"api_key": "s3cret"})
    assert server.paths() == ["/rest"]


def test_a_site_that_never_answers_is_given_up(server: LocalServer) -> None:
    """20 failures in a row, and the rest of a large table fails at once and not after as many retries."""
    server.replies["/bad"] = Reply(500)
    with Client(Manners(per_second=1e6, tries=1)) as client:
        for _ in range(20):
            with pytest.raises(UnreachableError, match="site in trouble"):
                client.fetch(server.url("/bad"), lambda answer: answer.read(1))
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1 was given up after 20 failures in a row"):
            client.fetch(server.url("/bad"), lambda answer: answer.read(1))
    assert len(server.asked) == 20


def test_without_a_network_it_is_said_soon(server: LocalServer) -> None:
    """A thousand addresses took 45 seconds to fail where there was no network at all."""
    url = server.url("/a")
    server.close()
    with Client(Manners(per_second=1e6, backoff_s=0.001)) as client:
        for _ in range(3):
            with pytest.raises(UnreachableError, match="cannot be reached"):
                client.fetch(url, lambda answer: answer.read(1))
        with pytest.raises(UnreachableError, match="given up after 3 failures in a row"):
            client.fetch(url, lambda answer: answer.read(1))


def test_an_answer_in_between_forgets_the_failures(server: LocalServer) -> None:
    server.replies["/bad"], server.replies["/gone"] = Reply(500), Reply(404)
    with Client(Manners(per_second=1e6, tries=1)) as client:
        for _ in range(30):
            with pytest.raises(UnreachableError, match="site in trouble"):
                client.fetch(server.url("/bad"), lambda answer: answer.read(1))
            with pytest.raises(GoneError):
                client.fetch(server.url("/gone"), lambda answer: answer.read(1))


def test_a_receiver_may_ask_for_another_try(server: LocalServer) -> None:
    server.replies["/a"] = [Reply(body=b"busy"), Reply(body=b"done")]

    def receive(answer: object) -> bytes:
        body: bytes = answer.read(9)  # type: ignore[attr-defined]
        if body == b"busy":
            raise TryAgainError("busy")
        return body

    with Client(FAST) as client:
        assert client.fetch(server.url("/a"), receive) == b"done"


def test_the_pace_is_kept(server: LocalServer) -> None:
    server.replies["/a"] = Reply(body=b"x")
    started = time.monotonic()
    with Client(Manners(per_second=50)) as client:
        for _ in range(6):
            client.fetch(server.url("/a"), lambda answer: answer.read(1))
    assert time.monotonic() - started >= 5 / 50


def test_hosts_of_one_site_share_a_pace() -> None:
    from geomind.data.http import _site

    assert _site("http://farm1.staticflickr.com/1/a.jpg") == _site("https://live.staticflickr.com/b.jpg")
    assert _site("http://10.0.0.1/a") == "10.0.0.1" != _site("http://11.0.0.1/a")
    assert _site("http://localhost:80/a") == "localhost"
    assert _site("http://[::1]:8000/a") == "::1"


def test_closing_ends_waits(server: LocalServer) -> None:
    server.replies["/a"] = Reply(500)
    client = Client(Manners(per_second=1000, backoff_s=60))
    threading.Timer(0.1, client.close).start()
    with pytest.raises(StoppedError):
        client.fetch(server.url("/a"), lambda answer: answer.read(1))


def test_no_password_and_no_cookie_is_sent(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests takes passwords from ~/.netrc for any host, and a table of addresses may name any host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.replies["/a"] = Reply(body=b"x", headers={"Set-Cookie": "id=1"})
    assert requests.get(server.url("/a"), timeout=5).request.headers["Authorization"]
    with Client(FAST) as client:
        for _ in range(2):
            client.fetch(server.url("/a"), lambda answer: answer.read(1))
    for asked in server.asked[1:]:
        assert "Authorization" not in asked.headers
        assert "Cookie" not in asked.headers


def test_the_guard_bites(loopback_only: None) -> None:
    with pytest.raises(AssertionError, match=r"a test looked up example\.org"):
        fetch("http://example.org/")
    with socket.socket() as raw, pytest.raises(AssertionError, match="a test reached for"):
        raw.connect(("192.0.2.1", 80))


def test_one_module_talks_to_the_network() -> None:
    """Nothing touches the network unless it was asked to by name: there is one door, and two commands behind it.

    The weights of a backbone are the other thing that is fetched, where a training asks for them by name.
    """
    network = {"requests", "urllib3", "httpx", "aiohttp", "socket", "ftplib", "smtplib"}
    users = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                if module.split(".")[0] in network or module in ("urllib.request", "http.client"):
                    assert name in ("data/http.py", "backbones/weights.py"), f"{name} imports {module}"
                if module == "geomind.data.http":
                    users.add(name)
    assert users == {"cli/download.py", "data/download.py", "data/sources/flickr.py"}
