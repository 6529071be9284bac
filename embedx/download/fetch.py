"""One clip is fetched: yt-dlp finds the media, ranges of it are read, the seconds asked for are decoded.

The only module that imports yt-dlp. Nothing lasting is written to disk here.
"""

from __future__ import annotations

import functools
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.downloader.dash import DashSegmentsFD
from yt_dlp.downloader.hls import HlsFD
from yt_dlp.extractor import gen_extractor_classes
from yt_dlp.networking import Request
from yt_dlp.networking._urllib import HTTPHandler, UrllibRH
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import GeoRestrictedError, UnsupportedError, YoutubeDLError

from embedx.download.fetch_options import Deadline, Fetched, FetchOptions, count_progress, error_chain, wait_until
from embedx.download.formats import choose_formats, is_plain, known_facts
from embedx.download.plan import ClipRequest
from embedx.download.range_reader import PAGE_BYTES, Budget, RangeReader
from embedx.download.ssrf import GuardedConnections, PrivateAddressError, Watch
from embedx.download.status import StatusError, classify_http, classify_message, clean_message, read_retry_after
from embedx.download.time_range import Section, cut_section
from embedx.manifest import AUDIO_SUFFIXES

__all__ = ["FetchOptions", "Fetched", "Fetcher", "fetch_versions"]

_HTML = (b"<!doctype", b"<html", b"<head", b"<body")
_MIN_SECRET = 6


