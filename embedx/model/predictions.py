"""What a model says of clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ManifestError
from embedx.manifest import Source, join_classes

__all__ = ["Predictions"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Predictions:
    """Labels and probabilities of clips, in the order of the clips; a failed clip keeps its row.

    Parameters
    ----------
    sources : tuple of Source
        The clips.
    classes : tuple of str
        Columns of ``proba``.
    proba : ndarray of shape (n, n_classes), float64
        Rows sum to one, unless a clip may have several labels; NaN where a clip failed.
    errors : tuple of (str or None)
        Why a clip failed, in one line.
    mixed : tuple of str
        Clips whose windows disagree so much that one label says too little, each with its windows a label.
    label_separator : str or None
        What stands between the classes of a label where a clip may have several.
    thresholds : tuple of float
        Probability from which on such a clip is given each class.
    novelty : ndarray of shape (n,), float64, or None
        How unlike all that was learned from: 1 is usual for a known sound that was held out; NaN where a clip failed.
        None when the model cannot say it.
    novelty_limit : float or None
        Above it a clip is unknown.
    """

    sources: tuple[Source, ...]
    classes: tuple[str, ...]
    proba: NDArray[np.float64]
    errors: tuple[str | None, ...]
    mixed: tuple[str, ...] = ()
    label_separator: str | None = None
    thresholds: tuple[float, ...] = ()
    novelty: NDArray[np.float64] | None = None
    novelty_limit: float | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, indices: Sequence[int]) -> Predictions:
        """Return some of the rows, in the given order; one may be there twice."""
        return replace(
            self,
            sources=tuple(self.sources[i] for i in indices),
            proba=self.proba[list(indices)],
            errors=tuple(self.errors[i] for i in indices),
            novelty=None if self.novelty is None else self.novelty[list(indices)],
        )

    @property
    def labels(self) -> NDArray[np.object_]:
        """Most probable class of each clip, shape (n,); None where it failed.

        Where a clip may have several labels, those from their thresholds on, joined: the separator alone for none.
        """
        if self.label_separator is not None:
            return self._sets(self.label_separator)
        best = [
            None if error else self.classes[row.argmax()] for row, error in zip(self.proba, self.errors, strict=True)
        ]
        return np.array(best, dtype=object)

    def _sets(self, separator: str) -> NDArray[np.object_]:
        names, given = np.array(self.classes), self.proba >= np.array(self.thresholds)
        found = [
            None if error else join_classes(map(str, names[row]), separator)
            for row, error in zip(given, self.errors, strict=True)
        ]
        return np.array(found, dtype=object)

    @property
    def known(self) -> NDArray[np.bool_] | None:
        """Whether each clip is like what was learned from, shape (n,); False where it failed, None without novelty."""
        if self.novelty is None or self.novelty_limit is None:
            return None
        return np.asarray(self.novelty <= self.novelty_limit)

    @classmethod
    def join(cls, parts: Iterable[Predictions]) -> Predictions:
        """Return predictions one after another as one.

        Raises
        ------
        ManifestError
            There are none.
        """
        some = list(parts)
        if not some:
            raise ManifestError("there is no clip to label: give one path or more")
        return cls(
            sources=tuple(source for part in some for source in part.sources),
            classes=some[0].classes,
            proba=np.concatenate([part.proba for part in some]),
            errors=tuple(error for part in some for error in part.errors),
            mixed=tuple(told for part in some for told in part.mixed),
            label_separator=some[0].label_separator,
            thresholds=some[0].thresholds,
            novelty=_joined([part.novelty for part in some]),
            novelty_limit=some[0].novelty_limit,
        )

    @property
    def n_failed(self) -> int:
        """Clips without a prediction."""
        return sum(error is not None for error in self.errors)


def _joined(parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if len(given) == len(parts) else None
