"""A recording of any length as rows of overlapping windows, in order and in bounded memory.

Two ways: each window is encoded alone, as a clip of its own; or the recording is encoded once, in chunks, and the
frames of each window are pooled out of the chunk that holds it. Chunks overlap by less than one window, so that every
window lies whole in one of them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedx.audio.decode_pool import DecodePool
from embedx.audio.loader import ClipEnd, ClipEvent, ClipRequest, ClipWindow
from embedx.audio.windows import WindowPlan, plan_chunks, plan_spans
from embedx.encoders.base import EncoderInfo, Frames
from embedx.encoders.device import as_memory_error, release_memory
from embedx.encoders.frame_pooling import pool_layer
from embedx.encoders.logmel import log_mel_of_each
from embedx.encoders.waveform import WaveformEncoder
from embedx.errors import ClipTooShortError, DecodeError, ParameterError, SourceError
from embedx.extract.compute import ClipEncoder, Row, Window
from embedx.extract.in_process import loaded_encoder
from embedx.extract.planning import RecipePlan
from embedx.recipe import Recipe, Resources

__all__ = ["WindowRows", "WindowRowsEncoder"]

_ROWS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True, eq=False)
class WindowRows:
    """Consecutive windows of one recording.

    Parameters
    ----------
    start_seconds, end_seconds : ndarray of shape (n,), float64
        Bounds in the file.
    inputs : ndarray of shape (n, L * D), float32, or (n, 128), float32
        Pooled frames, layer after layer, or log-mel statistics.
    """

    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    inputs: NDArray[np.float32]


class WindowRowsEncoder:
    """Reads recordings and gives rows of their windows, with the weights that this process holds for clips, too.

    Parameters
    ----------
    recipe : Recipe
        How a clip was embedded. Its windows, offset and longest duration are those of clips: a recording is read whole.
    window_seconds, hop_seconds : float
        Length and distance of the windows, in seconds.
    one_pass : bool
        Whether windows are pooled out of longer chunks.
    control : bool
        Whether the rows are log-mel statistics, which no encoder is needed for: always of each window alone.
    resources : Resources
        On what. With ``workers=0`` audio is decoded in this process, else in one that may crash.

    Raises
    ------
    ParameterError
        A window is longer than those of the recipe or shorter than a frame, or the encoder's frames are not those of
        one moment after the other.
    EncoderError
        The encoder cannot be had.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        window_seconds: float,
        hop_seconds: float,
        one_pass: bool = False,
        control: bool = False,
        resources: Resources = Resources(),  # noqa: B008
    ) -> None:
        plan = RecipePlan({}, recorded=recipe, resources=resources)
        _require_window(plan.info, recipe, window_seconds)
        self.recipe, self.resources, self.control = plan.recipe, resources, control
        timing = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "offset": "start", "max_seconds": None}
        self._timed = plan.recipe.replace(**timing)
        self.plan = WindowPlan.from_recipe(self._timed)
        self.chunks = self.plan
        if one_pass and not control:
            self.chunks = plan_chunks(self.plan, round(recipe.window_seconds * recipe.sample_rate))
        self._compute = _SubWindowEncoder(plan.recipe, plan.info, resources, self.plan, control=control)
        self._pool: DecodePool | None = None
        self._info, self._is_loaded = plan.info, False
        if self.chunks != self.plan:
            self._load()
        if self.chunks != self.plan and not isinstance(self._compute.encoder, WaveformEncoder):
            raise ParameterError(
                f"one pass needs frames in the order of time, which {recipe.encoder} (it reads spectrograms) is not "
                "known to give: let each window be encoded alone"
            )

    def __enter__(self) -> WindowRowsEncoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding process and the threads; the weights stay for the next call (`loaded_encoder`)."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._compute.close()
        self._is_loaded = False

    def _load(self) -> None:
        if not self._is_loaded:
            self._compute.adopt(loaded_encoder(self.recipe, self._info, self.resources))
            self._is_loaded = True

    def rows(self, path: str, start_seconds: float = 0.0, stop_seconds: float | None = None) -> Iterator[WindowRows]:
        """Give the windows of a recording, some at a time, in order.

        Parameters
        ----------
        path : str
            The file.
        start_seconds, stop_seconds : float
            The part of it that is read; None reads to its end.

        Yields
        ------
        WindowRows

        Raises
        ------
        SourceError
            The file cannot be read to its end, is too short, or holds NaN; the message names it.
        """
        request = ClipRequest.from_recipe(path, self._timed, start_seconds=start_seconds, stop_seconds=stop_seconds)
        request = replace(
            request, window_samples=self.chunks.window_samples, hop_samples=self.chunks.hop_samples, min_tail_samples=1
        )
        self._load()
        if self._pool is None:
            self._pool = DecodePool(0 if self.resources.workers == 0 else 1)
        encoded = self._compute.encode(self._chunks(path, self._pool.load([request])))
        parts = (self._of_chunk(row, start_seconds, path) for row in _in_order(encoded))
        yield from _joined(part for part in parts if len(part.inputs))

    def _chunks(self, path: str, events: Iterator[tuple[int, ClipEvent]]) -> Iterator[Window]:
        """Pass on what the decoder gives; what it refuses is raised."""
        number = 0
        for _, event in events:
            if isinstance(event, ClipEnd) and event.reason:
                raise DecodeError(event.message)
            if not isinstance(event, ClipWindow) or not self._spans(len(event.samples), number):
                continue
            if len(event.samples) < self._compute.encoder.min_samples:
                raise ClipTooShortError(
                    f"{path}: {len(event.samples)} samples are less than one frame of {self.recipe.encoder}, "
                    f"{self._compute.encoder.min_samples} samples"
                )
            yield Window(0, number, event.samples)
            number += 1
        if not number:
            raise DecodeError(f"{path} holds no audio")

    def _spans(self, n_samples: int, number: int) -> tuple[tuple[int, int], ...]:
        return plan_spans(n_samples, self.plan, is_first=number == 0)

    def _of_chunk(self, row: Row, start_seconds: float, path: str) -> WindowRows:
        found = row.control if self.control else row.embedding
        rate, window = self.recipe.sample_rate, row.window
        if found is None:
            raise SourceError(f"{path}: no memory for {len(window.samples) / rate:.1f} s: choose another device")
        if not np.isfinite(found).all():
            raise SourceError(f"{path}: NaN or infinity in the audio or in the encoder's output")
        spans = np.array(self._spans(len(window.samples), window.number)) + window.number * self.chunks.hop_samples
        starts, ends = spans.T / rate + start_seconds
        return WindowRows(starts, ends, found.reshape(len(found), -1))


