"""What is learned from: audio, read once through extraction's own loader, labels, and the part that is held out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from embedx.audio.decode import decode
from embedx.audio.loader import ClipEnd, ClipRequest, ClipWindow, load_clip
from embedx.audio.windows import plan_windows
from embedx.checks import require_labels
from embedx.errors import ClipTooShortError, DatasetError, DecodeError, ParameterError, SourceError
from embedx.evaluation.splits import stratified_holdout
from embedx.heads.finetune.settings import FineTuneSettings
from embedx.manifest import Source
from embedx.manifest.manifest import text_of
from embedx.recipe import Recipe

__all__ = ["AudioDataset", "Clip", "Targets", "as_sources", "read_targets"]

_FEWEST_FOLDS = 3
"""Never hold out more than a third: with two speakers that would be one of them."""


def as_sources(X: Any) -> list[Source]:
    """Take sources or paths, in a list or an object array of shape (n,).

    Raises
    ------
    ParameterError
        Something else, such as embeddings.

    Examples
    --------
    >>> [source.uri for source in as_sources(["/d/a.wav", Source("/d/b.wav", start_seconds=1.0)])]
    ['/d/a.wav', '/d/b.wav']
    """
    if getattr(X, "ndim", 1) != 1 or isinstance(X, (str, bytes, os.PathLike)):
        raise ParameterError(f"fine-tuning takes a list of sources or paths, not {_shape(X)}")
    return [item if isinstance(item, Source) else Source(os.path.abspath(_path(item))) for item in X]


def _path(item: Any) -> str:
    if isinstance(item, (str, os.PathLike)):
        return os.fspath(item)
    raise ParameterError(f"fine-tuning takes sources or paths, not {type(item).__name__}")


def _shape(X: Any) -> str:
    return f"an array of shape {X.shape}" if hasattr(X, "shape") else f"one {type(X).__name__}"


@dataclass(slots=True, eq=False)
class Clip:
    """One clip that can be read: its part of the file that the recipe uses.

    Parameters
    ----------
    source : Source
        With an absolute path.
    start_seconds : float
        Where that part begins in the file.
    n_samples : int
        Its length.
    samples : ndarray of shape (n_samples,), float32, or None
        The audio, while there is room for it.
    """

    source: Source
    start_seconds: float
    n_samples: int
    samples: NDArray[np.float32] | None


class AudioDataset:
    """The clips of one training or prediction.

    Every clip is read once when the dataset is made, so a file that is missing, damaged or too short is
    known before anything is computed.

    Parameters
    ----------
    sources : sequence of Source
        The clips, with absolute paths.
    recipe : Recipe
        Which part of a file is used, and its windows.
    min_samples : int
        Samples of one frame of the encoder.
    cache_bytes : int
        Audio that is kept in memory; what is beyond is decoded again whenever it is needed.

    Attributes
    ----------
    clips : list of Clip
        One a source; without samples where it cannot be used.
    errors : dict of int to SourceError
        Why a clip cannot be used.
    """

    def __init__(
        self, sources: Sequence[Source], recipe: Recipe, *, min_samples: int, cache_bytes: int = 2**31
    ) -> None:
        self.recipe, self.min_samples = recipe, min_samples
        self._bytes_left = cache_bytes
        self.errors: dict[int, SourceError] = {}
        self.clips = [self._read_or_note(index, source) for index, source in enumerate(sources)]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def seconds(self) -> float:
        """Audio in the dataset, in seconds."""
        return sum(clip.n_samples for clip in self.clips) / self.recipe.sample_rate

    def crop(self, index: int, first: int, n_samples: int) -> NDArray[np.float32]:
        """Return ``n_samples`` samples of a clip, (n_samples,), float32, from ``first`` on."""
        clip = self.clips[index]
        last = min(first + n_samples, clip.n_samples)
        if clip.samples is not None:
            return clip.samples[first:last]
        rate = self.recipe.sample_rate
        start, stop = (clip.start_seconds + n / rate for n in (first, last))
        return decode(clip.source.uri, start_seconds=start, stop_seconds=stop, sample_rate=rate)

    def windows(self, index: int) -> Iterator[tuple[float, float, NDArray[np.float32]]]:
        """Yield the recipe's windows of a clip: start and end in seconds, samples (n,) float32."""
        clip, rate = self.clips[index], self.recipe.sample_rate
        if clip.samples is None:
            for window in _events(clip.source, self.recipe):
                yield window.start_seconds, window.start_seconds + len(window.samples) / rate, window.samples
            return
        for first, last in plan_windows(clip.n_samples, self.recipe):
            yield first / rate, last / rate, clip.samples[first:last]

    def require_all(self) -> AudioDataset:
        """Return the dataset if every clip can be used.

        Raises
        ------
        DecodeError, ClipTooShortError
            What is wrong with the first clip that cannot, and how many there are.
        """
        if not self.errors:
            return self
        first = self.errors[min(self.errors)]
        raise type(first)(
            f"{len(self.errors)} of {len(self)} clips cannot be used, the first: {first}. Leave them out, or mend them",
            first.source,
        )

    def _read_or_note(self, index: int, source: Source) -> Clip:
        try:
            return self._read(source)
        except SourceError as error:
            self.errors[index] = error
            return Clip(source, 0.0, 0, None)

    def _read(self, source: Source) -> Clip:
        """Read a clip whole if there is room for it, else count its samples window by window."""
        pieces: list[NDArray[np.float32]] = []
        n_samples, start, bytes_left = 0, 0.0, self._bytes_left
        every_second = self.recipe.replace(window_seconds=1.0, hop_seconds=1.0, min_tail_seconds=0.0)
        for window in _events(source, every_second):
            start = window.start_seconds if n_samples == 0 else start
            n_samples += len(window.samples)
            bytes_left -= window.samples.nbytes
            pieces.append(window.samples)
            if bytes_left < 0:
                pieces.clear()
        self._require_frame(source, n_samples)
        if bytes_left < 0:
            return Clip(source, start, n_samples, None)
        self._bytes_left = bytes_left
        return Clip(source, start, n_samples, np.concatenate(pieces))

    def _require_frame(self, source: Source, n_samples: int) -> None:
        if n_samples < self.min_samples:
            raise ClipTooShortError(
                f"{source.id} holds {n_samples} samples, less than one frame of the encoder "
                f"({self.min_samples} samples)",
                source,
            )


