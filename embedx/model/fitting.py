"""fit_model(): one head, trained on all clips it is given, judged on others, calibrated on held-out folds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.dataset import Dataset
from embedx.errors import DatasetError, EmbedxError, ParameterError
from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import plan_folds
from embedx.heads.calibration import Calibration, fit_calibration
from embedx.heads.catalog import HeadSpec, as_spec, fit_head, make_head, with_recipe
from embedx.model.core import Model

__all__ = ["fit_model"]

_KEEPING = ("checkpoint_folder", "resume")
"""Parameters of the one training whose state is kept; those of calibration's folds are not."""

_MACHINE = frozenset({"checkpoint_folder", "resume", "device", "batch_seconds"})
"""Parameters that say with what a head was trained, not what it became."""

SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")


def fit_model(
    dataset: Dataset,
    head: Any = "logreg",
    *,
    params: Mapping[str, Any] | None = None,
    valid: Dataset | None = None,
    calibrate: bool | str = False,
    seed: Any = 0,
    sample_weight: Any = None,
    progress: Callable[..., None] | None = None,
) -> Model:
    """Train one head on all labelled clips of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Clips with labels; those without are left out with a warning.
    head : str, HeadSpec or estimator
        A name of the catalogue or a scikit-learn classifier.
    params : mapping, optional
        Parameters of the head, such as those that `embedx.tuning.tune` found.
    valid : Dataset, optional
        Clips to judge on: ``scores`` then holds ``valid``, and ``majority`` for the baseline on the same clips.
    calibrate : bool or {'temperature', 'isotonic'}
        Whether probabilities are corrected on held-out folds; True chooses by the number of clips.
        ``scores["calibration"]`` says what it was worth, judged on folds that it was not fitted on.
    seed : int, RandomState or None
        Seed of head and folds, from 0 to 2**32 - 1. A generator, or None for numpy's own, is asked for one number,
        which the model keeps.
    sample_weight : array-like of shape (n,), optional
        How much each clip counts while the head learns, for heads that can weigh clips.
    progress : callable, optional
        For heads that take long; called as ``progress(done, total, **facts)``.

    Returns
    -------
    Model

    Raises
    ------
    DatasetError
        No labels, a single class, a class of one clip, or clips that the head cannot learn from.
    ParameterError
        No such head or parameter, weights that do not fit the clips, or a head that takes none.
    """
    spec = as_spec(with_recipe(head, dataset.recipe))
    weights = None if sample_weight is None else _weights_of_labelled(dataset, sample_weight)
    dataset = dataset.require_learnable(least=2)
    if spec.eats == "sources":
        dataset.require_audio()
    seed = _whole_seed(seed)
    fit = _Fit(spec, {name: _plain(value) for name, value in dict(params or {}).items()}, seed)
    estimator = fit.on(dataset, weights, progress=progress)
    scores: dict[str, Any] = {}
    calibration = None
    if calibrate:
        inner = _Fit(spec, {name: value for name, value in fit.params.items() if name not in _KEEPING}, seed)
        method = "auto" if calibrate is True else calibrate
        calibration, scores["calibration"] = _calibrated(inner, dataset, weights, method)
    model = Model(
        head=spec.name,
        estimator=estimator,
        eats=spec.eats,
        recipe=dataset.recipe,
        classes=tuple(str(name) for name in estimator.classes_),
        n_features=_n_features(dataset.inputs_for(spec)),
        parameters={name: value for name, value in fit.params.items() if name not in _MACHINE},
        seed=seed,
        training=_training_facts(dataset),
        calibration=calibration,
    )
    if valid is not None:
        scores.update(_scored(model, dataset, valid))
        if spec.eats == "sources":
            estimator.note_judged(scores["valid"])  # for the model card
    return model.with_scores(scores)


def _weights_of_labelled(dataset: Dataset, sample_weight: Any) -> NDArray[np.float64]:
    """Return the weights of the clips that are learned from."""
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(dataset),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ParameterError(f"sample_weight has shape {weights.shape}: give a number of 0 or more for each clip")
    return weights[[source.label is not None for source in dataset.sources]]


def _whole_seed(seed: Any) -> int:
    """Return a number that a model can keep."""
    if seed is None or isinstance(seed, np.random.RandomState | np.random.Generator):
        draw = getattr(seed, "integers", None) or getattr(seed or np.random, "randint")  # noqa: B009
        return int(draw(2**31))
    require_number("seed", seed, 0, 2**32 - 1, whole=True)
    return int(seed)


