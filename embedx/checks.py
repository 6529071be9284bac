"""Parameters of heads are checked with one sentence each: what, got, allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedx.errors import ParameterError, unknown_name

__all__ = ["require_choice", "require_number"]


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
    kinds = (int, float, np.integer, np.floating)
    good = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if good and whole:
        good = float(value).is_integer()
    good = good and (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
    if not good:
        kind = "a whole number" if whole else "a number"
        also = " or None" if optional else ""
        raise ParameterError(f"{name}={value!r}: {kind} {_span(low, high, open_low, open_high)}{also} is needed")


def _span(low: float, high: float, open_low: bool, open_high: bool) -> str:
    if high == math.inf:
        return f"above {_short(low)}" if open_low else f"of {_short(low)} or more"
    return f"from {'above ' if open_low else ''}{_short(low)} to {'below ' if open_high else ''}{_short(high)}"


def _short(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() and abs(bound) < 1e12 else f"{bound:g}"


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
    if value in allowed or (optional and value is None):
        return
    raise ParameterError(unknown_name(name, str(value), [*allowed, *(["None"] if optional else [])]))
