"""Units on this machine: decoding in worker processes, encoding here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from embedx.extract.unit import Unit, UnitRunner
from embedx.manifest import Source
from embedx.store.rows import ClipResult

__all__ = ["run_units"]


def run_units(
    units: Sequence[Unit], runner: UnitRunner, *, progress: Callable[[Source, float], None] | None = None
) -> Iterator[tuple[Unit, list[ClipResult]]]:
    """Compute units in their order, the next one's audio being decoded meanwhile.

    Parameters
    ----------
    units : sequence of Unit
        What is to be done.
    runner : UnitRunner
        Computes one unit; closed at the end.
    progress : callable, optional
        Called with (source, seconds of audio) whenever a window is done.

    Yields
    ------
    (Unit, list of ClipResult)
        One result a source, in the unit's order.
    """
    with runner:
        for unit, following in zip(units, [*units[1:], None], strict=True):
            runner.prefetch(unit)
            if following is not None:
                runner.prefetch(following)
            yield unit, runner(unit, progress=progress)
