"""One clip is fetched: yt-dlp finds the media, ranges of it are read, the seconds asked for are decoded.

The only room that knows yt-dlp. Nothing is written to disk here but a spool for servers without ranges.
"""

from __future__ import annotations

import functools
import http.client
import io
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import av
import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking._helper import _socket_connect, create_connection
from yt_dlp.networking._urllib import HTTPHandler, UrllibRH
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import GeoRestrictedError, UnsupportedError, YoutubeDLError

from embedx.download.links import is_private_host
from embedx.download.plan import Ask
from embedx.download.reader import Budget, RangeReader
from embedx.download.section import Section, cut_section
from embedx.download.status import StatusError, classify_http, classify_message, clean_message

__all__ = ["FetchOptions", "Fetched", "Fetcher"]

_MAX_PAGE_BYTES = 64 * 2**20
_MIN_BITRATE_KBPS = 48
_HTML = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to reach the hosts, and what one clip may cost.

    Parameters
    ----------
    cookies : str or None
        Text of a Netscape cookie file.
    proxy : str or None
        Address of a proxy; None takes the environment's.
    timeout_seconds, deadline_seconds : float
        For one answer of a server; for one try of a clip.
    max_bytes : int
        Bytes of media of one clip.
    max_duration_seconds : float or None
        Longer sources are refused.
    allow_private : bool
        Whether addresses of this machine and of private networks may be reached.
    js_runtimes : mapping
        As yt-dlp takes them; YouTube needs one.
    """

    cookies: str | None = None
    proxy: str | None = None
    timeout_seconds: float = 20.0
    deadline_seconds: float = 300.0
    max_bytes: int = 400 * 2**20
    max_duration_seconds: float | None = None
    allow_private: bool = False
    js_runtimes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """A section, and what is known of its source."""

    section: Section
    facts: Mapping[str, Any]


class Fetcher:
    """Fetches one clip after another over one set of connections and cookies; one a thread.

    Parameters
    ----------
    options : FetchOptions
        Same for all clips.
    is_stopped : callable
        Says whether the run is being ended.
    """

    def __init__(self, options: FetchOptions, *, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self.options, self._is_stopped = options, is_stopped
        self._ydl: Any = None

    def fetch(self, ask: Ask) -> Fetched:
        """Return the seconds asked for, or raise `StatusError` with the status of the row."""
        budget = Budget(self.options.max_bytes, time.monotonic() + self.options.deadline_seconds, self._is_stopped)
        if ask.row.link.is_local:
            return Fetched(self._cut(ask.url, ask, budget, None), {"extractor": "file", "bytes_fetched": 0})
        info = self._extract(ask.url)
        chosen = self._checked(info)
        reader = RangeReader(functools.partial(self._request, chosen), budget=budget)
        try:
            self._wait_until(chosen.get("available_at"), budget)
            reader.open()
            if reader.head()[:64].lstrip().lower().startswith(_HTML):
                raise StatusError("corrupt", "the server sent a web page labelled as media")
            section = self._cut(reader, ask, budget, info.get("duration"))
        finally:
            reader.close()
        return Fetched(section, {**_facts(info, chosen), "bytes_fetched": budget.n_bytes})

    def _cut(self, file: Any, ask: Ask, budget: Budget, duration: float | None) -> Section:
        try:
            with av.open(file, mode="r", metadata_errors="ignore") as container:
                section = cut_section(
                    container, start=ask.start_seconds, seconds=ask.seconds, duration=duration, check=budget.check
                )
        except (av.FFmpegError, StatusError, OSError, ValueError, MemoryError) as error:
            if isinstance(file, RangeReader) and file.error is not None:
                raise file.error from error
            if isinstance(error, StatusError):
                raise
            if isinstance(error, FileNotFoundError):
                raise StatusError("unavailable", "no such file") from error
            raise StatusError("corrupt", clean_message(f"not decodable as audio: {error}")) from error
        if isinstance(file, RangeReader) and file.error is not None:
            raise file.error
        return section

    def _extract(self, url: str) -> dict[str, Any]:
        try:
            return self._session().extract_info(url, download=False)
        except YoutubeDLError as error:
            raise _translated(error) from error
        finally:
            self._session().close_answers()

    def _checked(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the chosen format of one video that may be fetched."""
        if info.get("_type") in ("playlist", "multi_video"):
            raise StatusError("invalid_url", "the link is a list of videos: give the link of one")
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live") or info.get("is_live"):
            raise StatusError("live", "a broadcast that is not over")
        limit, duration = self.options.max_duration_seconds, info.get("duration")
        if limit is not None and duration and duration > limit:
            raise StatusError("too_long", f"{duration:g} s, allowed are {limit:g} s (--max-duration)")
        if info.get("has_drm"):
            raise StatusError("drm", "protected by DRM")
        return info

    def _request(self, chosen: Mapping[str, Any], first: int, last: int) -> _Answer:
        headers = {
            **(chosen.get("http_headers") or {}),
            "Range": f"bytes={first}-{last}",
            "Accept-Encoding": "identity",
        }
        try:
            return _Answer(self._session().urlopen(Request(chosen["url"], headers=headers)))
        except YoutubeDLError as error:
            raise _translated(error) from error

    def _wait_until(self, moment: float | None, budget: Budget) -> None:
        while moment and time.time() < moment:
            budget.check()
            time.sleep(min(0.5, max(0.0, moment - time.time())))

    def _session(self) -> Any:
        if self._ydl is None:
            self._ydl = _Session(self.options)
        return self._ydl


