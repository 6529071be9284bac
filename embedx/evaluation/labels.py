"""Labels that are probably wrong, from what heads say of clips that they never learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Suspect", "find_suspects"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A clip whose label is probably wrong.

    Parameters
    ----------
    index : int
        Which clip.
    suggested : int
        Column of the class that it sounds like.
    p_own, p_suggested : float
        Out-of-fold probability of its label, and of the suggested class.
    """

    index: int
    suggested: int
    p_own: float
    p_suggested: float


def find_suspects(proba: NDArray[np.float64], truth: NDArray[np.intp]) -> tuple[Suspect, ...]:
    """Return clips that are more surely another class than that class's own clips are on average.

    Confident learning (Northcutt, Jiang and Chuang 2021): a class's threshold is the mean probability
    that its own clips get; a clip that passes the threshold of another class, and of that one more than of
    its own, is suspect. Clips of a class that no head had learned where it was tested say nothing and are left out.

    Parameters
    ----------
    proba : ndarray of shape (n, k)
        Out-of-fold probabilities; NaN where a clip was not tested.
    truth : ndarray of shape (n,), int
        Column of each clip's label.

    Returns
    -------
    tuple of Suspect
        The surest first.

    Examples
    --------
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.2, 0.8], [0.1, 0.9]])
    >>> find_suspects(proba, np.array([0, 0, 1, 1, 1]))
    (Suspect(index=2, suggested=0, p_own=0.05, p_suggested=0.95),)
    """
    tested = ~np.isnan(proba).any(1)
    k = proba.shape[1]
    means = [proba[tested & (truth == j), j].mean() if (tested & (truth == j)).any() else np.inf for j in range(k)]
    passing = np.where(proba >= np.array(means), proba, -1.0)
    passing[np.arange(len(truth)), truth] = -1.0
    said = passing.argmax(1)
    own = proba[np.arange(len(truth)), truth]
    sure = passing[np.arange(len(truth)), said]
    known = np.array([(proba[tested & (truth == j), j] > 0).any() for j in range(k)])  # by any head that was asked
    found = np.flatnonzero(tested & (sure > 0) & (sure > own) & known[truth])
    order = found[np.argsort(own[found] - sure[found], kind="stable")]
    return tuple(Suspect(int(i), int(said[i]), float(own[i]), float(sure[i])) for i in order)
