"""Recordings in the page: small clips embedded as Opus within a budget, the others linked."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedx.audio.loader import ClipRequest, clip_blocks
from embedx.audio.opus import encode_opus
from embedx.containers.clip_files import is_clip, split_member
from embedx.errors import EmbedxError
from embedx.manifest import Source
from embedx.recipe import Recipe

__all__ = ["Player", "make_players", "sound_request"]

BUDGET_BYTES = 4_500_000
"""Base64 characters that recordings may take, so that a page of 400 clips stays under 6 MB."""

LONGEST_SECONDS = 12.0
_SAMPLE_RATE = 16_000


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
    recipe: Recipe,
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
    recipe : Recipe
        Says which part of a clip was embedded: that part is played.
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
        if not is_clip(path):
            found[i] = Player(why="the audio was not found when this report was made")
            continue
        player = _embedded(sound_request(path, source, recipe), seconds[i], left)
        found[i] = player or _linked(path, page_folder, _why(seconds[i]))
        left -= len(found[i].audio or "")
    return found


def _linked(path: Path, page_folder: str | os.PathLike[str] | None, why: str) -> Player:
    inside = split_member(path)
    if inside is None:
        return Player(href=_link(path, page_folder), why=why)
    return Player(why=f"{why.replace('linked', 'left out')}: it lies in {os.path.basename(inside[0])}")


def _why(seconds: float) -> str:
    return "long, so linked" if seconds > LONGEST_SECONDS else "linked, to keep this page small"


def sound_request(path: Path, source: Source, recipe: Recipe) -> ClipRequest:
    """Ask for the part of a clip that was embedded, at the rate at which a page plays it."""
    at_rate = recipe.replace(sample_rate=_SAMPLE_RATE)
    return ClipRequest.from_recipe(
        str(path), at_rate, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
    )


def _embedded(request: ClipRequest, seconds: float, left: int) -> Player | None:
    if seconds > LONGEST_SECONDS or left < 2700 * seconds:
        return None
    try:
        samples = _samples(request)
        audio = "" if samples is None else base64.b64encode(encode_opus(samples)).decode("ascii")
    except EmbedxError:
        return None
    return Player(audio=audio) if 0 < len(audio) <= left else None


def _samples(request: ClipRequest) -> NDArray[np.float32] | None:
    """Read a clip; None, and no more than that is read, if it is longer than what is embedded in a page."""
    blocks, n_samples = [], 0
    for block in clip_blocks(request):
        blocks.append(block)
        n_samples += len(block)
        if n_samples > LONGEST_SECONDS * request.sample_rate:
            return None
    return np.concatenate([np.empty(0, np.float32), *blocks])


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
