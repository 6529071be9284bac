"""A labelling session: which clip is asked, what was answered, what a head makes of it, and how good that is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import ParameterError
from embedx.evaluation.labels import find_suspects
from embedx.labelling.answers import Answers
from embedx.labelling.asking import Asker, Why
from embedx.labelling.judging import CurvePoint, LearningCurve
from embedx.labelling.label_file import LabelFile
from embedx.labelling.learning import UNKNOWN, Learned, group_folds, learn

__all__ = ["LabellingSession", "Progress", "Question"]

_DOUBT_FROM = 20
_MOST_PAST = 24
_HELD_SECONDS = 600.0
"""So long a page keeps the clip that it shows; then another page may be asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A clip to listen to.

    Parameters
    ----------
    row : int
        Which clip of the dataset.
    why : {"random", "uncertain", "different", "suspect"}
        Drawn at random, to judge the head by; one of which the head is unsure; one unlike all labelled ones, as long as
        there is no head; one whose label is contradicted by a head that has not learned from it.
    label : str or None
        What it is labelled now.
    guesses : tuple of (str, float), or None
        Classes with the head's probabilities, the most likely first; None as long as there is no head, and for a clip
        that was drawn at random: whoever sees the guess is led by it.
    """

    row: int
    why: Why
    label: str | None
    guesses: tuple[tuple[str, float], ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the labelling is.

    Parameters
    ----------
    n_labels, n_clips : int
        Clips with a label, and clips.
    counts : tuple of (str, int)
        Clips of each class, in the order of the keys.
    n_passed : int
        Clips that were passed over in this session.
    is_learning : bool
        Whether labels have changed since the head learned.
    curve : tuple of CurvePoint
        How good the head was by the number of labels.
    n_folds : int
        Parts that are held out in turns; 1 where all clips are one group, so that nothing can be held out.
    """

    n_labels: int
    n_clips: int
    counts: tuple[tuple[str, int], ...]
    n_passed: int
    is_learning: bool
    curve: tuple[CurvePoint, ...]
    n_folds: int


