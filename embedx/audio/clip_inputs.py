"""What callers give as clips: paths, samples, bytes, open files, and columns of them, as one list."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedx.audio.arrays import as_recording
from embedx.errors import DecodeError, ParameterError
from embedx.manifest.audio_datasets import audio_column, is_dataset, is_dataset_column, undecoded
from embedx.text import first_line

__all__ = ["ClipInput", "is_one_clip", "items_of", "list_clips", "read_clips"]

_KINDS = (
    "paths, arrays of samples with sampling_rate, (samples, rate) pairs, {'array', 'sampling_rate'} or "
    "{'bytes', 'path'} as datasets gives them, or files opened in binary"
)


@dataclass(frozen=True, slots=True)
class ClipInput:
    """One clip that was given: where its file lies, or what its file would hold.

    Parameters
    ----------
    name : str
        The path, or what messages and results call it: ``clip 3``, with the name of its file where one is known.
    content : bytes, optional
        A whole audio file; None for one that lies at ``name``.
    """

    name: str
    content: bytes | None = None


def read_clips(clips: Any, sampling_rate: Any = None) -> Iterator[ClipInput]:
    """Yield every clip of what a caller gave, one an item, checked when it is its turn.

    Parameters
    ----------
    clips : object
        One clip, or a list, array, column or dataset of clips. A clip is a path, a numeric array of shape (n,),
        (n_channels, n) or (n, n_channels) (see `as_recording`), a pair of such an array and its rate, a mapping with
        ``array`` and ``sampling_rate`` or with ``bytes`` and ``path``, a decoder or samples of torchcodec, the bytes of
        an audio file, or a file that is open in binary. A path alone is no list.
    sampling_rate : int, optional
        Hertz of the arrays that come without one.

    Raises
    ------
    ParameterError
        Something else, or samples that are none.
    DecodeError
        A decoder of torchcodec cannot decode its clip.

    Examples
    --------
    >>> [clip.name for clip in read_clips(["a.wav", (np.zeros(400), 16_000)])]
    ['a.wav', 'clip 1']
    """
    for number, item in enumerate(items_of(clips)):
        yield _as_clip(item, sampling_rate, f"clip {number}")


def items_of(clips: Any) -> Iterable[Any]:
    """Return the clips that something holds; a single clip is a list of one.

    Raises
    ------
    ParameterError
        It is one path, or nothing that holds clips.
    ManifestError
        A dataset without a column of audio, or with several.
    """
    if isinstance(clips, str | os.PathLike):
        raise ParameterError(f"{os.fspath(clips)!r} is one path: give a list of paths, or a manifest of a folder")
    if is_one_clip(clips):
        return [clips]
    if is_dataset(clips):
        column = audio_column(clips)
        return (row[column] for row in undecoded(clips, column))
    if is_dataset_column(clips):
        return _of_column(clips)
    if hasattr(clips, "columns"):
        return _only_column(clips)
    if isinstance(clips, np.ndarray):
        clips = clips[:, 0] if clips.ndim == 2 and clips.shape[1] == 1 else clips
    if isinstance(clips, Mapping | set | frozenset) or not isinstance(clips, Iterable):
        what = f"the keys {sorted(map(str, clips))}" if isinstance(clips, Mapping) else "it"
        raise ParameterError(f"clips is a {type(clips).__name__}, {what} says nothing of audio: give {_KINDS}")
    return clips


def list_clips(X: Any) -> list[Any]:
    """Return what scikit-learn calls X as a list of clips, paths as text: the rows of a numeric array are clips.

    Raises
    ------
    ParameterError
        X is one clip, is empty, or holds something else than clips.
    """
    if isinstance(X, str | os.PathLike):
        raise ParameterError(f"X is one path ({os.fspath(X)!r}): give a list of paths")
    if is_dataset(X) or is_dataset_column(X):
        return list(items_of(X))
    if is_one_clip(X) and not (isinstance(X, np.ndarray) and X.ndim == 2) and not isinstance(X, tuple):
        raise ParameterError(f"X is one clip (a {type(X).__name__}): give a list of clips")
    clips = list(items_of(X) if hasattr(X, "columns") else X) if hasattr(X, "__iter__") else []
    clips = [one[0] if _is_row(one) else one for one in clips]
    if not clips or not all(isinstance(clip, str | os.PathLike) or is_one_clip(clip) for clip in clips):
        raise ParameterError(
            f"X has {_shape(X)}: it must be a list of one or more paths of audio files, or of clips in memory"
        )
    return [os.fspath(clip) if isinstance(clip, str | os.PathLike) else clip for clip in clips]


def _shape(X: Any) -> str:
    try:
        return f"shape {np.asarray(X, dtype=object).shape}"
    except ValueError:  # items of other lengths
        return "items of several kinds"


def _is_row(item: Any) -> bool:
    """Say whether an item is a row of a table of one column of paths."""
    return isinstance(item, list | np.ndarray) and len(item) == 1 and isinstance(item[0], str | os.PathLike)


def is_one_clip(thing: Any) -> bool:
    """Say whether something is one clip rather than several; paths are always several."""
    if isinstance(thing, Mapping):
        return "array" in thing or "bytes" in thing or isinstance(thing.get("path"), str)
    if isinstance(thing, bytes | bytearray | memoryview) or hasattr(thing, "read") or _is_pair(thing):
        return True
    return _is_numeric(thing) or _is_of_torchcodec(thing)


def _is_numeric(thing: Any) -> bool:
    dtype = getattr(thing, "dtype", None)
    if dtype is None or not hasattr(thing, "ndim") or hasattr(thing, "columns"):
        return False
    if not isinstance(thing, np.ndarray | np.generic):
        return hasattr(thing, "detach")  # a tensor; a column of a data frame is a list
    return dtype.kind not in "OUST"


def _is_number(thing: Any) -> bool:
    return isinstance(thing, numbers.Real) and not isinstance(thing, bool)


def _is_pair(thing: Any) -> bool:
    if not isinstance(thing, tuple) or len(thing) != 2:
        return False
    return _is_number(thing[1 if _is_numeric(thing[0]) else 0]) and any(map(_is_array, thing))


def _is_array(thing: Any) -> bool:
    return _is_numeric(thing) and thing.ndim > 0


def _is_of_torchcodec(thing: Any) -> bool:
    return hasattr(thing, "get_all_samples") or (hasattr(thing, "data") and hasattr(thing, "sample_rate"))


def _of_column(column: Any) -> Iterator[Any]:
    """Yield the files of a dataset's column of audio, or its values where it holds something else."""
    dataset, name = column.source, column.column_name
    if type((dataset.features or {}).get(name)).__name__ == "Audio":
        return (row[name] for row in undecoded(dataset, name))
    return iter(column)


