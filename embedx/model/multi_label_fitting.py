"""fit_model() for clips that may have several labels: one head, a threshold for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import DatasetError, ParameterError
from embedx.evaluation.metrics import align_proba
from embedx.evaluation.multi_label_metrics import score_sets
from embedx.heads.catalog import as_spec
from embedx.heads.multi_label import MultiLabelHead, require_multi_label_head
from embedx.model.model import Model
from embedx.text import first_line

__all__ = ["fit_sets"]


def fit_sets(
    dataset: Dataset,
    head: Any,
    *,
    params: Mapping[str, Any],
    valid: Dataset | None,
    seed: int,
    training: Mapping[str, Any],
    recorded: Mapping[str, Any],
) -> Model:
    """Train one head on clips that may have several labels; see `embedx.model.fit_model`.

    Parameters
    ----------
    dataset : Dataset
        Learnable clips (`Dataset.require_learnable`).
    head : str or HeadSpec
        One of `embedx.heads.multi_label.MULTI_LABEL_HEADS`.
    params, valid, seed
        As in `embedx.model.fit_model`; ``params`` are checked.
    training : mapping
        What the model's record says of the clips.
    recorded : mapping
        Parameters as the model's record keeps them.

    Raises
    ------
    DatasetError
        ``valid`` holds other classes, or has one label a clip.
    ParameterError
        The head learns one label a clip, or cannot learn with these parameters.
    """
    require_multi_label_head(head)
    spec, classes = as_spec(head), dataset.classes
    fitted = _fitted(head, dataset, params, seed)
    model = Model(
        head=spec.name,
        estimator=fitted.estimator_,
        input_kind=spec.input_kind,
        recipe=dataset.recipe,
        classes=classes,
        n_features=int(dataset.inputs_for(spec).shape[1]),
        parameters=recorded,
        seed=seed,
        training=training,
        label_separator=dataset.label_separator,
        thresholds=tuple(float(value) for value in fitted.thresholds_),
    )
    return model if valid is None else model.with_scores(_scored(model, dataset, valid))


def _fitted(head: Any, dataset: Dataset, params: Mapping[str, Any], seed: int) -> MultiLabelHead:
    made = MultiLabelHead(head, n_layers=dataset.n_layers, random_state=seed, **params)
    try:
        X, Y = dataset.inputs_for(as_spec(head)), dataset.label_matrix(dataset.classes)
        return made.fit(X, Y, dataset.classes, groups=dataset.groups)
    except (ValueError, TypeError) as error:
        if isinstance(error, ParameterError):
            raise
        reason = first_line(error)
        raise DatasetError(f"head {as_spec(head).name!r} cannot learn from these clips: {reason}") from error


def _scored(model: Model, dataset: Dataset, valid: Dataset) -> dict[str, Any]:
    """Score the model on other clips, and the share of each class on the same."""
    valid = valid.labelled()
    if valid.label_separator != dataset.label_separator:
        raise DatasetError("the clips to judge on must name their labels as those that were learned from: as sets")
    unknown = sorted(set(valid.classes) - set(model.classes))
    if unknown:
        raise DatasetError(f"the valid part holds classes that the training part lacks: {', '.join(unknown[:5])}")
    guess = _fitted("majority", dataset, {}, model.seed)
    shares = align_proba(guess.predict_proba(valid.X), dataset.classes, model.classes)
    own = model.predict_proba(valid), np.array(model.thresholds)
    found = {"valid": own, "majority": (shares, guess.thresholds_)}
    Y = valid.label_matrix(model.classes)
    return {
        name: {"n_clips": len(valid), **_known(Y, proba, proba >= limits)} for name, (proba, limits) in found.items()
    }


def _known(Y: NDArray[np.bool_], proba: NDArray[np.float64], given: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return scores as JSON takes them."""
    return {name: value if np.isfinite(value) else None for name, value in score_sets(Y, proba, given).items()}
