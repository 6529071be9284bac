"""Search spaces as plain data: heads declare them, `embedx.tuning` reads them, no optuna here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Choice", "Dimension", "Integer", "Real"]


@dataclass(frozen=True, slots=True)
class Real:
    """A number between two bounds, both included, on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between two bounds, both included, on a linear or logarithmic scale."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values (text, numbers, None, booleans)."""

    options: tuple[Any, ...]


Dimension = Real | Integer | Choice