class _Answer:
    """yt-dlp's response as the reader wants it, its errors translated."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status = int(response.status)

    def get_header(self, name: str) -> str | None:
        return self._response.get_header(name)

    def read(self, amount: int) -> bytes:
        try:
            return self._response.read(amount)
        except IncompleteRead as error:
            raise StatusError("truncated", clean_message(str(error))) from error
        except YoutubeDLError as error:
            raise _translated(error) from error

    def close(self) -> None:
        self._response.close()


class _Session(yt_dlp.YoutubeDL):
    """A quiet YoutubeDL that reaches only public hosts, over one guarded connection handler."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._answers: list[Any] = []
        super().__init__(
            {
                "quiet": True,
                "no_warnings": True,
                "noprogress": True,
                "logger": _Silence(),
                "format": _choose_formats,
                "noplaylist": True,
                "extract_flat": "in_playlist",
                "playlistend": 2,
                "socket_timeout": options.timeout_seconds,
                "extractor_retries": 0,
                "cachedir": False,
                "cookiefile": io.StringIO(options.cookies) if options.cookies else None,
                "proxy": options.proxy,
                **({"js_runtimes": dict(options.js_runtimes)} if options.js_runtimes else {}),
            }
        )

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        guarded = type("GuardedRH", (_GuardedRH,), {"allow_private": self._options.allow_private})
        return super().build_request_director([guarded])

    def urlopen(self, req: Any) -> Any:
        answer = super().urlopen(req)
        self._answers.append(answer)
        return answer

    def close_answers(self) -> None:
        """Drop connections that an extractor left open."""
        for answer in self._answers:
            answer.close()
        self._answers.clear()


class _Silence:
    def debug(self, message: str) -> None: ...

    info = warning = error = debug


class _PrivateAddress(OSError):
    """A connection to this machine or a private network was about to be made."""


