"""A model that reads long recordings: window by window, in bounded memory, into time lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.loader import ClipRequest, clip_blocks
from embedx.audio.windows import WindowPlan, plan_spans
from embedx.checks import require_number
from embedx.errors import DecodeError, EmbedxWarning, ParameterError
from embedx.extract.window_rows import WindowRowsEncoder
from embedx.manifest import Source
from embedx.recipe import Resources
from embedx.text import count
from embedx.timeline import SegmentOptions, TimeLine

__all__ = ["RecordingReader", "choose_windows", "default_options"]

Progress = Callable[[float], None]

_WINDOW_SECONDS = 2.0
_LEAST_WINDOW_SECONDS = 0.5
_HOPS_A_WINDOW = 4
_MOST_TIMES_SHORTER = 4
_MOST_TIMES_LONGER = 3
_AT_A_TIME = 256


def choose_windows(
    training: Any, longest: float, window_seconds: float | None, hop_seconds: float | None
) -> tuple[float, float]:
    """Return length and distance of the windows of a time line, in seconds.

    Unless told otherwise a window is as long as the median clip that was learned from, from 0.5 to 2 s, and the next
    one begins a quarter of it later.

    Parameters
    ----------
    training : mapping
        A model's facts of its training; ``median_clip_seconds`` may be missing in older ones.
    longest : float
        The longest window that the model's recipe allows.
    window_seconds, hop_seconds : float or None
        What was asked for.

    Raises
    ------
    ParameterError
        A length that is none.

    Examples
    --------
    >>> choose_windows({"median_clip_seconds": 5.0}, 10.0, None, None)
    (2.0, 0.5)
    >>> choose_windows({"median_clip_seconds": 0.8}, 10.0, None, None)
    (0.8, 0.2)
    """
    require_number("window_seconds", window_seconds, 0, optional=True, open_low=True)
    require_number("hop_seconds", hop_seconds, 0, optional=True, open_low=True)
    if window_seconds is None:
        learned = training.get("median_clip_seconds") or _WINDOW_SECONDS
        window_seconds = round(min(max(learned, _LEAST_WINDOW_SECONDS), _WINDOW_SECONDS, longest), 3)
    return float(window_seconds), float(hop_seconds or window_seconds / _HOPS_A_WINDOW)


def default_options(model: Any, **given: Any) -> SegmentOptions:
    """Return how a model's probabilities become segments unless told otherwise.

    Where a clip may have several labels, each class has to reach its own threshold of the model
    (`SegmentOptions.from_thresholds`).

    Parameters
    ----------
    model : Model
        Says what it hears.
    **given
        Options that were asked for, of `SegmentOptions`.

    Raises
    ------
    ParameterError
        As `SegmentOptions`.
    """
    if model.label_separator is None:
        return SegmentOptions(**given)
    return SegmentOptions.from_thresholds(dict(zip(model.classes, model.thresholds, strict=True)), **given)


class RecordingReader:
    """Reads one recording after the other; the encoder is loaded once.

    Parameters
    ----------
    model : Model
        Says what it hears.
    window_seconds, hop_seconds : float, optional
        See `choose_windows`.
    one_pass : bool
        Whether the encoder hears each second once, in chunks as long as the recipe's windows, and a window is pooled
        out of the frames of its chunk.
    options : SegmentOptions, optional
        How probabilities become segments: by default, those of `default_options`.
    resources : Resources
        On what.

    Raises
    ------
    ParameterError
        The windows do not suit the model, an option names no class, or one pass is not possible.

    Warns
    -----
    EmbedxWarning
        The windows are much shorter, or longer, than the clips that were learned from.

    Examples
    --------
    >>> from embedx import Model, RecordingReader
    >>> with RecordingReader(Model.load("model"), window_seconds=2.0) as reader:  # doctest: +SKIP
    ...     for path in ("monday.wav", "tuesday.wav"):
    ...         print(reader.read(path).segments)
    """

    def __init__(
        self,
        model: Any,
        *,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        one_pass: bool = False,
        options: SegmentOptions | None = None,
        resources: Resources = Resources(),  # noqa: B008
    ) -> None:
        options = default_options(model) if options is None else options
        options.require_classes(model.classes)
        longest = model.recipe.window_seconds
        self.window_seconds, self.hop_seconds = choose_windows(model.training, longest, window_seconds, hop_seconds)
        self.model, self.options, self.one_pass = model, options, one_pass
        self._head: Any = None
        self._encoder: WindowRowsEncoder | None = None
        timing = {"window_seconds": self.window_seconds, "hop_seconds": self.hop_seconds}
        if model.input_kind == "sources":
            if one_pass:
                raise ParameterError(
                    f"one pass is not possible with {model.head}: it was trained as a whole and hears each window "
                    "itself"
                )
            self._head = model.estimator.set_params(device=resources.device, batch_seconds=resources.batch_seconds)
            self._plan = WindowPlan.from_recipe(model.recipe.replace(**timing))
        else:
            control = model.input_kind == "control"
            self._encoder = WindowRowsEncoder(
                model.recipe, **timing, one_pass=one_pass, control=control, resources=resources
            )
        _warn_of_length(model, self.window_seconds)

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._encoder is not None:
            self._encoder.close()

    def read(
        self,
        path: str,
        start_seconds: float = 0.0,
        stop_seconds: float | None = None,
        *,
        progress: Progress | None = None,
    ) -> TimeLine:
        """Return the time line of a recording, or of a part of it.

        Parameters
        ----------
        path : str
            The file.
        start_seconds, stop_seconds : float
            The part; None reads to the end.
        progress : callable, optional
            Called with the second of the recording that has been reached.

        Raises
        ------
        SourceError
            The file cannot be read to its end, or is too short; the message names it.
        """
        windows = self._from_audio if self._encoder is None else self._from_rows
        starts, ends, proba = [], [], []
        for start, end, values in windows(path, start_seconds, stop_seconds):
            starts.append(start)
            ends.append(end)
            proba.append(values)
            if progress is not None:
                progress(float(end[-1]))
        return TimeLine(
            path=path,
            classes=self.model.classes,
            start_seconds=np.concatenate(starts),
            end_seconds=np.concatenate(ends),
            proba=np.concatenate(proba),
            options=self.options,
        )

    def _from_rows(self, path: str, start: float, stop: float | None) -> Iterator[tuple[NDArray[np.float64], ...]]:
        assert self._encoder is not None
        dtype = self.model.recipe.store_dtype if self.model.input_kind == "embeddings" else "float32"
        for rows in self._encoder.rows(path, start, stop):
            proba = self.model.probabilities(rows.inputs.astype(dtype))  # rounded as the store rounds
            yield rows.start_seconds, rows.end_seconds, proba

    def _from_audio(self, path: str, start: float, stop: float | None) -> Iterator[tuple[NDArray[np.float64], ...]]:
        """Let a head that learned from audio hear the windows itself."""
        rate = self.model.recipe.sample_rate
        whole = self.model.recipe.replace(offset="start", max_seconds=None)
        request = ClipRequest.from_recipe(path, whole, start_seconds=start, stop_seconds=stop)
        n_samples = sum(len(block) for block in clip_blocks(request))
        bounds = np.array(plan_spans(n_samples, self._plan)) / rate + start
        for first in range(0, len(bounds), _AT_A_TIME):
            some = bounds[first : first + _AT_A_TIME]
            windows = [Source(path, start_seconds=a, stop_seconds=b) for a, b in some.tolist()]
            proba, errors = self._head.predict_with_errors(windows)
            wrong = next(filter(None, errors), None)
            if wrong is not None:
                raise DecodeError(wrong)
            yield some[:, 0], some[:, 1], self.model.calibrated(proba)


def _warn_of_length(model: Any, window_seconds: float) -> None:
    """Say that a model learned from clips of quite another length."""
    learned = model.training.get("median_clip_seconds")
    if not learned:
        return
    is_short = window_seconds * _MOST_TIMES_SHORTER < learned
    if is_short or window_seconds > _MOST_TIMES_LONGER * learned:
        n_clips = count(int(model.training.get("n_clips", 0)), "clip")
        warnings.warn(
            f"windows of {window_seconds:g} s are much {'shorter' if is_short else 'longer'} than what the model "
            f"learned from ({n_clips}, {learned:.3g} s at the median): expect less accuracy than its scores say, or "
            "choose windows nearer to that",
            EmbedxWarning,
            stacklevel=3,
        )
