"""One cell of a link column is understood: a canonical address, a local file, or damage with its cause."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from embedx.manifest import AUDIO_SUFFIXES

__all__ = ["DAMAGE_CAUSES", "Link", "is_private_host", "public_url", "read_link"]

DAMAGE_CAUSES = {
    "empty": "the cell is empty",
    "spreadsheet_error": "a spreadsheet took the id for a formula and wrote its error over it",
    "too_short": "shorter than the 11 characters of a YouTube id: characters were cut off",
    "impossible_id": "11 characters, but no YouTube id ends with this one: a character was changed",
    "not_a_link": "neither a URL nor a YouTube id nor a file that is there",
    "scheme": "only http and https links and plain local paths are fetched",
    "credentials": "the link holds a user name or password: give them with --cookies instead",
    "private_address": "an address of this machine or a private network: allow it with --allow-private",
    "control_characters": "the link holds control characters",
}
"""Why a link can never be fetched; a stable word and what it means."""

_SPREADSHEET_ERROR = re.compile(r"#(NAME\?|REF!|VALUE!|N/A|NUM!|DIV/0!|NULL!|ERROR!|SPILL!|CALC!)", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_ID_PIECE = re.compile(r"[A-Za-z0-9_-]{1,10}")
_ID_LAST = frozenset("AEIMQUYcgkosw048")  # an id is 64 bits in 11 base64 digits: the last digit holds only 4 of them
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_YOUTUBE_HOSTS = frozenset(
    ["youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com"]
    + ["youtu.be", "www.youtu.be", "youtube-nocookie.com", "www.youtube-nocookie.com"]
)
_SECRET_NAME = re.compile(
    r"sig|token|key|auth|expire|credential|policy|secret|pass|session|hmac|hdnts|x-amz|x-goog|jwt|^st$|^e$|^ip$|^h$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Link:
    """What one cell of the link column means.

    Parameters
    ----------
    text : str
        The cell, without space around it.
    url : str or None
        Canonical address or absolute local path; None when the cell is damaged.
    video : str
        What must not be cut apart by a split: the same for all addresses of one video.
    host : str
        Whose patience is spent by fetching it; empty for a local file.
    damage : str or None
        A key of `DAMAGE_CAUSES`.

    Examples
    --------
    >>> read_link("dQw4w9WgXcQ").url
    'https://www.youtube.com/watch?v=dQw4w9WgXcQ'
    >>> read_link("https://youtu.be/dQw4w9WgXcQ?t=42").video
    'youtube:dQw4w9WgXcQ'
    >>> read_link("JLZlCZ0").damage
    'too_short'
    """

    text: str
    url: str | None = None
    video: str = ""
    host: str = ""
    damage: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url is not None and not self.host


def read_link(text: str, *, root: str | os.PathLike[str] = ".", allow_private: bool = False) -> Link:
    """Understand one cell without a request and without guessing.

    Parameters
    ----------
    text : str
        A URL, a bare YouTube id, or a path (relative to ``root``).
    root : path-like
        Folder of the CSV.
    allow_private : bool
        Whether addresses of this machine and of private networks may be fetched.

    Returns
    -------
    Link
        With ``damage`` set when it can never be fetched.
    """
    cell = text.strip()
    damage = _plain_damage(cell)
    if damage:
        return Link(cell, damage=damage)
    if _ID.fullmatch(cell):
        return _youtube(cell, cell)
    scheme = _SCHEME.match(cell)
    if scheme and scheme[1].lower() not in ("http", "https"):
        return Link(cell, damage="scheme")
    if scheme:
        return _web(cell, cell, allow_private)
    if cell.split("/", 1)[0].lower() in _YOUTUBE_HOSTS:
        return _web(cell, f"https://{cell}", allow_private)
    return _local(cell, root)


def _plain_damage(cell: str) -> str | None:
    if not cell:
        return "empty"
    if _SPREADSHEET_ERROR.fullmatch(cell):
        return "spreadsheet_error"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in cell):
        return "control_characters"
    return None


def _youtube(text: str, video_id: str) -> Link:
    if not _ID.fullmatch(video_id):
        return Link(text, damage="too_short" if _ID_PIECE.fullmatch(video_id) else "not_a_link")
    if video_id[-1] not in _ID_LAST:
        return Link(text, damage="impossible_id")
    url = f"https://www.youtube.com/watch?v={video_id}"
    return Link(text, url, f"youtube:{video_id}", "www.youtube.com")


def _web(text: str, url: str, allow_private: bool) -> Link:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except (ValueError, UnicodeError):
        return Link(text, damage="not_a_link")
    if not host or any(letter.isspace() for letter in url):
        return Link(text, damage="not_a_link")
    if parts.username is not None or parts.password is not None:
        return Link(text, damage="credentials")
    if host in _YOUTUBE_HOSTS and (video_id := _youtube_id(host, parts)) is not None:
        return _youtube(text, video_id)
    if not allow_private and is_private_host(host):
        return Link(text, damage="private_address")
    scheme = parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port in (None, {"http": 80, "https": 443}[scheme]) else f"{shown}:{port}"
    clean = urlunsplit((scheme, netloc, parts.path or "/", parts.query, ""))
    return Link(text, clean, clean, netloc)


def _youtube_id(host: str, parts: SplitResult) -> str | None:
    """Return the id in a YouTube address; None for addresses that name no video (channels, lists)."""
    words = [word for word in parts.path.split("/") if word]
    if host.endswith("youtu.be"):
        return words[0] if words else None
    if words[:1] == ["watch"]:
        return parse_qs(parts.query, keep_blank_values=True).get("v", [None])[0]
    if len(words) > 1 and words[0] in ("shorts", "embed", "live", "v"):
        return words[1]
    return None


def _local(cell: str, root: str | os.PathLike[str]) -> Link:
    path = Path(os.path.normpath(os.path.join(os.path.abspath(root), cell)))
    if path.is_file():
        return Link(cell, str(path), str(path))
    looks_like_id = _ID_PIECE.fullmatch(cell) and path.suffix.lower() not in AUDIO_SUFFIXES
    return Link(cell, damage="too_short" if looks_like_id else "not_a_link")


def is_private_host(host: str) -> bool:
    """Say whether a host name or address is, by itself, one of this machine or of a private network.

    Names are not resolved here; the connection is checked again when it is made.

    Examples
    --------
    >>> is_private_host("127.0.0.1"), is_private_host("localhost"), is_private_host("example.org")
    (True, True, False)
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa")):
        return True
    try:
        address = ipaddress.ip_address(name.split("%", 1)[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global or address.is_multicast


def public_url(url: str) -> str:
    """Return an address that may be shown: without user, fragment, and values of signing parameters.

    Examples
    --------
    >>> public_url("https://u:p@cdn.example.org/a.mp3?id=7&Signature=abc#x")
    'https://cdn.example.org/a.mp3?id=7&Signature=...'
    """
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return url
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    query = "&".join(
        f"{name}=..." if eq and _SECRET_NAME.search(name) else name + eq + value for name, eq, value in pairs
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