def _require_window(info: EncoderInfo, recipe: Recipe, window_seconds: float) -> None:
    rate = recipe.sample_rate
    if window_seconds > recipe.window_seconds:
        raise ParameterError(
            f"window_seconds={window_seconds:g}: at most {recipe.window_seconds:g}, the longest window that the "
            "embeddings were made of, is allowed"
        )
    if round(window_seconds * rate) < info.min_samples:
        raise ParameterError(
            f"window_seconds={window_seconds:g}: at least {info.min_samples / rate:g}, one frame of {info.id}, is "
            "needed"
        )


class _SubWindowEncoder(ClipEncoder):
    """Encodes chunks, and gives as the embedding and the control of each those of the windows in it."""

    def __init__(
        self, recipe: Recipe, info: EncoderInfo, resources: Resources, plan: WindowPlan, *, control: bool
    ) -> None:
        super().__init__(recipe, info, resources)
        self._plan, self._is_control = plan, control

    def _rows(self, batch: Sequence[Window]) -> list[Row] | None:
        samples = [window.samples for window in batch]
        spans = [plan_spans(len(w.samples), self._plan, is_first=w.number == 0) for w in batch]
        with contextlib.suppress(MemoryError), as_memory_error():
            if self._is_control:
                pieces = [s[a:b] for s, of in zip(samples, spans, strict=True) for a, b in of]
                found = log_mel_of_each(pieces, self.recipe.sample_rate, device=self.device)
                each = np.split(found, np.cumsum([len(of) for of in spans])[:-1])
                return [Row(window, None, values) for window, values in zip(batch, each, strict=True)]
            return [Row(window, values, None) for window, values in zip(batch, self._each(samples, spans), strict=True)]
        release_memory(self.device)
        return None

    def _each(
        self, samples: Sequence[NDArray[np.float32]], spans: Sequence[tuple[tuple[int, int], ...]]
    ) -> Sequence[NDArray[np.float32]]:
        """Return the pooled windows of every chunk, (n, L, D)."""
        if all(of == ((0, len(s)),) for s, of in zip(samples, spans, strict=True)):
            return list(self._pooled(samples)[:, None])
        frames, encoder = self.encoder.encode(samples), self.encoder
        stride = round(encoder.hop_seconds * encoder.sample_rate)
        return [
            _pool_spans(frames, i, _frame_spans(of, stride, encoder.min_samples), self.recipe.pooling)
            for i, of in enumerate(spans)
        ]


def _frame_spans(spans: Sequence[tuple[int, int]], stride: int, reach: int) -> NDArray[np.intp]:
    """Return first frame and number of frames of each window: as many as the window alone would have."""
    return np.array([(-(-start // stride), 1 + max(0, stop - start - reach) // stride) for start, stop in spans])


def _pool_spans(frames: Frames, row: int, spans: NDArray[np.intp], pooling: str) -> NDArray[np.float32]:
    """Pool the frames of each window of one chunk, (n, L, D)."""
    import torch

    with torch.inference_mode():
        last = frames.n_frames[row]
        parts = []
        for n, group in itertools.groupby(spans.tolist(), key=lambda span: span[1]):
            n = min(n, last)
            firsts = torch.tensor([min(first, last - n) for first, _ in group])
            places = (firsts[:, None] + torch.arange(n)).to(frames.layers[0].device)
            pooled = [pool_layer(layer[row][places], pooling=pooling) for layer in frames.layers]
            parts.append(torch.stack(pooled, dim=1))
        return torch.cat(parts).cpu().numpy()


def _in_order(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows in the order of their chunks; threads are done with them in any order."""
    held: dict[int, Row] = {}
    due = 0
    for row in rows:
        held[row.window.number] = row
        while due in held:
            yield held.pop(due)
            due += 1


def _joined(parts: Iterator[WindowRows]) -> Iterator[WindowRows]:
    """Yield parts of a few hundred rows: heads cost more a call than a row."""
    held: list[WindowRows] = []
    for part in parts:
        held.append(part)
        if sum(len(one.inputs) for one in held) >= _ROWS_AT_A_TIME:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(parts: Sequence[WindowRows]) -> WindowRows:
    names = ("start_seconds", "end_seconds", "inputs")
    return WindowRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
