"""Several stores beside each other: the score of one head on each, and what each encoder costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedx.comparison import Comparison, Row
from embedx.evaluation.statistics import Interval

__all__ = ["StoreCost", "chart_of", "describe_head", "header_of_costs", "shown_cost", "store_costs"]

_HEADER = ("encoder", "accuracy, %", "95 % interval", "seconds of embedding", "MB of store", "parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCost:
    """What one store scores, and what it cost; None is not known.

    Parameters
    ----------
    name : str
        The store.
    accuracy : float
        Of the head that is shown of every store.
    interval : (low, high) or None
        95 % of it.
    seconds : float or None
        What embedding the compared clips took.
    seconds_per_hour : float or None
        The same, for an hour of audio.
    n_bytes : int or None
        Size of the store.
    parameters : int or None
        Of the encoder alone.
    """

    name: str
    accuracy: float
    interval: Interval | None
    seconds: float | None
    seconds_per_hour: float | None
    n_bytes: int | None
    parameters: int | None


def store_costs(comparison: Comparison) -> list[StoreCost]:
    """Return every store in the order of the table; none where there is but one."""
    rows = _rows(comparison)
    return [_cost(row, comparison.facts) for row in rows] if len(rows) > 1 else []


def _rows(comparison: Comparison) -> list[Row]:
    """Return one row a store: ``auto``, which no one picked after the fact, else the head of the best row."""
    best = comparison.best
    auto = [row for row in comparison.rows if row.kind == "auto"]
    return auto or [row for row in comparison.rows if (row.head, row.kind) == (best.head, best.kind)]


def _cost(row: Row, facts: Mapping[str, Any]) -> StoreCost:
    seconds = (facts["embedding_seconds"] or {}).get(row.store)
    return StoreCost(
        name=row.store,
        accuracy=row.scores["accuracy"],
        interval=row.intervals.get("accuracy"),
        seconds=seconds,
        seconds_per_hour=None if seconds is None else 3_600 * seconds / max(facts["audio_seconds"], 1e-9),
        n_bytes=facts["store_bytes"].get(row.store),
        parameters=facts["parameters"].get(row.store),
    )


def describe_head(comparison: Comparison) -> str:
    """Return whose scores are shown of every store."""
    row = _rows(comparison)[0]
    if row.kind == "auto":
        return "head and layer chosen inside the training parts (auto)"
    return row.title.removeprefix(f"{row.store}:").strip()


def header_of_costs() -> list[str]:
    """Return the titles of what `shown_cost` gives."""
    return list(_HEADER)


def shown_cost(one: StoreCost) -> list[str]:
    """Return a store's line of the table as text; a dash is not known.

    Examples
    --------
    >>> shown_cost(StoreCost(name="ast", accuracy=0.9, interval=None, seconds=2.25, seconds_per_hour=90.0,
    ...                      n_bytes=1_234_567, parameters=86_187_264))
    ['ast', '90.0', '-', '2.2', '1.2', '86.2 M']
    """
    between = "-" if one.interval is None else f"{100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f}"
    known = (
        "-" if one.seconds is None else f"{one.seconds:.1f}",
        "-" if one.n_bytes is None else f"{one.n_bytes / 1e6:.1f}",
        "-" if one.parameters is None else _as_count(one.parameters),
    )
    return [one.name, f"{100 * one.accuracy:.1f}", between, *known]


def _as_count(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.0f} k"


def chart_of(costs: Sequence[StoreCost], name: str) -> list[dict[str, Any]]:
    """Return the points of accuracy against a cost; none where fewer than two stores differ in it."""
    points = [
        {"store": one.name, "x": getattr(one, name), "accuracy": one.accuracy, "interval": one.interval}
        for one in costs
        if getattr(one, name)
    ]
    return points if len({point["x"] for point in points}) > 1 else []
