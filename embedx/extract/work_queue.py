"""Units, pieces of units and who is to blame: what is handed out next, and what becomes of what a worker died over.

A worker that dies takes a unit with it, and a clip may be the reason. Those that it was computing (it reports each that
it begins), or all of the unit where none was reported, go into quarantine: one by one to a worker that holds nothing
else. What kills twice alone becomes a failure with the reason ``worker_died``; the others keep the rows that they got,
and what had not been begun is computed in one piece. Several such clips in a row look like a machine on which
everything dies; before that is said, a clip that was fine is done once more. No process, no cluster and no clock in
here.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from embedx.errors import RunnerError
from embedx.manifest import ClipKey, Source
from embedx.store.rows import NO_STAMP, Failure, FileStamp

__all__ = ["UnitDone", "WorkItem", "WorkQueue"]

DEATHS_OF_A_CLIP = 2
"""So often must a clip kill a worker, alone, before it is blamed."""

_LEAST_SHARE = 0.25
"""At least this part of a unit's time is left to a part of it, however small."""


class UnitDone(NamedTuple):
    """A unit of the job, its results (one a source, in its order), and versions and device of who made them."""

    unit: Any
    results: list[Any]
    environment: Mapping[str, str]


@dataclass(eq=False)
class WorkItem:
    """One piece of work that one worker holds.

    Parameters
    ----------
    unit : Unit
        A unit of the job, or one with a part of its sources.
    alone : bool
        In quarantine: its worker must hold nothing else, so that a death has one suspect.
    is_probe : bool
        A clip that was fine before, to see whether workers still live; its results are dropped.
    """

    unit: Any
    alone: bool = False
    is_probe: bool = False
    n_deaths: int = 0
    pieces: _Pieces | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """Part of the time limit of a whole unit that it may take, 0 to 1."""
        whole = self.pieces.unit.sources if self.pieces is not None else self.unit.sources
        return max(len(self.unit.sources) / len(whole), _LEAST_SHARE)


