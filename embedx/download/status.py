"""What became of a row: the words, whether trying again can help, and what the reader can do."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from embedx.errors import FetchError

__all__ = [
    "STATUSES",
    "Status",
    "StatusError",
    "classify_http",
    "classify_message",
    "clean_message",
    "read_retry_after",
]


@dataclass(frozen=True, slots=True)
class Status:
    """One word of the taxonomy.

    Parameters
    ----------
    word : str
        As it stands in the journal.
    is_permanent : bool
        Whether another try cannot help.
    max_attempts : int
        Tries within one run.
    advice : str
        What the reader can do.
    spends_patience : bool
        Whether it counts towards stopping the host (it smells of being blocked).
    """

    word: str
    is_permanent: bool
    max_attempts: int
    advice: str
    spends_patience: bool = False


class StatusError(FetchError):
    """One clip was not fetched; ``reason`` is a word of `STATUSES`.

    Parameters
    ----------
    word : str
        The status.
    message : str
        What happened, in one line.
    http_status : int, optional
        The answer's code, where there was one.
    retry_after_seconds : float, optional
        How long the host asked to be left alone.
    """

    def __init__(
        self, word: str, message: str, *, http_status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = word
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds


_ALL = (
    Status("ok", True, 1, ""),
    Status("invalid_url", True, 1, "correct the link in the CSV (--repair-ids search can look for cut ids)"),
    Status(
        "label_conflict", True, 1, "one video, two labels: correct the CSV, or keep the first with --conflicts first"
    ),
    Status("not_needed", True, 1, ""),
    Status("unavailable", True, 1, "it is gone: nothing can be done"),
    Status("private", True, 1, "its owner must share it, or give --cookies of an account that can see it"),
    Status("age_restricted", True, 1, "--cookies of an adult's account"),
    Status("members_only", True, 1, "--cookies of an account that is a member"),
    Status("geo_blocked", True, 1, "--proxy in a country where it may be seen"),
    Status("drm", True, 1, "it is protected: nothing can be done"),
    Status("no_audio", True, 1, "there is no audio to take"),
    Status("live", True, 1, "run again when the broadcast is over, with --retry-status live"),
    Status("too_long", True, 1, "raise --max-duration-seconds, then --retry-status too_long"),
    Status("too_large", True, 1, "raise --max-bytes, then --retry-status too_large"),
    Status("past_end", True, 1, "the section begins after the end: ask for an earlier one"),
    Status("rate_limited", False, 3, "run again later; a longer --pause-seconds helps", True),
    Status("bot_check", False, 1, "wait a few hours, or --cookies of a signed-in browser; then run again", True),
    Status("forbidden", False, 2, "run again; an up-to-date yt-dlp helps", True),
    Status("network", False, 3, "run again when the network and the server work again", True),
    Status("truncated", False, 2, "run again; if it stays, the file at the source is cut off"),
    Status("corrupt", False, 2, "run again; if it stays, the file at the source is damaged"),
    Status("error", False, 2, "read its text in failures.csv; an up-to-date yt-dlp helps", True),
    Status("not_tried", False, 1, "run again: its host was stopped, or the run ended, before its turn"),
)
STATUSES = {status.word: status for status in _ALL}
"""Every status by its word."""

_BY_HTTP = {
    401: "private",
    402: "members_only",
    403: "forbidden",
    404: "unavailable",
    408: "network",
    410: "unavailable",
    416: "corrupt",
    425: "network",
    429: "rate_limited",
    451: "geo_blocked",
}

_WORDS: dict[str, tuple[str, ...]] = {
    "bot_check": (r"not a (ro)?bot", r"anti-?bot", r"captcha", r"unusual traffic"),
    "rate_limited": (r"too many requests", r"rate.?limit", r"content isn.t available, try again later"),
    "age_restricted": (r"confirm your age", r"age.?(restricted|gate|verif)", r"inappropriate for some users"),
    "members_only": (
        r"members?.only",
        r"channel.s members",
        r"join this channel",
        r"\bpremium\b",
        r"\bpay",
        r"purchase",
    ),
    "geo_blocked": (r"geo.?restrict", r"available (in|from) your (country|location|region)", r"in your country"),
    "private": (
        r"\bprivate\b",
        r"log.?in required",
        r"requires? (a )?(log.?in|authentication)",
        r"sign in",
        r"registered users",
    ),
    "drm": (r"\bdrm\b",),
    "live": (r"live event", r"premieres? in", r"will begin in", r"\bis live\b", r"currently live"),
    "no_audio": (r"unsupported url", r"no video formats", r"requested format is not available", r"there.s no video"),
    "unavailable": (r"unavailable", r"not available", r"removed", r"deleted", r"terminated", r"do(es)?( not|n.t) exist")
    + (r"no longer", r"not found"),
    "network": (r"timed? ?out", r"connection", r"resolve", r"temporary failure", r"bytes read", r"remote end closed")
    + (r"\bssl\b", r"reset by peer", r"unreachable"),
}
"""Words of yt-dlp's errors by the status that they stand for; the first that fits counts."""

_BY_TEXT = {word: re.compile("|".join(patterns), re.IGNORECASE) for word, patterns in _WORDS.items()}

_URL = re.compile(r"(https?://)[^\s'\"<>)\]]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]+")
_BUG_REPORT = re.compile(r"[;,.]? *please report this issue on.*|\(caused by .*", re.IGNORECASE | re.DOTALL)


def classify_http(code: int) -> str:
    """Return the status that an HTTP answer stands for.

    Examples
    --------
    >>> [classify_http(code) for code in (404, 429, 503, 418)]
    ['unavailable', 'rate_limited', 'network', 'error']
    """
    return _BY_HTTP.get(code, "network" if code >= 500 else "error")


def classify_message(text: str) -> str:
    """Return the status that the words of yt-dlp's error stand for.

    Examples
    --------
    >>> classify_message("Sign in to confirm you're not a bot")
    'bot_check'
    >>> classify_message("Private video. Sign in if you've been granted access")
    'private'
    """
    return next((word for word, pattern in _BY_TEXT.items() if pattern.search(text)), "error")


def clean_message(text: str, *, secrets: tuple[str, ...] = ()) -> str:
    """Make a foreign error's text one short line without addresses' queries, cookies or control characters.

    Examples
    --------
    >>> clean_message("ERROR: cannot read https://h/a?sig=s3cret")
    'cannot read https://h/a'
    """
    line = _BUG_REPORT.sub("", _ESCAPES.sub(" ", text))
    for secret in secrets:
        line = line.replace(secret, "...")
    line = _URL.sub(lambda match: _bare(match[0]), line)
    line = " ".join(line.split()).removeprefix("ERROR: ")
    return line if len(line) <= 300 else line[:297] + "..."


def _bare(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.split("?", 1)[0].split("#", 1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def read_retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date, RFC 9110); None without one.

    Examples
    --------
    >>> read_retry_after("120")
    120.0
    """
    words = (text or "").strip()
    if words.isdigit():
        return float(words)
    try:
        return max(0.0, parsedate_to_datetime(words).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
