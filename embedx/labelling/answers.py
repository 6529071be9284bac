"""The labels that were given: each is on disk before it counts, and what two pages answer is never mixed up."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedx.errors import ParameterError
from embedx.manifest import Source, describe_alike
from embedx.manifest.source import require_short
from embedx.text import printable

__all__ = ["AnsweredElsewhereError", "Answers", "Keeper", "clean_label"]


class AnsweredElsewhereError(ParameterError):
    """Another page has changed a clip's label meanwhile."""


class Keeper(Protocol):
    """What keeps labels, such as a `LabelFile`."""

    def write(self, labels: Mapping[int, str]) -> None:
        """Keep the labels of rows, in this order, or raise OSError and keep what was there."""


@dataclass(frozen=True, slots=True)
class _Answer:
    tab: str
    row: int
    before: str | None
    label: str


class Answers:
    """Labels of rows, in the order in which they were given, and the classes that they name.

    Parameters
    ----------
    labels : mapping of int to str
        Those that there are.
    keeper : Keeper
        What is told of every change.
    classes : sequence of str
        Names that come first.

    Raises
    ------
    ParameterError
        A class is named twice, is no label, or is spelt as no label is.

    Examples
    --------
    >>> class Nowhere:
    ...     def write(self, labels): pass
    >>> answers = Answers({7: "dog"}, Nowhere(), classes=["rain"])
    >>> answers.give("a", 3, "rain", seen=None)
    >>> answers.labels, answers.classes, answers.take_back("a")
    ({7: 'dog', 3: 'rain'}, ['rain', 'dog'], 3)
    """

    def __init__(self, labels: Mapping[int, str], keeper: Keeper, *, classes: Sequence[str] = ()) -> None:
        self.labels, self._keeper = dict(labels), keeper
        self.classes = [clean_label(name) for name in classes]
        twice = next((name for name in self.classes if self.classes.count(name) > 1), None)
        if twice is not None:
            raise ParameterError(f"--classes names {twice!r} twice: name each class once")
        self.classes += sorted(set(self.labels.values()) - set(self.classes))
        for name in classes:
            _require_unlike(clean_label(name), self.classes)
        self._history: list[_Answer] = []

    def give(self, tab: str, row: int, label: str, *, seen: str | None) -> None:
        """Give a row a label, where it still has the one that the page (``tab``) showed.

        Raises
        ------
        AnsweredElsewhereError
            It has another one.
        ParameterError
            The label cannot be one, or is another spelling of a class.
        OSError
            It could not be kept; nothing is changed.
        """
        label, now = clean_label(label), self.labels.get(row)
        if now != seen:
            what = "its label was taken back" if now is None else f"it was labelled {now!r}"
            raise AnsweredElsewhereError(f"this clip was answered on another page: {what}")
        if label not in self.classes:
            _require_unlike(label, self.classes)
        self._keep({**self.labels, row: label})
        if label not in self.classes:
            self.classes.append(label)
        self._history.append(_Answer(tab, row, now, label))

    def take_back(self, tab: str) -> int | None:
        """Undo the last answer of a page and return its row; None where there is none.

        Raises
        ------
        AnsweredElsewhereError
            Another page has given it another label since, which stays.
        OSError
            It could not be kept; nothing is changed.
        """
        last = next((one for one in reversed(self._history) if one.tab == tab), None)
        if last is None:
            return None
        if self.labels.get(last.row) != last.label:
            self._history.remove(last)
            raise AnsweredElsewhereError("what was answered last here has another label by now, from another page")
        labels = {row: label for row, label in self.labels.items() if row != last.row or last.before is not None}
        self._keep(labels if last.before is None else {**labels, last.row: last.before})
        self._history.remove(last)
        return last.row

    def _keep(self, labels: dict[int, str]) -> None:
        self._keeper.write(labels)
        self.labels = labels


def clean_label(text: str) -> str:
    """Return a label without space around it.

    Raises
    ------
    ParameterError
        It is empty, far too long, or has characters that cannot be seen.

    Examples
    --------
    >>> clean_label(" dog ")
    'dog'
    """
    label = unicodedata.normalize("NFC", text).strip()
    if not label:
        raise ParameterError("the label is empty: name a class")
    if printable(label) != label:
        raise ParameterError(f"the label {printable(label)[:80]!r} has characters that cannot be seen: leave them out")
    require_short(label, "the label")
    return label


def _require_unlike(label: str, classes: Iterable[str]) -> None:
    """Refuse a class that differs from another in case or spaces only."""
    for name in classes:
        if name != label and describe_alike([Source("", label=name), Source("", label=label)]):
            raise ParameterError(f"the label {label!r} is the class {name!r} written in another way: write it alike")
