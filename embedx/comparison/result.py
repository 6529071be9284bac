"""What a comparison holds: rows, tests, curves and where it all came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedx.evaluation.statistics import Interval
from embedx.manifest import Source
from embedx.text import as_html

__all__ = ["ALPHA", "SCHEMA_VERSION", "Comparison", "FoldScore", "Kind", "Row", "Test", "best_row"]

SCHEMA_VERSION = 1
"""Version of `Comparison.to_dict`, raised when a field changes its meaning or goes."""

ALPHA = 0.05
"""Corrected p-values below it are called real."""

Kind = Literal["baseline", "control", "head", "tuned", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScore:
    """How one head did in one fold, and what it cost.

    Parameters
    ----------
    fold : str
        Name of the fold.
    repeat : int
        Repetition, from 0.
    n_train, n_test : int
        Clips learned from, and judged on.
    scores : mapping of str to float
        As in `embedx.evaluation.metrics.score`, without the tables.
    seconds_fit, seconds_predict : float
        Wall time. Selection and tuning count as fitting.
    peak_bytes : int or None
        Highest memory of the process above what it held before; None where the system does not tell.
    chosen : mapping
        What was chosen inside the training part: head, layer, parameters. Empty for fixed heads.
    history : tuple of float
        Best value so far after each trial of a study (log-loss of the inner folds).
    epochs : tuple of mapping
        What a fine-tuned network noted of every epoch: ``train_loss``, ``valid_loss``, ``train_accuracy``, ...
    """

    fold: str
    repeat: int
    n_train: int
    n_test: int
    scores: Mapping[str, float]
    seconds_fit: float
    seconds_predict: float
    peak_bytes: int | None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[float, ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    name : str
        Unique in the comparison: the head's name, with the store's in front when there are several,
        and ``tuned`` behind when its parameters were.
    title : str
        What a table prints.
    kind : {'baseline', 'control', 'head', 'tuned', 'auto'}
        What the row is for.
    head, store : str
        Head in the catalogue, and store.
    scores : mapping of str to float
        Over all tested clips; repeats are averaged per clip first.
    intervals : mapping of str to (low, high)
        95 %; empty with fewer than ten groups.
    recall : mapping of str to float or None
        By class.
    confusion : list of list of float
        True class by predicted class, clips; fractions when repeats disagree.
    reliability : list of dict
        Bins of `embedx.evaluation.metrics.reliability`.
    folds : tuple of FoldScore
        Fold by fold.
    collapsed : str or None
        The one class that at least 98 % of the predictions name, if there is one.
    """

    name: str
    title: str
    kind: Kind
    head: str
    store: str
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    recall: Mapping[str, float | None]
    confusion: list[list[float]]
    reliability: list[dict[str, float]]
    folds: tuple[FoldScore, ...]
    collapsed: str | None = None

    @property
    def seconds(self) -> float:
        """Wall time of all folds together, fitting and predicting."""
        return sum(fold.seconds_fit + fold.seconds_predict for fold in self.folds)

    @property
    def peak_bytes(self) -> int | None:
        """Highest memory that any fold added."""
        known = [fold.peak_bytes for fold in self.folds if fold.peak_bytes is not None]
        return max(known, default=None)