def _only_column(frame: Any) -> Iterable[Any]:
    names = list(frame.columns)
    if len(names) != 1:
        raise ParameterError(
            f"a data frame with the columns {', '.join(map(str, names))}: give the one with the clips, such as "
            "frame['path'], or Manifest.from_dataframe(frame)"
        )
    return list(frame[names[0]])


def _as_clip(item: Any, sampling_rate: Any, name: str) -> ClipInput:
    if isinstance(item, str | os.PathLike):
        return ClipInput(os.fsdecode(item))
    if isinstance(item, Mapping):
        return _of_mapping(item, sampling_rate, name)
    if isinstance(item, bytes | bytearray | memoryview):
        return ClipInput(name, bytes(item))
    if _is_of_torchcodec(item):
        return _of_torchcodec(item, name)
    if hasattr(item, "read"):
        return _of_open_file(item, name)
    if _is_pair(item):
        first_is_rate = _is_number(item[0])
        samples, rate = item[::-1] if first_is_rate else item
        return ClipInput(name, as_recording(samples, rate, name).to_wav())
    if _is_numeric(item):
        return ClipInput(name, as_recording(item, sampling_rate, name).to_wav())
    raise ParameterError(f"{name} is a {type(item).__name__} ({item!r:.60}): give {_KINDS}")


def _of_mapping(item: Mapping[str, Any], sampling_rate: Any, name: str) -> ClipInput:
    """Take a clip as ``datasets`` gives it, decoded or not."""
    path = item.get("path")
    named = f"{name} ({os.path.basename(path)})" if isinstance(path, str) and path else name
    if item.get("array") is not None:
        rate = item.get("sampling_rate", item.get("sample_rate", sampling_rate))
        return ClipInput(named, as_recording(np.asarray(item["array"]), rate, named).to_wav())
    if item.get("bytes") is not None:
        return ClipInput(named, bytes(item["bytes"]))
    if isinstance(path, str) and path:
        return ClipInput(path)
    keys = ", ".join(map(repr, item))
    raise ParameterError(f"{name} is a mapping of {keys}: give {{'array', 'sampling_rate'}} or {{'bytes', 'path'}}")


def _of_torchcodec(item: Any, name: str) -> ClipInput:
    try:
        samples = item.get_all_samples() if hasattr(item, "get_all_samples") else item
    except Exception as error:
        raise DecodeError(f"{name} cannot be decoded by {type(item).__name__}: {first_line(error)}") from error
    return ClipInput(name, as_recording(samples.data, samples.sample_rate, name).to_wav())


def _of_open_file(file: Any, name: str) -> ClipInput:
    before = file.tell() if getattr(file, "seekable", bool)() else None
    content = file.read()
    if before is not None:
        file.seek(before)  # it may be given again
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ParameterError(f"{name} is a file that gives {type(content).__name__}: open it in binary, with mode 'rb'")
    path = getattr(file, "name", None)
    return ClipInput(f"{name} ({os.path.basename(path)})" if isinstance(path, str) else name, bytes(content))
