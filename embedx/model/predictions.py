"""What a model says of clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ManifestError
from embedx.manifest import Source

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
        Rows sum to one; NaN where a clip failed.
    errors : tuple of (str or None)
        Why a clip failed, in one line.
    mixed : tuple of str
        Clips whose windows disagree so much that one label says too little, each with its windows a label.
    """

    sources: tuple[Source, ...]
    classes: tuple[str, ...]
    proba: NDArray[np.float64]
    errors: tuple[str | None, ...]
    mixed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, indices: Sequence[int]) -> Predictions:
        """Return some of the rows, in the given order; one may be there twice."""
        return replace(
            self,
            sources=tuple(self.sources[i] for i in indices),
            proba=self.proba[list(indices)],
            errors=tuple(self.errors[i] for i in indices),
        )

    @property
    def labels(self) -> NDArray[np.object_]:
        """Most probable class of each clip, shape (n,); None where it failed."""
        best = [
            None if error else self.classes[row.argmax()] for row, error in zip(self.proba, self.errors, strict=True)
        ]
        return np.array(best, dtype=object)

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
        )

    @property
    def n_failed(self) -> int:
        """Clips without a prediction."""
        return sum(error is not None for error in self.errors)