def best_row(rows: Sequence[Row]) -> Row:
    """Return the head with the best accuracy, log-loss deciding ties; a control only where there is no head."""
    heads = [row for row in rows if row.kind in ("head", "tuned")]
    return max(heads or rows, key=lambda row: (row.scores["accuracy"], -row.scores["log_loss"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """Whether one row is better than another by more than chance, in accuracy.

    Parameters
    ----------
    a, b : str
        Names of the rows.
    family : {'baseline', 'control', 'heads'}
        What is corrected together: each row against the baseline, against log-mel, heads among themselves.
    difference : float
        Accuracy of a minus accuracy of b.
    interval : (low, high) or None
        95 % of the difference; None with fewer than ten groups.
    p_value, p_holm : float
        As tested, and corrected for the family (Holm 1979).
    method : str
        The test in words.
    n_units : int
        Groups (or clips) that the test flips.
    n_needed : int
        How many of them a real difference needs at least: with fewer, no corrected p-value can fall below 5 %.
        Against the baseline only those count that hold a clip of another class than the most frequent one.
    """

    __test__ = False

    a: str
    b: str
    family: str
    difference: float
    interval: Interval | None
    p_value: float
    p_holm: float
    method: str
    n_units: int = 0
    n_needed: int = 0

    @property
    def is_real(self) -> bool:
        """Whether the difference is more than chance at 5 %, corrected."""
        return self.p_holm < ALPHA

    @property
    def can_be_told(self) -> bool:
        """Whether there are groups (or clips) enough for any difference to be called real."""
        return self.n_units >= self.n_needed


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Comparison:
    """Heads on the same folds: what `embedx.compare` returns.

    Parameters
    ----------
    rows : tuple of Row
        The baseline, the log-mel control, then heads, then ``auto``.
    tests : tuple of Test
        Families one after another.
    headline : str
        The verdict in one line.
    verdict : tuple of str
        Sentences for people.
    notes : tuple of str
        What is unsound or unusual about data and folds.
    classes : tuple of str
        In the order of confusion matrices and probabilities.
    sources : tuple of Source
        The clips.
    groups : tuple of str or None
        Group of each clip, None when clips stand for themselves.
    proba : mapping of str to ndarray of shape (R, n, k), float32
        By row: predicted probability in each repetition; NaN where a clip was not tested.
    fold_of : ndarray of shape (R, n), str
        Fold that tested the clip in each repetition; empty where none did.
    group_scores : mapping of str to mapping of str to float
        Accuracy by row and group, when there are too few groups for intervals.
    curves : mapping
        ``layers`` and ``learning``, where they were asked for.
    facts : mapping
        Recipes, hashes, versions, seeds, machine: where it came from.

    Examples
    --------
    >>> from embedx import compare
    >>> from embedx.testing import make_dataset
    >>> comparison = compare(make_dataset(), ["logreg"], folds=3, auto=False, curves=False)
    >>> [row.name for row in comparison.rows], comparison.best.name
    (['majority', 'logmel', 'logreg'], 'logreg')
    """

    rows: tuple[Row, ...]
    tests: tuple[Test, ...]
    headline: str
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    sources: tuple[Source, ...]
    groups: tuple[str, ...] | None
    proba: Mapping[str, NDArray[np.float32]]
    fold_of: NDArray[np.str_]
    group_scores: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Any]
    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        scores = ", ".join(f"{row.name} {row.scores['accuracy']:.3f}" for row in self.rows)
        return f"Comparison({len(self.sources)} clips, {len(self.classes)} classes; {scores})"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""

        def bounds(row: Row) -> str:
            low, high = row.intervals.get("accuracy") or (None, None)
            return "" if low is None or high is None else f"{low:.1%} to {high:.1%}"

        rows = [
            (
                r.title,
                f"{r.scores['accuracy']:.1%}",
                bounds(r),
                f"{r.scores['macro_f1']:.3f}",
                f"{r.scores['log_loss']:.3f}",
            )
            for r in self.rows
        ]
        return as_html(self.headline, rows, header=("head", "accuracy", "95 % interval", "macro F1", "log-loss"))

    def __getitem__(self, name: str) -> Row:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def best(self) -> Row:
        """The head with the best accuracy, log-loss deciding ties; never a control and never ``auto``."""
        return best_row(self.rows)

    def test(self, a: str, b: str) -> Test | None:
        """Return the test of two rows, None when they were not tested."""
        return next((test for test in self.tests if (test.a, test.b) == (a, b)), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions as plain values for JSON (``schema_version`` first)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "headline": self.headline,
            "best": self.best.name,
            "verdict": list(self.verdict),
            "notes": list(self.notes),
            "classes": list(self.classes),
            "rows": [{**asdict(row), "seconds": row.seconds, "peak_bytes": row.peak_bytes} for row in self.rows],
            "tests": [{**asdict(test), "is_real": test.is_real} for test in self.tests],
            "group_scores": self.group_scores,
            "curves": self.curves,
            "facts": self.facts,
        }
