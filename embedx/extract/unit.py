"""The unit of work: consecutive sources, decoded, encoded and pooled in one go, the same way everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedx.audio.batching import bucket_by_length
from embedx.audio.loader import ClipEnd, ClipEvent, ClipRequest, ClipStamp, ClipWindow
from embedx.audio.pool import DecodePool
from embedx.encoders.base import Encoder, EncoderInfo
from embedx.encoders.catalog import load_encoder
from embedx.encoders.device import choose_device
from embedx.encoders.logmel import log_mel_statistics
from embedx.encoders.pooling import pool_frames
from embedx.errors import ClipTooShortError
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe, Resources
from embedx.store.rows import NO_STAMP, ClipResult, Embedded, Failure, FileStamp

__all__ = ["SOURCES_PER_UNIT", "Unit", "UnitRunner", "plan_units"]

SOURCES_PER_UNIT = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive sources of a manifest; batches never cross it.

    Parameters
    ----------
    number : int
        Position among the units of the whole manifest.
    sources : tuple of Source
        The clips.
    """

    number: int
    sources: tuple[Source, ...]


def plan_units(manifest: Manifest | Sequence[Source], *, n_sources: int = SOURCES_PER_UNIT) -> tuple[Unit, ...]:
    """Cut a manifest into units, before anything that is done is subtracted.

    Parameters
    ----------
    manifest : Manifest
        All sources.
    n_sources : int
        Sources in a unit.

    Examples
    --------
    >>> units = plan_units([Source("a.wav"), Source("b.wav"), Source("c.wav")], n_sources=2)
    >>> [(unit.number, len(unit.sources)) for unit in units]
    [(0, 2), (1, 1)]
    """
    sources = tuple(manifest)
    starts = range(0, len(sources), n_sources)
    return tuple(Unit(number, sources[start : start + n_sources]) for number, start in enumerate(starts))


@dataclass(slots=True)
class _Clip:
    """A clip on its way: what has been seen of it so far."""

    source: Source
    stamp: FileStamp = NO_STAMP
    end: ClipEnd | None = None
    rows: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    too_short: str = ""

    def result(self) -> ClipResult:
        """Return rows, or the failure."""
        end = self.end or ClipEnd("error", f"{self.source.id}: decoding ended early")
        if not end.reason and not self.bounds:
            end = ClipEnd(ClipTooShortError.reason, self.too_short or f"{self.source.id} holds no audio")
        if end.reason:
            return Failure(self.source, self.stamp, end.reason, end.message)
        rows = [self.rows[i] for i in range(len(self.bounds))]
        starts, ends = np.array(self.bounds).T
        embeddings, control = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
        if not np.isfinite(embeddings).all():
            return Failure(self.source, self.stamp, "non_finite", f"{self.source.id}: the encoder gave NaN or infinity")
        return Embedded(self.source, self.stamp, embeddings, control, starts, ends)


