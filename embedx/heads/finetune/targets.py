"""What is learned: labels as shares, weights, and the part that is held out for stopping."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from embedx.checks import require_labels
from embedx.errors import DatasetError
from embedx.evaluation.splits import stratified_holdout
from embedx.heads.finetune.clips import as_sources
from embedx.heads.finetune.settings import Settings
from embedx.manifest import Source

__all__ = ["Targets", "read_targets"]

_FEWEST_FOLDS = 3
"""Never hold out more than a third: with two speakers that would be one of them."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Targets:
    """Labelled clips, ready to be trained on.

    Parameters
    ----------
    sources : tuple of Source
        The clips.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    shares : ndarray of shape (n, n_classes), float32
        1 at a clip's class, times its weight.
    train, held_out : ndarray of int
        Which clips are trained on, and which are judged after each epoch.
    """

    sources: tuple[Source, ...]
    classes: NDArray[Any]
    shares: NDArray[np.float32]
    train: NDArray[np.intp]
    held_out: NDArray[np.intp]

    @property
    def labels(self) -> list[str]:
        """Names of the classes as text."""
        return [str(name) for name in self.classes]

    @property
    def hash(self) -> str:
        """64 hexadecimal digits of clips, labels, weights and held-out part."""
        digest = hashlib.sha256(json.dumps([source.key for source in self.sources]).encode())
        for array in (self.shares, self.train.astype(np.int64), self.held_out.astype(np.int64)):
            digest.update(array.tobytes())
        return digest.hexdigest()


def read_targets(X: Any, y: Any, sample_weight: Any, groups: Any, settings: Settings) -> Targets:
    """Check what `FineTuneClassifier.fit` was given.

    Raises
    ------
    ParameterError
        X holds something else than sources or paths.
    DatasetError
        Other numbers of clips and labels, no clips, or a single class.
    """
    sources = as_sources(X)
    require_labels(y)
    labels = column_or_1d(y)
    if not len(sources) or len(labels) != len(sources):
        raise DatasetError(
            f"{len(sources)} clips but {len(labels)} labels: give one label a clip, and at least two clips"
        )
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DatasetError(f"every clip is labelled {str(classes[0])!r}: a classifier needs at least two classes")
    weights = _check_sample_weight(sample_weight, np.empty((len(sources), 1)), dtype=np.float64)
    if settings.class_weight is not None:
        weights = weights * compute_class_weight(settings.class_weight, classes=classes, y=labels)[codes]
    shares = (np.eye(len(classes))[codes] * weights[:, None]).astype(np.float32)
    train, held_out = stratified_holdout(
        codes, groups, settings.validation_fraction, settings.seed, fewest_folds=_FEWEST_FOLDS
    )
    return Targets(sources=tuple(sources), classes=classes, shares=shares, train=train, held_out=held_out)
