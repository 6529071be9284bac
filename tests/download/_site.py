"""A real HTTP server on 127.0.0.1 that misbehaves as it is told, and remembers what it was asked."""

from __future__ import annotations

import email.utils
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TYPES = {
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
    ".webm": "audio/webm",
    ".mka": "audio/x-matroska",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".html": "text/html",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
}


@dataclass
class Route:
    """What one path answers.

    ``first`` are statuses that are given before the file is; a status in ``always`` is given for ever.
    """

    file: Path | None = None
    text: bytes = b""
    type: str = ""
    first: list[int] = field(default_factory=list)
    always: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut_at: int | None = None  # no byte at or behind this offset of the file is ever sent
    new_etag_from: int | None = None  # ranges that begin here or later carry another ETag
    redirect: str = ""
    hang: bool = False
    slowly: bool = False
    gate: threading.Event | None = None  # ranges wait for it; plain requests do not
    from_range: int = 0  # the statuses in ``first`` are only given to range requests


@dataclass
class Seen:
    """One request and what was sent."""

    path: str
    range: str | None
    at: float
    headers: dict[str, str]
    status: int = 0
    n_bytes: int = 0


class Site:
    """The server: ``site.add("/a.mp3", file=...)`` returns the address; ``site.seen`` is the log."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.seen: list[Seen] = []
        self.ended = threading.Event()
        site = self

        class Handler(_Handler):
            owner = site

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def add(self, path: str, **facts) -> str:
        self.routes[path] = Route(**facts)
        return f"http://{self.host}{path}"

    def requests(self, path: str) -> list[Seen]:
        return [one for one in self.seen if one.path == path]

    def n_bytes(self, path: str) -> int:
        return sum(one.n_bytes for one in self.requests(path) if one.range)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Clients hang up in the middle on purpose."""


class _Handler(BaseHTTPRequestHandler):
    owner: Site

    def log_message(self, *words) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        seen = Seen(path, self.headers.get("Range"), time.monotonic(), dict(self.headers))
        self.owner.seen.append(seen)
        route = self.owner.routes.get(path, Route(always=404))
        if route.hang:
            self.owner.ended.wait(30)
            return
        status = route.always
        if status is None and route.first and (seen.range or not route.from_range):
            status = route.first.pop(0)
        if route.redirect:
            status = 302
        if status is not None:
            self._answer(seen, status, b"", {"Location": route.redirect} if route.redirect else route.headers)
        elif route.file is None:
            self._answer(seen, 200, route.text, {"Content-Type": route.type or "text/html", **route.headers})
        else:
            self._file(seen, route)

    def _answer(self, seen: Seen, status: int, body: bytes, headers: dict[str, str]) -> None:
        seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, seen: Seen, route: Route) -> None:
        size = route.file.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.range or "") if route.ranges else None
        first = int(match[1]) if match else 0
        last = min(int(match[2]) if match and match[2] else size - 1, size - 1)
        if match and route.gate is not None:
            route.gate.wait(30)
        if first >= size > 0:
            self._answer(seen, 416, b"", {"Content-Range": f"bytes */{size}"})
            return
        seen.status = 206 if match else 200
        self.send_response(seen.status)
        self.send_header("Content-Type", route.type or TYPES.get(route.file.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(last - first + 1))
        changed = route.new_etag_from is not None and first >= route.new_etag_from
        self.send_header("ETag", '"two"' if changed else '"one"')
        self.send_header("Last-Modified", email.utils.formatdate(1_700_000_000, usegmt=True))
        if match:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        for name, value in route.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(seen, route, first, last + 1)

    def _send(self, seen: Seen, route: Route, begin: int, end: int) -> None:
        stop = end if route.cut_at is None else min(end, route.cut_at)
        with open(route.file, "rb") as stream:
            stream.seek(begin)
            while begin < stop and not self.owner.ended.is_set():
                piece = stream.read(min(1 if route.slowly else 65536, stop - begin))
                if not piece:
                    break
                self.wfile.write(piece)
                seen.n_bytes += len(piece)
                begin += len(piece)
                if route.slowly:
                    time.sleep(0.2)
        if stop < end:
            self.connection.shutdown(socket.SHUT_RDWR)
