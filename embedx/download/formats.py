"""Which of a video's formats is fetched, and what is kept of what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["choose_formats", "is_plain", "known_facts"]

_MIN_BITRATE_KBPS = 48
_FACTS = ("id", "extractor", "title", "uploader", "channel", "channel_id", "license", "upload_date")
_MAX_TEXT = 300

Format = Mapping[str, Any]


def choose_formats(context: Mapping[str, Any]) -> Iterator[Format]:
    """Choose the cheapest format that is good enough, as a format selector of yt-dlp.

    Audio alone before audio with video, ranges before segments, the original language before dubs,
    then the smallest bit rate of at least 48 kbit/s, else the best.

    Parameters
    ----------
    context : mapping
        ``formats``: the video's formats, the best last.

    Yields
    ------
    mapping
        One format, or none.

    Examples
    --------
    >>> forms = [{"format_id": str(k), "abr": k, "vcodec": "none", "protocol": "https"} for k in (32, 50, 128)]
    >>> [form["format_id"] for form in choose_formats({"formats": forms})]
    ['50']
    """
    with_audio = [form for form in context["formats"] if form.get("acodec") != "none"]
    for pool in (
        [form for form in with_audio if is_plain(form) and form.get("vcodec") == "none"],
        [form for form in with_audio if is_plain(form)],
        [form for form in with_audio if form.get("vcodec") == "none"],
        with_audio,
    ):
        if pool:
            yield _cheapest(pool)
            return


def is_plain(form: Format) -> bool:
    """Say whether the format is one file over HTTP, of which ranges can be asked for."""
    return str(form.get("protocol") or "http") in ("http", "https") and not form.get("fragments")


def known_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the journal keeps of yt-dlp's answer: no address, no cookie, no header."""
    facts = {name: info.get(name) for name in _FACTS}
    short = {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in facts.items()}
    return {**short, "format": info.get("format_id")}


def _cheapest(pool: Sequence[Format]) -> Format:
    original = max(_language(form) for form in pool)
    pool = [form for form in pool if _language(form) == original]
    enough = [form for form in pool if _bitrate(form) >= _MIN_BITRATE_KBPS]
    return min(enough, key=_bitrate) if enough else pool[-1]


def _language(form: Format) -> float:
    preference = form.get("language_preference")
    return -1 if preference is None else preference


def _bitrate(form: Format) -> float:
    return form.get("abr") or form.get("tbr") or 0