def _plain(value: Any) -> Any:
    """Return a value of numpy as one of Python, which JSON can keep."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _n_features(inputs: Any) -> int:
    """Return the columns of X; a clip of audio counts as one."""
    return int(inputs.shape[1]) if inputs.ndim > 1 else 1


class _Fit:
    """One head with its parameters, fitted on any part of the clips."""

    def __init__(self, spec: HeadSpec, params: dict[str, Any], seed: int) -> None:
        self.spec, self.params, self.seed = spec, params, seed

    def on(
        self,
        dataset: Dataset,
        sample_weight: NDArray[np.float64] | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Any:
        try:
            estimator = make_head(self.spec, n_layers=dataset.n_layers, random_state=self.seed, **self.params)
            inputs = dataset.inputs_for(self.spec)
            extras = {"groups": dataset.groups, "sample_weight": sample_weight, "progress": progress}
            return fit_head(estimator, inputs, dataset.y, **extras)
        except EmbedxError:
            raise
        except Exception as error:  # whatever a parameter of a strange kind leads to, many calls deep
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if self.params:
                given = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
                raise ParameterError(f"head {self.spec.name!r} cannot learn with {given[:200]}: {reason}") from error
            if not isinstance(error, ValueError):
                raise
            raise DatasetError(f"head {self.spec.name!r} cannot learn from these clips: {reason}") from error


def _calibrated(
    fit: _Fit, dataset: Dataset, weights: NDArray[np.float64] | None, method: str
) -> tuple[Calibration, dict[str, Any]]:
    classes, codes = np.unique(np.asarray(dataset.y), return_inverse=True)
    n_units = np.bincount(codes).min() if dataset.groups is None else len(np.unique(dataset.groups))
    if n_units < 2:
        raise DatasetError("calibration needs clips of two groups or more, to predict on held-out ones")
    folds = plan_folds(codes, groups=dataset.groups, n_folds=int(min(5, n_units)), seed=fit.seed)
    held_out = np.zeros((len(dataset), len(classes)))
    for fold in folds:
        part = fit.on(dataset.take(fold.train), None if weights is None else weights[fold.train])
        held_out[fold.test] = align_proba(part.predict_proba(_input(fit, dataset, fold.test)), part.classes_, classes)
    corrected = np.zeros_like(held_out)
    for fold in folds:
        corrected[fold.test] = fit_calibration(codes[fold.train], held_out[fold.train], method=method).apply(
            held_out[fold.test]
        )
    found = fit_calibration(codes, held_out, method=method)
    before, after = (score(dataset.y, proba, classes) for proba in (held_out, corrected))  # type: ignore[arg-type]
    worth = {f"{name}_{when}": of[name] for name in ("log_loss", "ece") for when, of in _both(before, after)}
    return found, {"method": found.method, "temperature": found.temperature, "n_clips": len(dataset), **worth}


def _both(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    return (("before", before), ("after", after))


def _input(fit: _Fit, dataset: Dataset, indices: NDArray[np.intp]) -> Any:
    return dataset.inputs_for(fit.spec)[indices]


def _scored(model: Model, dataset: Dataset, valid: Dataset) -> dict[str, Any]:
    valid = valid.labelled()
    unknown = sorted(set(np.asarray(valid.y)) - set(model.classes))
    if unknown:
        raise DatasetError(f"the valid part holds classes that the training part lacks: {', '.join(unknown[:5])}")
    baseline = _Fit(as_spec("majority"), {}, model.seed).on(dataset)
    proba = {
        "valid": model.predict_proba(valid),
        "majority": align_proba(baseline.predict_proba(valid.X), baseline.classes_, model.classes),
    }
    found = {name: score(valid.y, values, model.classes) for name, values in proba.items()}  # type: ignore[arg-type]
    return {name: {"n_clips": len(valid), **{key: of[key] for key in SHOWN}} for name, of in found.items()}


def _training_facts(dataset: Dataset) -> dict[str, Any]:
    names, counts = np.unique(np.asarray(dataset.y), return_counts=True)
    pairs = zip(dataset.hashes, dataset.sources, strict=True)
    lines = sorted(f"{bytes(digest).hex()} {source.id} {source.label}" for digest, source in pairs)
    return {
        "n_clips": len(dataset),
        "hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "clips_a_class": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
    }
