"""What callers give as clips becomes manifests: whatever reads files reads what lies in memory, too."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedx.audio.clip_inputs import is_one_clip, items_of, read_clips
from embedx.audio.memory_files import MemoryFiles
from embedx.manifest import Manifest, Source
from embedx.manifest.audio_datasets import is_dataset, is_dataset_column

__all__ = ["ClipPart", "as_listed", "clip_parts", "path_list", "rows_of_repeated"]

_CLIPS_AT_A_TIME = 64  # each may be an open file, of which a process has a thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPart:
    """Some of the clips that were given, as files that any process of this machine's user can read.

    Parameters
    ----------
    manifest : Manifest
        One source a clip, in order.
    names : mapping of str to str
        What those that lie in memory are called, by their uri.
    n_before : int
        Clips of the parts before.
    n_all : int, optional
        Clips of all parts, where that is known.
    are_files : bool
        Whether a manifest or paths were given, which are one part.
    """

    manifest: Manifest
    names: Mapping[str, str] = field(default_factory=dict)
    n_before: int = 0
    n_all: int | None = None
    are_files: bool = False

    def called(self, source: Source) -> Source:
        """Return a source under the name that its clip has for the caller."""
        name = self.names.get(source.uri)
        return source if name is None else replace(source, uri=name)

    def told(self, source: Source, message: str) -> str:
        """Return a message with the name that its clip has for the caller."""
        name = self.names.get(source.uri)
        return message if name is None else message.replace(source.uri, name)

    def counting(self, progress: Callable[..., None] | None, start: int = 0) -> Callable[..., None] | None:
        """Let the progress of this part, or of what of it begins at ``start``, count all clips."""
        if progress is None:
            return None
        total = self.n_all or self.n_before + len(self.manifest)
        return lambda done, _, **facts: progress(self.n_before + start + done, total, **facts)


def clip_parts(clips: Any, sampling_rate: Any = None) -> Iterator[ClipPart]:
    """Yield clips as manifests: one of all files, or of a few clips at a time where some lie in memory.

    Parameters
    ----------
    clips : Manifest or object
        A manifest, or what `read_clips` takes.
    sampling_rate : int, optional
        Hertz of the arrays that come without one.

    Yields
    ------
    ClipPart
        Its files are there until the next one is asked for.

    Raises
    ------
    ManifestError
        Paths that are none, as `Manifest.from_paths` says.
    ParameterError, DecodeError
        As `read_clips`.

    Examples
    --------
    >>> for part in clip_parts((np.zeros(400), 16_000)):
    ...     part.manifest.path_of(part.manifest[0]).stat().st_size, part.called(part.manifest[0]).uri
    (1644, 'clip 0')
    """
    if isinstance(clips, Manifest):
        yield ClipPart(manifest=clips, are_files=True)
        return
    paths = path_list(clips)
    if paths is not None:
        yield ClipPart(manifest=Manifest.from_paths(paths), are_files=True)
        return
    n_before, every = 0, read_clips(clips, sampling_rate)
    while some := list(itertools.islice(every, _CLIPS_AT_A_TIME)):
        with MemoryFiles([clip.content for clip in some]) as files:
            pairs = list(zip(some, files.paths, strict=True))
            sources = [_source_of(clip.name) if path is None else Source(path) for clip, path in pairs]
            names = {path: clip.name for clip, path in pairs if path is not None}
            manifest = Manifest(tuple(sources), Path(os.path.abspath(".")))
            yield ClipPart(manifest=manifest, names=names, n_before=n_before, n_all=_count(clips))
        n_before += len(some)


def as_listed(clips: Any) -> Any:
    """Return what was given; an iterator, which can be read only once, as a list."""
    return list(clips) if isinstance(clips, Iterator) and not hasattr(clips, "read") else clips


def path_list(clips: Any) -> list[Any] | None:
    """Return the paths in a list, array or column of paths, one path as it is; None for anything else."""
    if isinstance(clips, str | os.PathLike):
        return clips  # type: ignore[return-value]  # refused where all lists of paths are checked
    if is_one_clip(clips) or is_dataset(clips) or is_dataset_column(clips):
        return None
    items = items_of(clips)
    listed = list(items) if isinstance(items, Sequence | np.ndarray) or hasattr(items, "to_list") else None
    return listed if listed is not None and all(isinstance(item, str | os.PathLike) for item in listed) else None


def rows_of_repeated(clips: Any) -> list[int] | None:
    """Return which of the clips that `clip_parts` gives each path in a list is, where one is listed twice."""
    paths = None if isinstance(clips, Manifest) else path_list(clips)
    if paths is None or isinstance(paths, str | os.PathLike):
        return None
    where = {source.key: i for i, source in enumerate(Manifest.from_paths(paths))}
    return None if len(where) == len(paths) else [where[_source_of(path).key] for path in paths]


def _count(clips: Any) -> int | None:
    items = [clips] if is_one_clip(clips) else clips
    return len(items) if hasattr(items, "__len__") else None


def _source_of(path: str) -> Source:
    return Manifest.from_paths([path])[0]
