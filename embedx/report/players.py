"""Recordings in the page: small clips embedded as Opus within a budget, the others linked."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedx.audio.decode import decode
from embedx.audio.encode import encode_opus
from embedx.errors import EmbedxError
from embedx.manifest import Source

__all__ = ["Player", "make_players"]

BUDGET_BYTES = 4_500_000
"""Base64 characters that recordings may take, so that a page of 400 clips stays under 6 MB."""

LONGEST_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Player:
    """How a page plays a clip: ``audio`` (base64 of Ogg Opus), or ``href`` with the reason why it is only linked."""

    audio: str | None = None
    href: str | None = None
    why: str | None = None


def make_players(
    sources: Mapping[int, Source],
    seconds: Mapping[int, float],
    *,
    root: str | os.PathLike[str],
    page_folder: str | os.PathLike[str] | None,
    budget_bytes: int = BUDGET_BYTES,
) -> dict[int, Player]:
    """Return players for clips, in the order of ``sources``, until the budget is spent.

    Parameters
    ----------
    sources : mapping of int to Source
        Clips by index, the most wanted first.
    seconds : mapping of int to float
        Length of each.
    root : path-like
        What uris are relative to.
    page_folder : path-like or None
        Where the page will lie, for relative links; None links absolutely.
    budget_bytes : int
        Characters that embedded audio may take.
    """
    left, found = budget_bytes, {}
    for i, source in sources.items():
        path = Path(root) / source.uri
        if not path.is_file():
            found[i] = Player(why="the audio was not found when this report was made")
            continue
        player = _embedded(path, source, seconds[i], left)
        found[i] = player or Player(href=_link(path, page_folder), why=_why(seconds[i]))
        left -= len(found[i].audio or "")
    return found


def _why(seconds: float) -> str:
    return "long, so linked" if seconds > LONGEST_SECONDS else "linked, to keep this page small"


def _embedded(path: Path, source: Source, seconds: float, left: int) -> Player | None:
    if seconds > LONGEST_SECONDS or left < 2700 * seconds:
        return None
    try:
        samples = decode(path, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds)
        audio = base64.b64encode(encode_opus(samples)).decode("ascii")
    except EmbedxError:
        return None
    return Player(audio=audio) if len(audio) <= left else None


def _link(path: Path, page_folder: str | os.PathLike[str] | None) -> str:
    absolute = Path(os.path.abspath(path))
    if page_folder is None:
        return absolute.as_uri()
    from urllib.parse import quote

    relative = os.path.relpath(absolute, os.path.abspath(page_folder))
    return "./" + "/".join(quote(part) for part in Path(relative).parts)


def by_want(wanted: Iterable[int], n: int) -> list[int]:
    """Return 0 to n - 1 with the wanted ones first, each once."""
    return list(dict.fromkeys([*wanted, *range(n)]))
