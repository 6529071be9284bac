"""How many labels a strategy needs: clips whose labels are known are asked for as if they were not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.dataset import Dataset
from embedx.labelling.asking import RANDOM_EVERY, Asker
from embedx.labelling.judging import CurvePoint, LearningCurve
from embedx.labelling.learning import UNKNOWN, group_folds, learn, predict_all

__all__ = ["Simulated", "simulate"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Simulated:
    """What came of a simulated labelling.

    Parameters
    ----------
    asked : ndarray of shape (n_labels,), int
        Rows of the dataset in the order in which they were asked.
    n_labels : ndarray of shape (m,), int
        After how many labels the head was judged.
    accuracy : ndarray of shape (m,), float64
        On the test clips then.
    told : tuple of CurvePoint
        What a page says of the head after the numbers of labels that were named, without any test clip.
    told_by_all : tuple of float
        The accuracy that it would say then if it judged on every clip with a label, however it was chosen.
    """

    asked: NDArray[np.intp]
    n_labels: NDArray[np.intp]
    accuracy: NDArray[np.float64]
    told: tuple[CurvePoint, ...]
    told_by_all: tuple[float, ...]


def simulate(
    dataset: Dataset,
    test: Dataset,
    *,
    strategy: str = "uncertain+diverse",
    n_labels: int = 100,
    every: int = 1,
    random_every: int = RANDOM_EVERY,
    seed: int = 0,
    told_after: Sequence[int] = (),
) -> Simulated:
    """Ask for the clips of a dataset one by one, each answered by its label, and judge the head on other clips.

    Parameters
    ----------
    dataset : Dataset
        Labelled clips that are asked for.
    test : Dataset
        Labelled clips to judge on: none of them is learned from or looked at when a clip is chosen.
    strategy : str
        One of `STRATEGIES`.
    n_labels : int
        Labels that are given at most.
    every : int
        The head learns and is judged after so many labels each time.
    random_every : int
        One clip in so many is drawn at random, as on the page; 0 for none.
    seed : int
        Seed of the random order.
    told_after : sequence of int
        After so many labels it is kept what the page says.

    Raises
    ------
    ParameterError
        No such strategy, or a number below 1.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> dataset = make_dataset(n=60)
    >>> found = simulate(dataset.take(range(40)), dataset.take(range(40, 60)), n_labels=20, every=10)
    >>> found.n_labels.tolist(), bool(found.accuracy[-1] > 0.6)
    ([10, 20], True)
    """
    require_number("n_labels", n_labels, 1, whole=True)
    require_number("every", every, 1, whole=True)
    asker = Asker(dataset, strategy=strategy, random_every=random_every, seed=seed)
    classes, truth = np.unique(np.asarray(dataset.y), return_inverse=True)
    both, unknown = np.concatenate([asker.values, test.average_layers()]), np.full(len(test), UNKNOWN)
    test_labels = np.asarray(test.y)
    codes, folds = np.full(len(dataset), UNKNOWN), group_folds(dataset.groups, asker.order)
    asked: list[int] = []
    told: list[CurvePoint] = []
    told_by_all: list[float] = []
    proba, accuracy = None, {}
    while len(asked) < min(n_labels, len(dataset)):
        found = asker.next(len(asked), codes == UNKNOWN, proba)
        assert found is not None
        row = found[0]
        asked.append(row)
        codes[row] = truth[row]
        asker.note([row])
        if len(asked) % every:
            continue
        said = predict_all(both, np.append(codes, unknown), len(classes))
        proba = said[: len(dataset)] if len(np.unique(codes[asked])) > 1 else None
        accuracy[len(asked)] = float((classes[said[len(dataset) :].argmax(1)] == test_labels).mean())
        if len(asked) in told_after:
            curve = LearningCurve()
            curve.add(learn(asker.values, codes, folds, len(classes)))
            told += curve.points(codes, asker.drawn(codes != UNKNOWN, np.zeros(len(codes), dtype=bool)))
            told_by_all += [point.accuracy for point in curve.points(codes, np.array(asked))]
    return Simulated(
        asked=np.array(asked),
        n_labels=np.array(list(accuracy)),
        accuracy=np.array(list(accuracy.values())),
        told=tuple(told),
        told_by_all=tuple(told_by_all),
    )
