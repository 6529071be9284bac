"""Parameters and labels are checked with one sentence each: what, got, allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedx.errors import DatasetError, ParameterError, unknown_name

__all__ = ["require_choice", "require_labels", "require_number", "require_seed"]


def require_number(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    optional: bool = False,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuse a parameter that is no number between two bounds.

    Parameters
    ----------
    name : str
        The parameter's.
    value : object
        What was given.
    low, high : float
        Bounds, both allowed unless open.
    whole : bool
        Whether only whole numbers are allowed.
    optional : bool
        Whether None is allowed too.
    open_low, open_high : bool
        Whether the bound itself is refused.

    Raises
    ------
    ParameterError
        It is none.

    Examples
    --------
    >>> require_number("epochs", 3, 1, 100, whole=True)
    >>> require_number("dropout", 1.0, 0, 1, open_high=True)
    Traceback (most recent call last):
    embedx.errors.ParameterError: dropout=1.0: a number from 0 to below 1 is needed
    """
    if optional and value is None:
        return
    wholes = (int, np.integer)
    kinds = wholes if whole else (*wholes, float, np.floating)
    good = isinstance(value, kinds) and not isinstance(value, bool)
    good = good and (isinstance(value, wholes) or math.isfinite(value))
    good = good and (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
    if not good:
        kind = "a whole number" if whole else "a number"
        also = " or None" if optional else ""
        raise ParameterError(f"{name}={value!r:.60}: {kind} {_span(low, high, open_low, open_high)}{also} is needed")


def _span(low: float, high: float, open_low: bool, open_high: bool) -> str:
    if high == math.inf:
        return f"above {low:.10g}" if open_low else f"of {low:.10g} or more"
    return f"from {'above ' if open_low else ''}{low:.10g} to {'below ' if open_high else ''}{high:.10g}"


def require_choice(name: str, value: Any, allowed: Sequence[str], *, optional: bool = False) -> None:
    """Refuse a parameter that is none of some words.

    Raises
    ------
    ParameterError
        It is none; the message says which was probably meant.

    Examples
    --------
    >>> require_choice("freeze", "cnv", ("conv", "none"))
    Traceback (most recent call last):
    embedx.errors.ParameterError: unknown freeze 'cnv': did you mean 'conv'? Known: conv, none
    """
    if (isinstance(value, str) and value in allowed) or (optional and value is None):
        return
    raise ParameterError(unknown_name(name, str(value)[:60], [*allowed, *(["None"] if optional else [])]))


def require_seed(value: Any, name: str = "seed") -> int:
    """Return a seed as a plain whole number; a generator, or numpy's own for None, is asked for one to keep.

    Raises
    ------
    ParameterError
        It is none that every library takes.

    Examples
    --------
    >>> require_seed(np.int64(7))
    7
    """
    if value is None or isinstance(value, np.random.RandomState | np.random.Generator):
        draw = getattr(value, "integers", None) or getattr(value or np.random, "randint")  # noqa: B009
        return int(draw(2**31))
    require_number(name, value, 0, 2**32 - 1, whole=True)
    return int(value)


def require_labels(y: Any) -> None:
    """Refuse labels that are None, NaN or pandas' NA, with the rows.

    Raises
    ------
    DatasetError
        There are such.

    Examples
    --------
    >>> require_labels(["dog", "NA", 3])
    >>> require_labels(["dog", None])
    Traceback (most recent call last):
    embedx.errors.DatasetError: 1 of 2 labels are missing (None, NaN or NA), row 1: label these clips or leave them out
    """
    values = list(y)
    rows = [row for row, value in enumerate(values) if _is_missing(value)]
    if rows:
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise DatasetError(
            f"{len(rows)} of {len(values)} labels are missing (None, NaN or NA), row{'s' if len(rows) > 1 else ''} "
            f"{shown}: label these clips or leave them out"
        )


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):  # pandas' NA is neither equal nor unequal; an array is no missing label
        return not hasattr(value, "__len__")
