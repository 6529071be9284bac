"""What rows cost: seconds of embedding a row, kept in the JSON of their environment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["merged", "seconds_per_row", "with_cost"]

_KEY = "seconds_per_row"


def with_cost(environment: Mapping[str, str], seconds: float | None) -> str:
    """Return an environment as a file records it, with what a row took.

    Examples
    --------
    >>> with_cost({"device": "cpu"}, 0.25)
    '{"device": "cpu", "seconds_per_row": "0.25"}'
    """
    known = {} if seconds is None else {_KEY: f"{seconds:.6g}"}
    return json.dumps({**environment, **known}, sort_keys=True)


def seconds_per_row(environment: str) -> float:
    """Return what a row took in seconds; NaN where it was not recorded."""
    try:
        seconds = float(json.loads(environment).get(_KEY, math.nan))
    except (TypeError, ValueError):
        return math.nan
    return seconds if seconds >= 0 and math.isfinite(seconds) else math.nan


class _Kind(NamedTuple):
    """Environments that differ in nothing but their cost; those of unknown cost stay apart."""

    plain: str
    has_cost: bool


def merged(environments: Sequence[str], n_rows: NDArray[np.int64]) -> tuple[list[str], NDArray[np.intp]]:
    """Return the environments of a file, and each clip's number among them.

    What differs in nothing but its cost becomes one with the mean cost of its rows: the sum over all rows
    stays what it was, and an interrupted and an uninterrupted run leave the same numbers.

    Parameters
    ----------
    environments : sequence of str
        Of every clip.
    n_rows : ndarray of shape (N,), int64
        Rows of every clip. Clips without rows (failures) join whatever is there.

    Examples
    --------
    >>> texts = [with_cost({"device": "cpu"}, seconds) for seconds in (0.1, 0.4, None)]
    >>> merged(texts, np.array([2, 1, 0]))[0]
    ['{"device": "cpu", "seconds_per_row": "0.2"}']
    """
    texts, number = np.unique(np.array(environments, dtype=object), return_inverse=True)
    rows = np.bincount(number, n_rows, minlength=len(texts))
    kinds = [_kind(text) for text in texts]
    known = {kind.plain for kind in kinds if kind.has_cost}
    kinds = [_Kind(k.plain, k.has_cost or (not n and k.plain in known)) for k, n in zip(kinds, rows, strict=True)]
    names = sorted(set(kinds))
    place = np.array([names.index(kind) for kind in kinds], dtype=np.intp)
    costs = np.nan_to_num(np.array([seconds_per_row(text) for text in texts]))
    seconds, total = (np.bincount(place, each, minlength=len(names)) for each in (rows * costs, rows))
    return [_text(*facts) for facts in zip(names, seconds, total, strict=True)], place[number]


def _kind(environment: str) -> _Kind:
    if math.isnan(seconds_per_row(environment)):
        return _Kind(environment, False)
    plain = {key: value for key, value in json.loads(environment).items() if key != _KEY}
    return _Kind(json.dumps(plain, sort_keys=True), True)


def _text(kind: _Kind, seconds: float, rows: float) -> str:
    return with_cost(json.loads(kind.plain), seconds / max(rows, 1)) if kind.has_cost else kind.plain