class _GuardedHandler(HTTPHandler):
    """Checks every address when the connection is made, so neither redirects nor DNS tricks pass."""

    allow_private = False

    def http_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPConnection, req)

    def https_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPSConnection, req, context=self._context)

    def _open(self, base: Any, req: Any, **kwargs: Any) -> Any:
        target = req.get_full_url().split("://", 1)[-1].split("/", 1)[0]
        if not self.allow_private and is_private_host(target.rpartition("@")[2].rsplit(":", 1)[0].strip("[]")):
            raise _PrivateAddress(f"{target} is a private address")
        kind = self._make_conn_class(base, req)
        is_free = self.allow_private or req.has_proxy()
        return self.do_open(functools.partial(self._connection, kind, is_free), req, **kwargs)

    def _connection(self, kind: Any, is_free: bool, *args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        connect = _socket_connect if is_free else _connect_public
        connection._create_connection = functools.partial(create_connection, _create_socket_func=connect)
        return connection

    @staticmethod
    def gz(data: bytes) -> bytes:
        return _inflate(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        try:
            return _inflate(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _inflate(data, zlib.MAX_WBITS)

    @staticmethod
    def brotli(data: bytes) -> bytes:
        raise OSError("the server compressed its page with brotli, which was not asked for")

    def http_response(self, req: Any, resp: Any) -> Any:
        resp.read = functools.partial(_bounded, resp.read)
        return super().http_response(req, resp)

    https_response = http_response


class _GuardedRH(UrllibRH):
    _SUPPORTED_URL_SCHEMES = ("http", "https", "data")
    allow_private = False

    def _create_instance(self, *args: Any, **kwargs: Any) -> Any:
        opener = super()._create_instance(*args, **kwargs)
        handler = _GuardedHandler(
            context=self._make_sslcontext(legacy_ssl_support=kwargs.get("legacy_ssl_support")),
            source_address=self.source_address,
        )
        handler.allow_private = self.allow_private
        for scheme in ("http", "https"):
            for table in (opener.handle_open, opener.process_request, opener.process_response):
                table[scheme] = [old for old in table[scheme] if not isinstance(old, HTTPHandler)]
        opener.add_handler(handler)
        return opener

    def _prepare_headers(self, _: Any, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")


def _connect_public(ip_addr: Any, timeout: Any, source_address: Any) -> Any:
    if is_private_host(ip_addr[4][0]):
        raise _PrivateAddress(f"{ip_addr[4][0]} is a private address")
    return _socket_connect(ip_addr, timeout, source_address)


def _bounded(read: Callable[..., bytes], amount: int | None = None) -> bytes:
    if amount is not None:
        return read(amount)
    data = read(_MAX_PAGE_BYTES + 1)
    if len(data) > _MAX_PAGE_BYTES:
        raise OSError(f"a page of more than {_MAX_PAGE_BYTES} bytes")
    return data


def _inflate(data: bytes, wbits: int) -> bytes:
    engine = zlib.decompressobj(wbits)
    text = engine.decompress(data, _MAX_PAGE_BYTES)
    if engine.unconsumed_tail:
        raise OSError(f"a page that unpacks to more than {_MAX_PAGE_BYTES} bytes")
    return text


def _choose_formats(context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Choose the cheapest format that is good enough; yt-dlp's format selector interface."""
    with_audio = [form for form in context["formats"] if form.get("acodec") != "none" and not form.get("has_drm")]
    plain = [form for form in with_audio if str(form.get("protocol", "http")) in ("http", "https")]
    audio = [form for form in plain if form.get("vcodec") == "none"]
    best = audio or plain
    if not best:
        return
    original = max(form.get("language_preference") or -1 for form in best)
    best = [form for form in best if (form.get("language_preference") or -1) == original]
    enough = [form for form in best if (_bitrate(form) or 0) >= _MIN_BITRATE_KBPS]
    yield min(enough, key=lambda form: _bitrate(form) or 0) if enough else best[-1]


def _bitrate(form: Mapping[str, Any]) -> float | None:
    return form.get("abr") or form.get("tbr")


def _facts(info: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "extractor", "title", "uploader", "channel", "channel_id", "license", "upload_date")
    facts = {name: info.get(name) for name in names}
    return {**facts, "source_duration": info.get("duration"), "format": chosen.get("format_id")}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk through everything that a foreign error wraps."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen or not isinstance(one, BaseException):
            continue
        seen.add(id(one))
        yield one
        waiting += [(getattr(one, "exc_info", None) or (None, None))[1], getattr(one, "cause", None)]
        waiting += [getattr(one, "reason", None), one.__cause__, one.__context__]


def _translated(error: Exception) -> StatusError:
    """Turn what yt-dlp raised into the status of a row."""
    chain = list(_chain(error))
    text = clean_message(str(error))
    if any(isinstance(one, _PrivateAddress) for one in chain):
        return StatusError("invalid_url", "the link leads to a private address: allow it with --allow-private")
    if any(isinstance(one, GeoRestrictedError) for one in chain):
        return StatusError("geo_blocked", text)
    answer = next((one for one in chain if isinstance(one, HTTPError)), None)
    word = classify_message(text)
    if answer is not None:
        word = word if word == "bot_check" else classify_http(answer.status)
        wait = answer.response.get_header("Retry-After")
        answer.close()
        return StatusError(word, text, http_status=answer.status, retry_after_seconds=_retry_after(wait))
    if any(isinstance(one, UnsupportedError) for one in chain):
        return StatusError("no_audio", "a web page without audio or video that yt-dlp can find")
    if any(isinstance(one, TransportError) for one in chain):
        return StatusError("network", text)
    return StatusError(word, text)


def _retry_after(text: str | None) -> float | None:
    from email.utils import parsedate_to_datetime

    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