def _events(source: Source, recipe: Recipe) -> Iterator[ClipWindow]:
    """Yield a clip's windows, or raise what its last event says."""
    request = ClipRequest.from_recipe(
        source.uri, recipe, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
    )
    for event in load_clip(request):
        if isinstance(event, ClipWindow):
            yield event
        elif isinstance(event, ClipEnd) and event.reason:
            raise DecodeError(event.message, source)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Targets:
    """Labelled clips, ready to be trained on.

    Parameters
    ----------
    sources : tuple of Source
        The clips.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    shares : ndarray of shape (n, n_classes), float32
        1 at a clip's class, times its weight.
    train, held_out : ndarray of int
        Which clips are trained on, and which are judged after each epoch.
    """

    sources: tuple[Source, ...]
    classes: NDArray[Any]
    shares: NDArray[np.float32]
    train: NDArray[np.intp]
    held_out: NDArray[np.intp]

    @property
    def labels(self) -> list[str]:
        """Names of the classes as text."""
        return [str(name) for name in self.classes]

    @property
    def hash(self) -> str:
        """64 hexadecimal digits of clips, labels, weights and held-out part."""
        digest = hashlib.sha256(json.dumps([source.key for source in self.sources]).encode())
        for array in (self.shares, self.train.astype(np.int64), self.held_out.astype(np.int64)):
            digest.update(array.tobytes())
        return digest.hexdigest()


def read_targets(X: Any, y: Any, sample_weight: Any, groups: Any, settings: FineTuneSettings) -> Targets:
    """Check what `FineTuneClassifier.fit` was given.

    Raises
    ------
    ParameterError
        X holds something else than sources or paths.
    DatasetError
        Other numbers of clips and labels, no clips, or a single class.
    """
    sources = as_sources(X)
    require_labels(y)
    labels = column_or_1d(y)
    if not len(sources) or len(labels) != len(sources):
        raise DatasetError(
            f"{len(sources)} clips but {len(labels)} labels: give one label a clip, and at least two clips"
        )
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DatasetError(f"every clip is labelled {str(classes[0])!r}: a classifier needs at least two classes")
    weights = _check_sample_weight(sample_weight, np.empty((len(sources), 1)), dtype=np.float64)
    if settings.class_weight is not None:
        weights = weights * compute_class_weight(settings.class_weight, classes=classes, y=labels)[codes]
    shares = (np.eye(len(classes))[codes] * weights[:, None]).astype(np.float32)
    train, held_out = stratified_holdout(
        codes,
        _groups_of(sources, groups),
        settings.validation_fraction,
        settings.random_state,
        fewest_folds=_FEWEST_FOLDS,
    )
    return Targets(sources=tuple(sources), classes=classes, shares=shares, train=train, held_out=held_out)


def _groups_of(sources: Sequence[Source], groups: Any) -> NDArray[np.str_] | None:
    """Return what must not be cut apart: the named groups, else the files; None where every clip is one of its own."""
    given = [None] * len(sources) if groups is None else list(map(text_of, groups))
    if len(given) != len(sources):
        raise DatasetError(f"{len(sources)} clips but {len(given)} groups: give one group a clip")
    names = [name or source.group or source.uri for name, source in zip(given, sources, strict=True)]
    return np.array(names) if len(set(names)) < len(names) else None