@dataclass(eq=False)
class _Pieces:
    """A unit that a worker died over, and what its pieces gave so far."""

    unit: Any
    n_open: int = 0
    found: dict[ClipKey, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkQueue:
    """Hands out units, takes results, and finds the clip that kills workers.

    Parameters
    ----------
    units : iterable of Unit
        Pulled only as workers ask for them.
    n_deaths_allowed : int
        More deaths in a row without one finished item end the run. After half of them something that is not under
        suspicion is tried: what is still to do, or else a clip that was fine.
    root : Path, optional
        Folder that relative uris are relative to: a clip that is blamed gets its file's stamp, so that a later
        run sees whether the file has changed.

    Examples
    --------
    >>> from embedx.manifest import Source
    >>> from embedx.extract.unit_runner import Unit
    >>> queue = WorkQueue([Unit(0, (Source("a.wav"),))], n_deaths_allowed=8)
    >>> item = queue.take(idle=True)
    >>> queue.finish(item, [Failure(item.unit.sources[0], NO_STAMP, "decode", "no audio")]).results[0].reason
    'decode'
    >>> queue.is_done
    True
    """

    def __init__(self, units: Iterable[Any], *, n_deaths_allowed: int, root: Path | None = None) -> None:
        self._units = iter(units)
        self._waiting: deque[WorkItem] = deque()
        self._n_out = self._n_deaths = 0
        self._allowed, self._root = n_deaths_allowed, root
        self._fine: Any = None
        self._is_probing = False

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nobody works."""
        return self._n_out == 0 and not self._has_work

    @property
    def _has_work(self) -> bool:
        if not self._waiting:
            self._waiting.extend(WorkItem(unit) for unit in itertools.islice(self._units, 1))
        return bool(self._waiting)

    def take(self, *, idle: bool) -> WorkItem | None:
        """Give the next piece of work to a worker; None when there is nothing for it now.

        Parameters
        ----------
        idle : bool
            Whether the worker holds nothing. One that does gets nothing while a suspect waits,
            so that some worker soon is idle.
        """
        item = self._next(idle=idle)
        self._n_out += item is not None
        return item

    def _next(self, *, idle: bool) -> WorkItem | None:
        if not self._has_work or not self._waiting[0].alone:
            return self._waiting.popleft() if self._waiting else None
        if not idle or self._is_probing:
            return None
        if self._n_deaths <= self._allowed // 2:
            return self._waiting.popleft()
        return self._not_suspected() or self._waiting.popleft()

    def _not_suspected(self) -> WorkItem | None:
        """Return what shows whether workers die of the suspects or of anything."""
        if self._fine is not None:
            self._is_probing = True
            return WorkItem(self._fine, alone=True, is_probe=True)
        n_suspects = sum(waiting.alone for waiting in self._waiting)
        if n_suspects == len(self._waiting):
            self._waiting.extend(WorkItem(unit) for unit in itertools.islice(self._units, 1))
        if n_suspects == len(self._waiting):
            return None
        item = self._waiting[n_suspects]
        del self._waiting[n_suspects]
        return item

    def finish(
        self, item: WorkItem, results: Sequence[Any], environment: Mapping[str, str] = MappingProxyType({})
    ) -> UnitDone | None:
        """Take an item's results; returns the unit once it is complete."""
        self._take_in(item)
        self._n_deaths = 0
        if item.is_probe:
            return None
        fine = next((result.source for result in results if not isinstance(result, Failure)), None)
        self._fine = self._fine if fine is None else replace(item.unit, sources=(fine,))
        if item.pieces is None:
            return UnitDone(item.unit, list(results), environment)
        item.pieces.environment = environment
        return self._add(item.pieces, results)

    def give_back(self, item: WorkItem) -> None:
        """Take back an item whose worker is gone for a reason that is not in the item."""
        self._take_in(item)
        if not item.is_probe:
            self._put(item)

    def died(self, item: WorkItem, why: str, *, computing: Container[ClipKey] = ()) -> UnitDone | None:
        """Note that a worker died over an item; returns the unit if that settles its last clip.

        Parameters
        ----------
        item : WorkItem
            What it worked on.
        why : str
            How it ended.
        computing : container of ClipKey
            The clips that it had begun and not finished, as far as it is known.

        Raises
        ------
        RunnerError
            Too many deaths in a row: the reason is in no clip.
        """
        self.count_death(why, item)
        self._take_in(item)
        item.n_deaths += 1
        if item.is_probe:
            return None
        if not item.alone:
            self._quarantine(item, computing)
        elif item.n_deaths < DEATHS_OF_A_CLIP:
            self._put(item)
        else:
            assert item.pieces is not None
            return self._add(item.pieces, [self._blame(item.unit.sources[0], why)])
        return None

    def count_death(self, why: str, item: WorkItem | None = None) -> None:
        """Count a death that no item is to blame for, such as that of a worker that never started.

        Raises
        ------
        RunnerError
            Too many in a row.
        """
        self._n_deaths += 1
        if self._n_deaths > self._allowed:
            where = f", the last over {_span(item.unit.sources)}" if item else ""
            raise RunnerError(
                f"{self._n_deaths} workers died in a row without finishing anything{where}, so no single clip is to "
                f"blame: {why}. What was reported as done is kept; correct the cause and run the same command again"
            )

    def _take_in(self, item: WorkItem) -> None:
        self._n_out -= 1
        self._is_probing = self._is_probing and not item.is_probe

    def _put(self, item: WorkItem) -> None:
        """Queue an item behind the suspects and before everything that nobody has tried."""
        n_suspects = sum(waiting.alone for waiting in self._waiting)
        self._waiting.insert(n_suspects, item)

    def _quarantine(self, item: WorkItem, computing: Container[ClipKey]) -> None:
        pieces = item.pieces or _Pieces(item.unit, n_open=1)
        suspects = [source for source in item.unit.sources if source.key in computing] or item.unit.sources
        rest = tuple(source for source in item.unit.sources if source not in suspects)
        pieces.n_open += len(suspects) + bool(rest) - 1
        for source in suspects:
            self._put(WorkItem(replace(item.unit, sources=(source,)), alone=True, pieces=pieces))
        if rest:
            self._put(WorkItem(replace(item.unit, sources=rest), pieces=pieces))

    def _add(self, pieces: _Pieces, results: Sequence[Any]) -> UnitDone | None:
        pieces.found |= {result.source.key: result for result in results}
        pieces.n_open -= 1
        if pieces.n_open:
            return None
        in_order = [pieces.found[source.key] for source in pieces.unit.sources if source.key in pieces.found]
        return UnitDone(pieces.unit, in_order, pieces.environment)

    def _blame(self, source: Source, why: str) -> Failure:
        stamp = NO_STAMP if self._root is None else _read_stamp(self._root / source.uri)
        text = f"the process that worked on it died {DEATHS_OF_A_CLIP} times, with nothing else at work: {why}"
        return Failure(source, stamp, "worker_died", text)


def _span(sources: Sequence[Source]) -> str:
    return sources[0].id if len(sources) == 1 else f"{sources[0].id} to {sources[-1].id}"


def _read_stamp(path: Path) -> FileStamp:
    try:
        return FileStamp.read(path)
    except OSError:
        return NO_STAMP
