"""Who works on what, and what to do when a worker dies: the bookkeeping of every runner with several processes.

No process, no cluster and no clock in here, so that all of it can be tested by calling it.

A worker that dies takes a unit with it, and one of the unit's clips may be the reason. The unit is tried once
more, with nothing else on its worker. If that dies too, its halves are tried alone, and their halves, until
single clips are left that kill twice alone: those become failures with the reason ``worker_died``, and the rest
of the unit is computed once more in one piece, so its rows are those of a unit that never held the clip.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from embedx.errors import RunnerError
from embedx.files import hash_file
from embedx.manifest import ClipKey, Source
from embedx.store.rows import NO_STAMP, Failure, FileStamp

__all__ = ["Lease", "LeaseBook", "UnitDone"]

DEATHS_OF_A_CLIP = 2
"""So often must a clip kill a worker, alone, before it is blamed."""


class UnitDone(NamedTuple):
    """A unit of the job, its results (one a source, in its order), and versions and device of who made them."""

    unit: Any
    results: list[Any]
    environment: Mapping[str, str]


@dataclass(eq=False)
class Lease:
    """One piece of work that one worker holds.

    Parameters
    ----------
    unit : Unit
        A unit of the job, or one with a part of its sources.
    alone : bool
        Its worker must hold nothing else, so that a death has one suspect.
    share : float
        Part of the unit's time limit that it may take, 0 to 1.
    """

    unit: Any
    alone: bool = False
    share: float = 1.0
    n_deaths: int = 0
    case: _Case | None = field(default=None, repr=False)

    @property
    def is_probe(self) -> bool:
        """Whether it only serves to find out who is to blame."""
        return self.case is not None and self.case.n_open > 0


@dataclass(eq=False)
class _Case:
    """A unit under suspicion."""

    unit: Any
    n_open: int = 0
    killers: dict[ClipKey, str] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)


class LeaseBook:
    """Hands out units, takes results, and finds the clip that kills workers.

    Parameters
    ----------
    units : iterable of Unit
        Pulled only as workers ask for them.
    n_deaths_allowed : int
        More deaths in a row without one finished lease end the run.
    root : Path, optional
        Folder that relative uris are relative to: a clip that is blamed gets its file's stamp, so that a later
        run sees whether the file has changed.

    Examples
    --------
    >>> from embedx.manifest import Source
    >>> from embedx.extract.unit import Unit
    >>> book = LeaseBook([Unit(0, (Source("a.wav"),))], n_deaths_allowed=8)
    >>> lease = book.take(idle=True)
    >>> book.finish(lease, [Failure(lease.unit.sources[0], NO_STAMP, "decode", "no audio")]).results[0].reason
    'decode'
    >>> book.is_done
    True
    """

    def __init__(self, units: Iterable[Any], *, n_deaths_allowed: int, root: Path | None = None) -> None:
        self._units = iter(units)
        self._waiting: deque[Lease] = deque()
        self._n_out = 0
        self._n_deaths = 0
        self._allowed = n_deaths_allowed
        self._root = root

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nobody works."""
        return self._n_out == 0 and not self.has_work

    @property
    def has_work(self) -> bool:
        """Whether somebody could be given something."""
        if not self._waiting:
            self._waiting.extend(Lease(unit) for unit in itertools.islice(self._units, 1))
        return bool(self._waiting)

    def take(self, *, idle: bool) -> Lease | None:
        """Give the next piece of work to a worker.

        Parameters
        ----------
        idle : bool
            Whether the worker holds nothing. One that does gets nothing while a suspect waits,
            so that some worker soon is idle.

        Returns
        -------
        Lease or None
            None when there is nothing for this worker now.
        """
        if not self.has_work or (self._waiting[0].alone and not idle):
            return None
        self._n_out += 1
        return self._waiting.popleft()

    def finish(
        self, lease: Lease, results: Sequence[Any], environment: Mapping[str, str] = MappingProxyType({})
    ) -> UnitDone | None:
        """Take a lease's results; returns the unit once it is complete."""
        self._n_out -= 1
        self._n_deaths = 0
        case = lease.case
        if case is None:
            return UnitDone(lease.unit, list(results), environment)
        case.environment = environment
        if case.n_open:
            case.results.extend(results)
            return self._probe_ended(case)
        return self._in_order(case, results)

    def give_back(self, lease: Lease) -> None:
        """Take back a lease whose worker is gone for a reason that is not in the lease."""
        self._n_out -= 1
        self._put(lease)

    def died(self, lease: Lease, why: str) -> UnitDone | None:
        """Note that a worker died over a lease; returns the unit if that settles its last clip.

        Raises
        ------
        RunnerError
            Too many deaths in a row: the reason is in no clip.
        """
        self.count_death(why, lease)
        self._n_out -= 1
        lease.n_deaths += 1
        if lease.case is None:
            self._whole_died(lease)
            return None
        if not lease.case.n_open:
            return self._rest_died(lease, lease.case)
        return self._probe_died(lease, lease.case, why)

    def count_death(self, why: str, lease: Lease | None = None) -> None:
        """Count a death that no lease is to blame for, such as that of a worker that never started.

        Raises
        ------
        RunnerError
            Too many in a row.
        """
        self._n_deaths += 1
        if self._n_deaths > self._allowed:
            where = f", the last over {_span(lease.unit.sources)}" if lease else ""
            raise RunnerError(
                f"{self._n_deaths} workers died in a row without finishing anything{where}, so no single clip is to "
                f"blame: {why}. What was reported as done is kept; correct the cause and run the same command again"
            )

    def _put(self, lease: Lease) -> None:
        """Queue a lease behind the suspects and before everything that nobody has tried."""
        n_suspects = sum(waiting.alone for waiting in self._waiting)
        self._waiting.insert(n_suspects, lease)

    def _whole_died(self, lease: Lease) -> None:
        if not lease.alone:
            lease.alone = True
            self._put(lease)
            return
        self._split(lease, _Case(lease.unit))

    def _probe_died(self, lease: Lease, case: _Case, why: str) -> UnitDone | None:
        sources = lease.unit.sources
        if len(sources) > 1:
            case.n_open -= 1
            self._split(lease, case)
            return None
        if lease.n_deaths < DEATHS_OF_A_CLIP:
            self._put(lease)
            return None
        case.killers[sources[0].key] = why
        return self._probe_ended(case)

    def _split(self, lease: Lease, case: _Case) -> None:
        """Put the halves at the end of the suspects, so that an innocent half is heard between two deaths."""
        sources = lease.unit.sources
        middle = len(sources) // 2
        for part in filter(None, (sources[:middle], sources[middle:])):
            case.n_open += 1
            share = max(len(part) / len(case.unit.sources), 0.25)
            self._put(Lease(replace(lease.unit, sources=part), True, share, case=case))

    def _probe_ended(self, case: _Case) -> UnitDone | None:
        case.n_open -= 1
        if case.n_open:
            return None
        rest = tuple(source for source in case.unit.sources if source.key not in case.killers)
        if not rest:
            return self._in_order(case, [])
        self._put(Lease(replace(case.unit, sources=rest), True, case=case))
        return None

    def _rest_died(self, lease: Lease, case: _Case) -> UnitDone | None:
        """The clips live apart and die together: keep what they gave apart."""
        if lease.n_deaths < DEATHS_OF_A_CLIP:
            self._put(lease)
            return None
        return self._in_order(case, case.results)

    def _in_order(self, case: _Case, results: Sequence[Any]) -> UnitDone:
        found = {result.source.key: result for result in results}
        found |= {s.key: self._blame(s, case.killers[s.key]) for s in case.unit.sources if s.key in case.killers}
        in_order = [found[source.key] for source in case.unit.sources if source.key in found]
        return UnitDone(case.unit, in_order, case.environment)

    def _blame(self, source: Source, why: str) -> Failure:
        stamp = NO_STAMP if self._root is None else _read_stamp(self._root / source.uri)
        text = f"the process that worked on it died {DEATHS_OF_A_CLIP} times, with nothing else at work: {why}"
        return Failure(source, stamp, "worker_died", text)


def _span(sources: Sequence[Source]) -> str:
    return sources[0].id if len(sources) == 1 else f"{sources[0].id} to {sources[-1].id}"


def _read_stamp(path: Path) -> FileStamp:
    try:
        facts = path.stat()
        return FileStamp(hash_file(path), facts.st_size, facts.st_mtime_ns)
    except OSError:
        return NO_STAMP
