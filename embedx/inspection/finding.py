"""One thing that a look at the data turned up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Level"]

Level = Literal["good", "note", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check and what it found.

    Parameters
    ----------
    check : str
        A stable word: ``copies``, ``near_copies``, ``labels``, ``outliers``, ``audio``, ``balance``, ``confounds``.
    title : str
        What was checked.
    level : {'good', 'note', 'bad'}
        Nothing to do; good to know; likely to spoil a comparison.
    text : str
        What was found, in one or two sentences.
    items : tuple of str
        The clips or classes concerned, the worst first.
    facts : mapping
        Numbers behind the text, for programs.
    """

    check: str
    title: str
    level: Level
    text: str
    items: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
