"""Whatever callers give as clips is embedded: files as an extraction does, what lies in memory in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedx.audio.clip_parts import ClipPart, clip_parts
from embedx.errors import ManifestError
from embedx.extract.in_process import are_few
from embedx.extract.job import embed_parts
from embedx.recipe import Recipe, Resources
from embedx.store.rows import ClipResult, Failure

__all__ = ["embed_all", "embed_any"]


def embed_any(
    clips: Any,
    sampling_rate: int | None = None,
    *,
    resources: Resources = Resources(),  # noqa: B008
    in_process: bool | None = None,
    progress: Callable[..., None] | None = None,
    **choices: Any,
) -> Iterator[tuple[list[ClipResult], Recipe, Path]]:
    """Embed clips of any kind; a part is given while the next ones are computed, or read.

    Parameters
    ----------
    clips, sampling_rate
        As in `clip_parts`.
    resources, progress, **choices
        As in `embed_parts`.
    in_process : bool, optional
        Whether files are encoded in this process; by default where they are few. What lies in memory always is.

    Yields
    ------
    results : list of ClipResult
        One a clip, in order; those that lie in memory under the names that they have for the caller.
    recipe : Recipe
        What was computed.
    root : Path
        Folder that relative uris are relative to.
    """
    for part in clip_parts(clips, sampling_rate):
        here = not part.are_files or (are_few(part.manifest, resources) if in_process is None else in_process)
        told = part.counting(progress)
        parts, recipe = embed_parts(part.manifest, resources=resources, progress=told, in_process=here, **choices)
        for results in parts:
            yield [_named(result, part) for result in results], recipe, part.manifest.root


def embed_all(clips: Any, sampling_rate: int | None = None, **choices: Any) -> tuple[list[ClipResult], Recipe, Path]:
    """Return all that `embed_any` gives as one.

    Raises
    ------
    ManifestError
        There is no clip.
    """
    parts = list(embed_any(clips, sampling_rate, **choices))
    if not parts:
        raise ManifestError("there is no clip to embed: give one or more")
    _, recipe, root = parts[0]
    return [result for results, _, _ in parts for result in results], recipe, root


def _named(result: ClipResult, part: ClipPart) -> ClipResult:
    source = part.called(result.source)
    if source is result.source:
        return result
    if isinstance(result, Failure):
        return replace(result, source=source, message=part.told(result.source, result.message))
    return replace(result, source=source)
