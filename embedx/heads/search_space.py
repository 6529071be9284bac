"""Search spaces as plain data: heads declare them, `embedx.tuning` reads them, no optuna here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedx.checks import require_number
from embedx.errors import ParameterError

__all__ = ["Choice", "Dimension", "Integer", "Real", "as_plain", "holds"]


def as_plain(name: str, value: Any) -> Any:
    """Return a parameter as plain Python, which a study and a saved model can hold.

    Raises
    ------
    ParameterError
        It is no text, finite number, None, or list or dictionary of these.

    Examples
    --------
    >>> as_plain("n_neighbors", np.int64(3)), as_plain("C", np.float32(0.5))
    (3, 0.5)
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [as_plain(name, item) for item in value]
    if isinstance(value, dict):
        return {str(as_plain(name, key)): as_plain(name, item) for key, item in value.items()}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ParameterError(
        f"{name}={value!r:.80} cannot be kept in a model: give a finite number, text, None, or a list or dictionary "
        "of these"
    )


@dataclass(frozen=True, slots=True)
class Real:
    """A number between two bounds, both included, on a linear or logarithmic scale.

    Examples
    --------
    >>> Real(1e-4, 100, log=True)
    Real(low=0.0001, high=100.0, log=True)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self, whole=False)


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between two bounds, both included, on a linear or logarithmic scale.

    Examples
    --------
    >>> Integer(1, 64, log=True)
    Integer(low=1, high=64, log=True)
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self, whole=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values (text, numbers, None, booleans).

    Examples
    --------
    >>> Choice(("l1", "l2", None))
    Choice(options=('l1', 'l2', None))
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.options, tuple) or not self.options:
            raise ParameterError(f"Choice({self.options!r:.80}): give a tuple of one or more values")
        object.__setattr__(self, "options", tuple(as_plain("an option", option) for option in self.options))


Dimension = Real | Integer | Choice


def holds(dimension: Dimension, value: Any) -> bool:
    """Say whether a value is one that may be tried.

    Examples
    --------
    >>> holds(Integer(1, 3), 3), holds(Real(0, 1), float("nan")), holds(Choice(("a", None)), None)
    (True, False, True)
    """
    if isinstance(dimension, Choice):
        return value in dimension.options
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def _check_bounds(dimension: Real | Integer, *, whole: bool) -> None:
    name = type(dimension).__name__
    require_number(f"{name} low", dimension.low, -math.inf, whole=whole)
    require_number(f"{name} high", dimension.high, dimension.low, whole=whole)
    if dimension.log:
        require_number(f"{name} low, on a logarithmic scale,", dimension.low, 0, open_low=True, whole=whole)
    kind = int if whole else float
    object.__setattr__(dimension, "low", kind(dimension.low))
    object.__setattr__(dimension, "high", kind(dimension.high))
