"""The unit of work: consecutive sources, decoded, encoded and pooled in one go, the same way everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from embedx.audio.decode_pool import DecodePool
from embedx.audio.loader import ClipRequest
from embedx.encoders.base import EncoderInfo
from embedx.encoders.device import choose_device, count_decoders
from embedx.encoders.resolve import modules_of
from embedx.extract.compute import ClipEncoder
from embedx.extract.unit_state import UnitFlow
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe, Resources
from embedx.store.rows import ClipResult, Embedded

__all__ = ["SOURCES_PER_UNIT", "Runner", "Unit", "UnitRunner", "plan_units"]

SOURCES_PER_UNIT = 64

_LOOK_SECONDS = 0.02
"""So often is it seen whether audio of the next unit has come, while this one's last windows are computed."""


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


class Runner(Protocol):
    """What workers are given: picklable, cheap to build, and called with one unit after the other.

    Attributes
    ----------
    heartbeat : callable or None
        Called while a unit waits for audio, whenever its decoders get on; set before the first unit.
    on_begin : callable or None
        Called with the source whenever a window is about to be computed; set before the first unit.
    """

    heartbeat: Callable[[], None] | None = None
    on_begin: Callable[[Source], None] | None = None

    def setup(self) -> Mapping[str, str]:
        """Get ready where it will work; return versions and device, if they are not known to who started it."""
        return {}

    def prefetch(self, unit: Any) -> None:
        """Let the decoding of a unit begin while another one computes."""

    def __call__(self, unit: Any, *, on_progress: Callable[[Source, float], None] | None = None) -> Sequence[Any]:
        """Return one result a source."""
        raise NotImplementedError

    def keep(self, results: Sequence[Any]) -> Sequence[Any]:
        """Write what was computed, or not; return what is left to be written by others."""
        return results


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


def _with_cost(results: list[ClipResult], seconds: float) -> list[ClipResult]:
    """Share a unit's seconds among its rows."""
    n_rows = sum(len(result.start_seconds) for result in results if isinstance(result, Embedded))
    return [replace(one, seconds_per_row=seconds / n_rows) if isinstance(one, Embedded) else one for one in results]


class UnitRunner(Runner):
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

        with UnitRunner(recipe, info, Resources(), manifest.root) as runner:
            results = runner(plan_units(manifest)[0])
    """

    def __init__(self, recipe: Recipe, info: EncoderInfo, resources: Resources, root: Path) -> None:
        self.recipe, self.info, self.resources, self.root = recipe, info, resources, Path(root)
        self._compute: ClipEncoder | None = None
        self._begin: Callable[[], ClipEncoder] = self._own_encoder
        self._pool: DecodePool | None = None
        self._ahead: dict[Unit, UnitFlow] = {}

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
            self._compute = self._begin()
        assert self._compute.encoder is not None

    def _own_encoder(self) -> ClipEncoder:
        return ClipEncoder(self.recipe, self.info, self.resources)

    def lend(self, begin: Callable[[], ClipEncoder], pool: DecodePool) -> UnitRunner:
        """Work with what others own and close: decoders, and an encoder that is asked for when they are at work."""
        self._begin, self._pool = begin, pool
        return self

    def setup(self) -> Mapping[str, str]:
        """Load the weights."""
        self.load()
        return {}

    def prefetch(self, unit: Unit) -> None:
        """Let the decoding of a unit begin while another one computes."""
        if unit not in self._ahead:
            if self._pool is None:
                device = choose_device(self.resources.device)
                self._pool = DecodePool(count_decoders(device, self.resources.workers), heartbeat=self.heartbeat)
            events = self._pool.load([self._request(source) for source in unit.sources])
            self._ahead[unit] = UnitFlow(unit.sources, events, self.recipe, on_begin=self.on_begin)

    def __call__(self, unit: Unit, *, on_progress: Callable[[Source, float], None] | None = None) -> list[ClipResult]:
        """Decode, encode and pool a unit.

        Parameters
        ----------
        unit : Unit
            The clips.
        on_progress : callable, optional
            Called with (source, seconds of audio) whenever a window is done.

        Returns
        -------
        list of ClipResult
            One a source, in the unit's order.
        """
        started = time.perf_counter()
        self.prefetch(unit)  # workers start while the weights are loaded
        self.load()
        flow = self._ahead.pop(unit)
        flow.begin(self._encoder)
        while True:
            flow.collect()
            for source, seconds in flow.done():
                if on_progress is not None:
                    on_progress(source, seconds)
            if flow.is_done:
                break
            self._step(flow, next(iter(list(self._ahead.values())), None))  # another thread may be adding one
        return _with_cost(flow.results(), time.perf_counter() - started)

    @property
    def _encoder(self) -> ClipEncoder:
        assert self._compute is not None, "not loaded"
        return self._compute

    def _step(self, flow: UnitFlow, following: UnitFlow | None) -> None:
        """Feed the threads once, or wait for them; the following unit fills those that this one leaves empty."""
        flows = [flow]
        if flow.is_fed and following is not None:
            following.begin(self._encoder)
            following.collect()
            flows.append(following)
        has_room = sum(one.stream.n_waiting for one in flows) <= 2 * self._encoder.n_threads
        hungry = next((one for one in flows if has_room and not one.is_fed), None)
        if hungry is not None and (hungry is flow or hungry.has_event):
            hungry.feed()
        else:
            pending = set[Future[Any]]().union(*(one.stream.pending for one in flows))
            wait(pending, _LOOK_SECONDS if hungry is not None else None, FIRST_COMPLETED)

    def _request(self, source: Source) -> ClipRequest:
        path = str(self.root / source.uri)
        return ClipRequest.from_recipe(
            path, self.recipe, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
        )
