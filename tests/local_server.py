"""A web server on 127.0.0.1 whose answers a test chooses, and a guard that lets nothing else be reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from geomind.progress import Advance

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer: its body whole, or in pieces with a pause before each."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    pause_s: float = 0.0


Answers = Callable[[Asked], Reply]


class LocalServer:
    """Answers what ``replies`` says for a path: a reply, several one after the other, or a function of the request."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | list[Reply] | Answers] = {}
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are meant
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            reply = self.replies.get(asked.path.partition("?")[0], Reply(404))
            if isinstance(reply, list):
                return reply.pop(0) if len(reply) > 1 else reply[0]
        return reply if isinstance(reply, Reply) else reply(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        local = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
                with local._lock:
                    local._at_once += 1
                    local.most_at_once = max(local.most_at_once, local._at_once)
                try:
                    self._send(local._reply(Asked(self.command, self.path, dict(self.headers), form)))
                finally:
                    with local._lock:
                        local._at_once -= 1

            do_POST = do_GET  # noqa: N815  the names are http.server's

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                pieces = reply.pieces or (reply.body,)
                headers = {"Content-Length": str(sum(map(len, pieces))), **reply.headers}
                if "Transfer-Encoding" in headers:
                    del headers["Content-Length"]
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in pieces:
                    time.sleep(reply.pause_s)
                    self.wfile.write(piece)
                    self.wfile.flush()
                if headers.get("Content-Length", "0") != str(sum(map(len, pieces))):
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server(loopback_only: None) -> Iterator[LocalServer]:
    local = LocalServer()
    yield local
    local.close()


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test fail that reaches for anything but this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host in LOOPBACK, f"a test looked up {host}"
        return resolve(host, *args, **kwargs)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in LOOPBACK, f"a test reached for {address}"
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    monkeypatch.setattr(socket.socket, "connect", guarded_connect)


class StopAfter:
    """A progress bar at which somebody presses Ctrl-C."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        def advance(steps: float = 1, note: str = "") -> None:
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt

        yield advance
