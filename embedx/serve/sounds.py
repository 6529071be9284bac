"""The sound of a dataset's clips, as a browser plays it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from embedx.audio.loader import clip_blocks
from embedx.audio.opus import encode_opus
from embedx.containers.clip_files import is_clip
from embedx.dataset import Dataset
from embedx.report.players import sound_request

__all__ = ["clip_sound"]

_LONGEST_SECONDS = 30.0


def clip_sound(dataset: Dataset, i: int) -> bytes | None:
    """Return a clip as Ogg Opus, at most half a minute of it; None where there is no such clip, or no audio of it.

    Raises
    ------
    DecodeError
        The audio cannot be read.
    """
    if not 0 <= i < len(dataset):
        return None
    source = dataset.sources[i]
    path = Path(dataset.root) / source.uri
    if not is_clip(path):
        return None
    longest = source.start_seconds + _LONGEST_SECONDS
    stop = longest if source.stop_seconds is None else min(longest, source.stop_seconds)
    request = sound_request(path, replace(source, stop_seconds=stop), dataset.recipe)
    return encode_opus(np.concatenate(list(clip_blocks(request))))
