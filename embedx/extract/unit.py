"""The unit of work: consecutive sources, decoded, encoded and pooled in one go, the same way everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.loader import ClipEnd, ClipEvent, ClipRequest, ClipStamp
from embedx.audio.pool import DecodePool
from embedx.encoders.base import EncoderInfo
from embedx.encoders.catalog import modules_of
from embedx.encoders.device import choose_device, count_decoders
from embedx.errors import ClipTooShortError
from embedx.extract.compute import ClipEncoder, Row, Window
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


class _Pile:
    """Arrays of one shape in one piece of memory that grows where it lies.

    Each by itself, as it came from a lane, would keep apart the large blocks that come and go there: memory that is
    free between two small arrays fits nothing and is never given back. Ten hours held 2 GB for 2 MB of rows.
    """

    def __init__(self) -> None:
        self._values: NDArray[np.float32] = np.empty(0, np.float32)

    def put(self, number: int, value: NDArray[np.float32]) -> None:
        """Keep a copy of an array under its number."""
        if number >= len(self._values):
            self._resize(number + 1 + len(self._values) // 8, value.shape)
        self._values[number] = value

    def take(self, n: int) -> NDArray[np.float32]:
        """Return the first ``n``, stacked."""
        self._resize(n, self._values.shape[1:])
        return self._values

    def _resize(self, n: int, shape: tuple[int, ...]) -> None:
        self._values.resize((n, *shape), refcheck=False)  # nobody else has seen it


@dataclass(slots=True)
class _Clip:
    """A clip on its way: what has been seen of it so far."""

    source: Source
    stamp: FileStamp = NO_STAMP
    end: ClipEnd = ClipEnd("error", "decoding ended early")  # noqa: RUF009  # frozen
    embeddings: _Pile = field(default_factory=_Pile)
    controls: _Pile = field(default_factory=_Pile)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    problem: ClipEnd | None = None

    def result(self) -> ClipResult:
        """Return rows, or the failure."""
        end = self.end if self.end.reason or self.problem is None else self.problem
        if not end.reason and not self.bounds:
            end = ClipEnd("decode", f"{self.source.id} holds no audio")
        if end.reason:
            return Failure(self.source, self.stamp, end.reason, end.message)
        return self._embedded()

    def _embedded(self) -> ClipResult:
        starts, ends = np.array(self.bounds).T
        embeddings, control = self.embeddings.take(len(starts)), self.controls.take(len(starts))
        if not (np.isfinite(embeddings).all() and np.isfinite(control).all()):
            message = f"{self.source.id}: NaN or infinity in the audio or in the encoder's output"
            return Failure(self.source, self.stamp, "non_finite", message)
        return Embedded(self.source, self.stamp, embeddings, control, starts, ends)


def _priced(results: list[ClipResult], seconds: float) -> list[ClipResult]:
    """Share a unit's seconds among its rows."""
    n_rows = sum(len(result.start_seconds) for result in results if isinstance(result, Embedded))
    return [replace(one, seconds_per_row=seconds / n_rows) if isinstance(one, Embedded) else one for one in results]


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

    Attributes
    ----------
    pulse : callable or None
        Called while a unit waits for audio, whenever its decoders get on; set it before the first unit.

    Examples
    --------
    Nothing is loaded before the first unit::

        with UnitRunner(recipe, info, Resources(), manifest.root) as runner:
            results = runner(plan_units(manifest)[0])
    """

    def __init__(self, recipe: Recipe, info: EncoderInfo, resources: Resources, root: Path) -> None:
        self.recipe, self.info, self.resources, self.root = recipe, info, resources, Path(root)
        self.pulse: Callable[[], None] | None = None
        self._compute: ClipEncoder | None = None
        self._pool: DecodePool | None = None
        self._ahead: dict[Unit, Iterator[tuple[int, ClipEvent]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "info": self.info, "resources": self.resources, "root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __enter__(self) -> UnitRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding workers and let the weights go."""
        if self._pool is not None:
            self._pool.close()
        if self._compute is not None:
            self._compute.close()
        self._pool = self._compute = None
        self._ahead.clear()

    def on(self, resources: Resources) -> UnitRunner:
        """Return another runner that does the same on other resources."""
        return type(self)(self.recipe, self.info, resources, self.root)

    @property
    def modules(self) -> tuple[str, ...]:
        """What it will import when it begins, apart from this package's own rooms."""
        return modules_of(self.info)

    def load(self) -> None:
        """Load the weights now rather than at the first unit."""
        if self._compute is None:
            self._compute = ClipEncoder(self.recipe, self.info, self.resources)
        assert self._compute.encoder is not None

    def prefetch(self, unit: Unit) -> None:
        """Let the decoding of a unit begin while another one computes."""
        if unit not in self._ahead:
            if self._pool is None:
                device = choose_device(self.resources.device)
                self._pool = DecodePool(count_decoders(device, self.resources.workers), pulse=self.pulse)
            self._ahead[unit] = self._pool.load([self._request(source) for source in unit.sources])

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
        started = time.perf_counter()
        self.prefetch(unit)  # workers start while the weights are loaded
        if self._compute is None:
            self._compute = ClipEncoder(self.recipe, self.info, self.resources)
        clips = [_Clip(source) for source in unit.sources]
        windows = self._windows(clips, self._ahead.pop(unit), self._compute.encoder.min_samples)
        for row in self._compute.encode(windows):
            self._keep(clips[row.window.clip], row)
            if progress is not None:
                progress(clips[row.window.clip].source, len(row.window.samples) / self.recipe.sample_rate)
        return _priced([clip.result() for clip in clips], time.perf_counter() - started)

    def _request(self, source: Source) -> ClipRequest:
        path = str(self.root / source.uri)
        return ClipRequest.from_recipe(
            path, self.recipe, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
        )

    def _windows(
        self, clips: Sequence[_Clip], events: Iterator[tuple[int, ClipEvent]], min_samples: int
    ) -> Iterator[Window]:
        """Note what the loader says of each clip, and pass the windows on."""
        rate = self.recipe.sample_rate
        for index, event in events:
            clip = clips[index]
            if isinstance(event, ClipStamp):
                clip.stamp = FileStamp(event.sha256, event.size, event.mtime_ns)
            elif isinstance(event, ClipEnd):
                clip.end = event
            elif len(event.samples) < min_samples:
                clip.problem = self._too_short(clip.source, len(event.samples), min_samples)
            else:
                clip.bounds.append((event.start_seconds, event.start_seconds + len(event.samples) / rate))
                yield Window(index, len(clip.bounds) - 1, event.samples)

    def _too_short(self, source: Source, n_samples: int, min_samples: int) -> ClipEnd:
        got, need = (f"{n} samples ({1000 * n / self.recipe.sample_rate:.1f} ms)" for n in (n_samples, min_samples))
        return ClipEnd(
            ClipTooShortError.reason, f"{source.id}: {got} are less than one frame of {self.info.id}, {need}"
        )

    def _keep(self, clip: _Clip, row: Row) -> None:
        if row.embedding is None or row.control is None:
            seconds = len(row.window.samples) / self.recipe.sample_rate
            advice = "choose shorter windows (--window) or another device"
            clip.problem = ClipEnd("error", f"{clip.source.id}: no memory for a window of {seconds:.1f} s: {advice}")
            return
        clip.embeddings.put(row.window.number, row.embedding)
        clip.controls.put(row.window.number, row.control)