def fetch_versions() -> dict[str, str]:
    """Return the version of yt-dlp, for the journal."""
    return {"yt_dlp": yt_dlp.version.__version__}


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
        self._watch = Watch()
        self._ydl: Any = None

    def fetch(self, request: ClipRequest) -> Fetched:
        """Return the seconds asked for, or raise `StatusError` with the status of the row."""
        budget = self._budget()
        if request.row.link.is_local:
            return Fetched(self._cut(request.url, request, budget), {"extractor": "file", "bytes_fetched": 0})
        with Deadline(self._watch, budget):
            info = self._checked(self._extract(request.url))
            part = self._fetch_part if is_plain(info) else self._fetch_whole
            section = part(info, request, budget)
        return Fetched(section, {**known_facts(info), "bytes_fetched": budget.n_bytes})

    def search(self, words: str, *, n_results: int = 10) -> list[str]:
        """Return the ids of videos that a site's own search gives for these words."""
        budget = self._budget()
        with Deadline(self._watch, budget):
            answer = self._extract(f"{self.options.search}{n_results}:{clean_message(words)}", n_entries=n_results)
        return [str(entry.get("id")) for entry in answer.get("entries") or () if entry]

    def abort(self) -> None:
        """End what another thread is reading right now."""
        self._watch.cut()

    def _budget(self) -> Budget:
        self._session()  # loads yt-dlp's extractors once, which is not the clip's time
        return Budget(self.options.max_bytes, time.monotonic() + self.options.deadline_seconds, self._is_stopped)

    def _extract(self, url: str, *, n_entries: int = 2) -> dict[str, Any]:
        session = self._session()
        session.params["playlistend"] = n_entries
        session.is_probing = _is_media(url, self.options.extractors)
        try:
            return session.extract_info(url, download=False) or {}
        except YoutubeDLError as error:
            raise self._translated(error) from error
        finally:
            session.is_probing = False
            session.close_answers()

    def _checked(self, info: dict[str, Any]) -> dict[str, Any]:
        """Let through one video that may be fetched."""
        if info.get("_type") in ("playlist", "multi_video"):
            raise StatusError("invalid_url", "the link is a list of videos: give the link of one")
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live") or info.get("is_live"):
            raise StatusError("live", "a broadcast that is not over")
        if info.get("has_drm"):
            raise StatusError("drm", "protected by DRM")
        limit, duration = self.options.max_duration_seconds, info.get("duration")
        if limit is not None and duration and duration > limit:
            raise StatusError("too_long", f"{duration:g} s, allowed are {limit:g} s (--max-duration-seconds)")
        if not info.get("url") and not info.get("fragments"):
            raise StatusError("no_audio", "no audio or video that yt-dlp can fetch")
        return info

    def _fetch_part(self, info: Mapping[str, Any], request: ClipRequest, budget: Budget) -> Section:
        """Read the section by ranges."""
        wait_until(info.get("available_at"), budget)
        reader = RangeReader(functools.partial(self._request, info), budget=budget)
        try:
            reader.open()
            if reader.head()[:512].lstrip().lower().startswith(_HTML):
                raise StatusError("corrupt", "the server sent a web page labelled as media")
            return self._cut(reader, request, budget, info.get("duration"))
        except StatusError as error:
            if reader.error is None or reader.error is error:
                raise
            raise reader.error from error
        finally:
            reader.close()

    def _fetch_whole(self, info: dict[str, Any], request: ClipRequest, budget: Budget) -> Section:
        """Fetch all segments of a streaming format into a temporary folder, under the caps."""
        session = self._session()
        with tempfile.TemporaryDirectory(prefix="embedx-") as folder:
            path = str(Path(folder, "media"))
            params = {**session.params, "retries": 0, "fragment_retries": 1, "skip_unavailable_fragments": False}
            params |= {"nopart": True, "outtmpl": {"default": path}}
            kind, known = self._segments(info)
            downloader = kind(session, params)
            downloader.add_progress_hook(functools.partial(count_progress, budget))
            try:
                done = downloader.download(path, known)
            except (YoutubeDLError, OSError) as error:
                raise self._translated(error) from error
            if not done or not Path(path).exists():
                raise StatusError("error", "yt-dlp could not fetch the segments of this stream")
            return self._cut(path, request, budget, info.get("duration"))

    def _segments(self, info: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Choose yt-dlp's own downloader, so that none of its helpers (ffmpeg, rtmpdump) opens connections."""
        protocol = str(info.get("protocol"))
        if protocol == "http_dash_segments":
            return DashSegmentsFD, dict(info)
        if protocol not in ("m3u8", "m3u8_native"):
            raise StatusError("error", f"media over {protocol} is not fetched")
        try:
            listing = self._session().urlopen(Request(info["url"], headers=info.get("http_headers") or {})).read()
        except YoutubeDLError as error:
            raise self._translated(error) from error
        text = listing.decode("utf-8", "replace")
        if "#EXT-X-ENDLIST" not in text and "PLAYLIST-TYPE:VOD" not in text:
            raise StatusError("live", "a stream without an end")
        if not HlsFD.can_download(text, dict(info)):
            raise StatusError("drm", "the segments are encrypted")
        return HlsFD, {**info, "protocol": "m3u8_native", "hls_media_playlist_data": text}

    def _cut(self, file: Any, request: ClipRequest, budget: Budget, duration: float | None = None) -> Section:
        section = cut_section(
            file,
            start=request.start_seconds,
            seconds=request.seconds,
            duration=duration,
            max_duration=self.options.max_duration_seconds,
            head=file.head() if isinstance(file, RangeReader) else b"",
            check=budget.check,
        )
        if isinstance(file, RangeReader) and file.error is not None:
            raise file.error
        return section

    def _request(self, chosen: Mapping[str, Any], first: int, last: int) -> _Answer:
        headers = {
            **(chosen.get("http_headers") or {}),
            "Range": f"bytes={first}-{last}",
            "Accept-Encoding": "identity",
        }
        try:
            return _Answer(self._session().urlopen(Request(chosen["url"], headers=headers)), self._translated)
        except YoutubeDLError as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StatusError:
        secrets = tuple(cookie.value for cookie in self._session().cookiejar if len(cookie.value or "") >= _MIN_SECRET)
        return _translate(error, secrets)

    def _session(self) -> Any:
        if self._ydl is None:
            self._ydl = _Session(self.options, self._watch)
        return self._ydl


class _Answer:
    """yt-dlp's response as the reader wants it, its errors translated."""

    def __init__(self, response: Any, translate: Callable[[Exception], StatusError]) -> None:
        self._response, self._translate = response, translate
        self.status = int(response.status)

    def get_header(self, name: str) -> str | None:
        return self._response.get_header(name)

    def read(self, amount: int) -> bytes:
        try:
            return self._response.read(amount)
        except IncompleteRead as error:
            raise StatusError("truncated", clean_message(str(error))) from error
        except YoutubeDLError as error:
            raise self._translate(error) from error

    def close(self) -> None:
        self._response.close()


class _Session(yt_dlp.YoutubeDL):
    """A quiet YoutubeDL that reaches only public hosts, over one guarded connection handler."""

    def __init__(self, options: FetchOptions, watch: Watch) -> None:
        self._guard = {"allow_private": options.allow_private, "watch": watch}
        self._answers: list[Any] = []
        self.is_probing = False
        super().__init__(
            {
                "quiet": True,
                "no_warnings": True,
                "noprogress": True,
                "logger": _Silence(),
                "format": choose_formats,
                "noplaylist": True,
                "extract_flat": "in_playlist",
                "socket_timeout": options.timeout_seconds,
                "extractor_retries": 0,
                "cachedir": False,
                "cookiefile": io.StringIO(options.cookies) if options.cookies else None,
                "proxy": options.proxy,
                **({"js_runtimes": dict(options.js_runtimes)} if options.js_runtimes else {}),
            },
            auto_init=False,
        )
        for extractor in options.extractors:
            self.add_info_extractor(extractor())
        self.add_default_info_extractors()

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        return super().build_request_director([type("GuardedRH", (_GuardedRH,), {"guard": self._guard})])

    def urlopen(self, req: Any) -> Any:
        if self.is_probing and isinstance(req, Request):  # a media file: its type is wanted, not its bytes
            req.headers.setdefault("Range", f"bytes=0-{PAGE_BYTES - 1}")
        answer = super().urlopen(req)
        self._answers.append(answer)
        return answer

    def close_answers(self) -> None:
        """Drop connections that an extractor left open."""
        for answer in self._answers:
            answer.close()
        self._answers.clear()


class _Handler(GuardedConnections, HTTPHandler):
    """yt-dlp's connections, guarded."""


class _GuardedRH(UrllibRH):
    """yt-dlp's urllib handler with guarded connections, and neither ftp nor file."""

    _SUPPORTED_URL_SCHEMES = ("http", "https", "data")
    guard: Mapping[str, Any]

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
        opener = super()._create_instance(proxies, cookiejar, legacy_ssl_support)
        context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        handler = _Handler(context=context, source_address=self.source_address)
        handler.allow_private, handler.watch = self.guard["allow_private"], self.guard["watch"]
        for table in (opener.handle_open, opener.process_request, opener.process_response):
            for scheme in ("http", "https"):
                table[scheme] = [old for old in table[scheme] if not isinstance(old, HTTPHandler)]
        opener.add_handler(handler)
        return opener

    def _prepare_headers(self, _: Any, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")


class _Silence:
    def debug(self, message: str) -> None: ...

    info = warning = error = debug


def _is_media(url: str, extractors: Sequence[Any]) -> bool:
    """Say whether an address is one of a media file that no extractor but the generic one knows."""
    if Path(urlsplit(url).path).suffix.lower() not in AUDIO_SUFFIXES:
        return False
    kinds = (*extractors, *gen_extractor_classes())
    return next((kind.ie_key() for kind in kinds if kind.suitable(url)), "Generic") == "Generic"


def _translate(error: Exception, secrets: tuple[str, ...]) -> StatusError:
    """Turn what yt-dlp raised into the status of a row."""
    chain = list(error_chain(error))
    text = clean_message(str(error), secrets=secrets)
    own = next((one for one in chain if isinstance(one, StatusError)), None)
    if own is not None:
        return own
    if any(isinstance(one, PrivateAddressError) for one in chain):
        return StatusError("invalid_url", "the link leads to a private address: allow it with --allow-private")
    if any(isinstance(one, GeoRestrictedError) for one in chain):
        return StatusError("geo_blocked", text)
    word = classify_message(text)
    answer = next((one for one in chain if isinstance(one, HTTPError)), None)
    if answer is not None:
        pause = read_retry_after(answer.response.get_header("Retry-After"))
        answer.close()
        word = word if word == "bot_check" else classify_http(answer.status)
        return StatusError(word, text, http_status=answer.status, retry_after_seconds=pause)
    if any(isinstance(one, UnsupportedError) for one in chain):
        return StatusError("no_audio", "a web page without audio or video that yt-dlp can find")
    return StatusError("network" if any(isinstance(one, TransportError) for one in chain) else word, text)