class LabellingSession:
    """What a page to label on asks and tells; any thread may call any method.

    As a context it learns in a thread of its own after every answer, so that no answer waits for it.

    Parameters
    ----------
    dataset : Dataset
        The clips, with the labels that are known before.
    file : LabelFile
        Where labels go; those that it holds go before those of the dataset.
    classes : sequence of str
        Names for the first keys, in order.
    playable : ndarray of shape (n,), bool, optional
        Clips that may be asked; all by default.
    strategy : str
        One of `STRATEGIES`.

    Raises
    ------
    DatasetError
        A clip may have several labels.
    ParameterError
        No such strategy, or classes that are none or are spelt in two ways.
    """

    def __init__(
        self,
        dataset: Dataset,
        file: LabelFile,
        *,
        classes: Sequence[str] = (),
        playable: NDArray[np.bool_] | None = None,
        strategy: str = "uncertain+diverse",
    ) -> None:
        self.dataset = dataset.require_single_label("labelling")
        before = {row: source.label for row, source in enumerate(dataset.sources) if source.label is not None}
        known = {row: label for row, label in before.items() if row not in file.labels} | file.labels
        self._n_before = len(known) - len(file.labels)
        self._answers = Answers(known, file, classes=classes)
        self._asker = Asker(dataset, strategy=strategy)
        self._asker.note(list(known))
        self._folds = group_folds(dataset.groups, self._asker.order)
        self._passed = np.zeros(len(dataset), dtype=bool) if playable is None else ~playable
        self._n_unplayable, self._turn = int(self._passed.sum()), len(known)
        self._asked: dict[str, tuple[int, Why, float]] = {}
        self._reasons: dict[int, Why] = {}
        self._confirmed: set[int] = set()
        self._suspects: tuple[int, ...] = ()
        self._learned: Learned | None = None
        self._curve = LearningCurve()
        self._past = _sizes(self._n_before, len(known))
        self._changed = threading.Condition(threading.RLock())
        self._n_changes, self._n_learned, self._is_closed = 1, 0, False
        self._thread = threading.Thread(target=self._keep_learning, name="embedx-label", daemon=True)

    def __enter__(self) -> LabellingSession:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the keys."""
        with self._changed:
            return tuple(self._answers.classes)

    def question(self, tab: str) -> Question | None:
        """Return the clip that a page (``tab``) has not answered yet, or a new one; None where none is left.

        Two pages are not asked for the same clip.
        """
        with self._changed:
            now = time.monotonic()
            held = self._asked.pop(tab, None)
            self._asked = {name: one for name, one in self._asked.items() if now - one[2] < _HELD_SECONDS}
            is_open = held is not None and not self._is_settled(*held[:2]) and held[0] not in self._elsewhere()
            found = held[:2] if held is not None and is_open else self._next()
            if found is None:
                return None
            self._asked[tab] = (*found, now)
            self._reasons[found[0]] = found[1]
            return self._as_question(*found)

    def answer(self, tab: str, row: int, label: str, *, seen: str | None) -> None:
        """Give a clip a label; it is on disk when this returns.

        Parameters
        ----------
        tab : str
            Which page.
        row : int
            Which clip.
        label : str
            A class, or a new one.
        seen : str or None
            The label that the page showed.

        Raises
        ------
        AnsweredElsewhereError
            The clip has another label by now.
        ParameterError
            No such clip, or a label that cannot be one.
        OSError
            It could not be written, and nothing is changed.
        """
        with self._changing(row):
            self._answers.give(tab, row, label, seen=seen)
            if seen is None:
                self._asker.note([row])
            else:
                self._confirmed.add(row)
            self._turn += 1
            self._asked.pop(tab, None)

    def skip(self, tab: str, row: int) -> None:
        """Pass a clip over for the rest of the session.

        Raises
        ------
        ParameterError
            No such clip.
        """
        with self._changing(row):
            if row in self._answers.labels:
                self._confirmed.add(row)
                self._turn += 1
            else:
                self._passed[row] = True
            self._asked.pop(tab, None)

    def undo(self, tab: str) -> Question | None:
        """Take the last answer of a page back and ask for its clip again; None where there is none.

        Raises
        ------
        AnsweredElsewhereError
            Another page has changed it since.
        OSError
            It could not be written, and nothing is changed.
        """
        with self._changing():
            row = self._answers.take_back(tab)
            if row is None:
                return None
            self._confirmed.discard(row)
            self._curve.drop_after(len(self._answers.labels))
            self._turn -= 1
            before = self._reasons.get(row, "uncertain")
            why = "suspect" if row in self._answers.labels else "uncertain" if before == "suspect" else before
            self._asked = {name: one for name, one in self._asked.items() if one[0] != row}
            self._asked[tab] = (row, why, time.monotonic())
            return self._as_question(row, why)

    def progress(self) -> Progress:
        """Say how far the labelling is, and how good the head."""
        with self._changed:
            given = list(self._answers.labels.values())
            codes, n_folds = self._codes(self._answers.labels), int(self._folds.max()) + 1
            judged = self._asker.drawn(codes != UNKNOWN, self._passed)
            return Progress(
                n_labels=len(given),
                n_clips=len(self.dataset),
                counts=tuple((name, given.count(name)) for name in self._answers.classes),
                n_passed=int(self._passed.sum()) - self._n_unplayable,
                is_learning=self._n_learned < self._n_changes,
                curve=self._curve.points(codes, judged) if n_folds > 1 else (),
                n_folds=n_folds,
            )

    def learn(self) -> None:
        """Let the heads learn from the labels as they are now."""
        with self._changed:
            n_changes, labels, n_classes = self._n_changes, dict(self._answers.labels), len(self._answers.classes)
        codes = self._codes(labels)
        learned = learn(self._asker.values, codes, self._folds, n_classes)
        suspects = _in_doubt(learned, codes)
        with self._changed:
            self._learned, self._suspects, self._n_learned = learned, suspects, n_changes
            if self._n_learned == self._n_changes:
                self._curve.add(learned)
            self._changed.notify_all()

    @contextmanager
    def _changing(self, row: int | None = None) -> Iterator[None]:
        with self._changed:
            if row is not None and not 0 <= row < len(self.dataset):
                raise ParameterError(f"there is no clip {row}: the store has {len(self.dataset)}")
            yield
            self._n_changes += 1
            self._changed.notify_all()

    def _keep_learning(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._past or self._n_learned < self._n_changes)
                if self._is_closed:
                    return
                is_current = self._n_learned == self._n_changes
            if is_current:
                self._learn_past(self._past.pop())
            else:
                self.learn()

    def _learn_past(self, n_labels: int) -> None:
        """Learn what could be learned when there were fewer labels, for the curve of an earlier run."""
        with self._changed:
            labels, n_classes = dict(list(self._answers.labels.items())[:n_labels]), len(self._answers.classes)
        learned = learn(self._asker.values, self._codes(labels), self._folds, n_classes)
        with self._changed:
            self._curve.add(learned)

    def _codes(self, labels: dict[int, str]) -> NDArray[np.intp]:
        code = {name: i for i, name in enumerate(self._answers.classes)}
        codes = np.full(len(self.dataset), UNKNOWN)
        codes[list(labels)] = [code[label] for label in labels.values()]
        return codes

    def _next(self) -> tuple[int, Why] | None:
        may_be_asked = ~self._passed
        may_be_asked[list(self._answers.labels)] = False
        elsewhere = self._elsewhere()
        may_be_asked[elsewhere] = False
        suspects = [i for i in self._suspects if i in self._answers.labels and not self._passed[i]]
        suspects = [i for i in suspects if i not in self._confirmed and i not in elsewhere]
        proba = None if self._learned is None else self._learned.proba
        return self._asker.next(self._turn + len(elsewhere), may_be_asked, proba, suspects)

    def _elsewhere(self) -> list[int]:
        return [row for row, *_ in self._asked.values()]

    def _is_settled(self, row: int, why: Why) -> bool:
        """Say whether a clip that a page was asked for needs no answer any more."""
        if why == "suspect":
            return row in self._confirmed or row not in self._answers.labels
        return row in self._answers.labels or bool(self._passed[row])

    def _as_question(self, row: int, why: Why) -> Question:
        guesses = None
        if self._learned is not None and self._learned.proba is not None and why != "random":
            said = self._learned.held_out[row] if why == "suspect" else self._learned.proba[row]
            order = np.argsort(-said, kind="stable")
            guesses = tuple((self._answers.classes[i], float(said[i])) for i in order if not np.isnan(said[i]))
        return Question(row=row, why=why, label=self._answers.labels.get(row), guesses=guesses)


def _in_doubt(learned: Learned, codes: NDArray[np.intp]) -> tuple[int, ...]:
    """Return the labelled clips that heads contradict which have not learned from them, the surest first."""
    rows = np.flatnonzero(codes != UNKNOWN)
    if len(rows) < _DOUBT_FROM:
        return ()
    return tuple(int(rows[one.index]) for one in find_suspects(learned.held_out[rows], codes[rows]))


def _sizes(n_before: int, n_labels: int) -> list[int]:
    """Return after how many labels the curve of an earlier run is drawn anew, the smallest first to be learned last."""
    given = n_labels - n_before
    return sorted({n_before + round(given * i / _MOST_PAST) for i in range(1, _MOST_PAST)} - {n_before, n_labels})