class UnitRunner:
    """Turns units into results: picklable and cheap to build; weights are loaded at the first call.

    Parameters
    ----------
    recipe : Recipe
        What to compute.
    info : EncoderInfo
        With what.
    resources : Resources
        On what.
    root : Path
        Folder that relative uris are relative to.

    Examples
    --------
    Nothing is loaded before the first unit::

        runner = UnitRunner(recipe, info, Resources(), manifest.root)
        with runner:
            results = runner(plan_units(manifest)[0])
    """

    def __init__(self, recipe: Recipe, info: EncoderInfo, resources: Resources, root: Path) -> None:
        self.recipe, self.info, self.resources, self.root = recipe, info, resources, Path(root)
        self._encoder: Encoder | None = None
        self._pool: DecodePool | None = None
        self._ahead: dict[int, Iterator[tuple[int, ClipEvent]]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"recipe": self.recipe, "info": self.info, "resources": self.resources, "root": self.root}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __enter__(self) -> UnitRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding workers and let the weights go."""
        if self._pool is not None:
            self._pool.close()
        self._pool, self._encoder = None, None
        self._ahead.clear()

    def prefetch(self, unit: Unit) -> None:
        """Let the decoding of a unit begin while another one computes."""
        if unit.number not in self._ahead:
            self._ahead[unit.number] = self._loaders().load([self._request(source) for source in unit.sources])

    def __call__(self, unit: Unit, *, progress: Callable[[Source, float], None] | None = None) -> list[ClipResult]:
        """Decode, encode and pool a unit.

        Parameters
        ----------
        unit : Unit
            The clips.
        progress : callable, optional
            Called with (source, seconds of audio) whenever a window is done.

        Returns
        -------
        list of ClipResult
            One a source, in the unit's order.
        """
        self.prefetch(unit)
        clips = [_Clip(source) for source in unit.sources]
        encoder = self._load_encoder()
        waiting: list[tuple[int, int, NDArray[np.float32]]] = []  # clip, window, samples
        for index, event in self._ahead.pop(unit.number):
            clip = clips[index]
            if isinstance(event, ClipStamp):
                clip.stamp = FileStamp(event.sha256, event.size, event.mtime_ns)
            elif isinstance(event, ClipEnd):
                clip.end = event
            elif self._take(encoder, clip, event):
                waiting.append((index, len(clip.bounds) - 1, event.samples))
                if self._is_enough(waiting):
                    self._encode(encoder, clips, waiting, progress)
                    waiting = []
        self._encode(encoder, clips, waiting, progress)
        return [clip.result() for clip in clips]

    def _request(self, source: Source) -> ClipRequest:
        path = str(self.root / source.uri)
        return ClipRequest.from_recipe(
            path, self.recipe, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
        )

    def _take(self, encoder: Encoder, clip: _Clip, window: ClipWindow) -> bool:
        """Note a window; say whether it is long enough to be encoded."""
        n, rate, need = len(window.samples), self.recipe.sample_rate, encoder.min_samples
        if n < need:
            clip.too_short = f"{clip.source.id}: {n} samples ({1000 * n / rate:.1f} ms) are less than one frame of "
            clip.too_short += f"{self.info.id} ({need} samples, {1000 * need / rate:.1f} ms)"
            return False
        clip.bounds.append((window.start_seconds, window.start_seconds + n / rate))
        return True

    def _is_enough(self, waiting: Sequence[tuple[int, int, NDArray[np.float32]]]) -> bool:
        """Say whether there is enough for well-filled batches (on a CPU: at once)."""
        if not self.on_gpu:
            return True
        return sum(len(w[2]) for w in waiting) >= 4 * self.resources.batch_seconds * self.recipe.sample_rate

    @property
    def on_gpu(self) -> bool:
        """Whether batches pay."""
        return choose_device(self.resources.device).startswith("cuda")

    def _encode(
        self,
        encoder: Encoder,
        clips: Sequence[_Clip],
        waiting: Sequence[tuple[int, int, NDArray[np.float32]]],
        progress: Callable[[Source, float], None] | None,
    ) -> None:
        budget = round(self.resources.batch_seconds * self.recipe.sample_rate)
        for batch in bucket_by_length([len(w[2]) for w in waiting], budget_samples=budget):
            chosen = [waiting[i] for i in batch]
            frames = encoder.encode([samples for _, _, samples in chosen])
            pooled = pool_frames(frames, pooling=self.recipe.pooling)
            for row, (index, window, samples) in zip(pooled, chosen, strict=True):
                clips[index].rows[window] = (row, log_mel_statistics(samples, self.recipe.sample_rate))
                if progress is not None:
                    progress(clips[index].source, len(samples) / self.recipe.sample_rate)

    def _load_encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = load_encoder(
                self.info,
                layers=self.recipe.layers,
                device=choose_device(self.resources.device),
                compute_dtype=self.recipe.compute_dtype,
            )
        return self._encoder

    def _loaders(self) -> DecodePool:
        if self._pool is None:
            self._pool = DecodePool(self.resources.workers)
        return self._pool
