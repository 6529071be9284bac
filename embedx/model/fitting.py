"""fit_model(): one head, trained on all clips it is given, judged on others, calibrated on held-out folds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_seed
from embedx.dataset import Dataset
from embedx.errors import DatasetError, EmbedxError, EmbedxWarning, ParameterError
from embedx.evaluation.inner_folds import plan_inner_folds
from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import Fold, most_folds
from embedx.heads.calibration import Calibration, as_distribution, fit_calibration
from embedx.heads.catalog import HeadSpec, as_spec, check_parameters, fit_head, make_head, with_recipe
from embedx.heads.search_space import as_plain
from embedx.model.model import Model
from embedx.model.multi_label_fitting import fit_sets
from embedx.model.novelty_fitting import fit_novelty
from embedx.text import first_line

__all__ = ["fit_model"]

_KEEPING = ("checkpoint_folder", "resume")
"""Parameters of the one training whose state is kept; those of calibration's folds are not."""

_MACHINE = frozenset({"checkpoint_folder", "resume", "device", "batch_seconds"})
"""Parameters that say with what a head was trained, not what it became."""

_MOST_CONFUSIONS = 10

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
        Where a clip may have several labels (`Dataset.multi_label`), one with a threshold for each class, chosen on
        out-of-fold scores of these clips. Otherwise with what it needs to tell unknown sounds, unless the head learns
        from audio or no group can be held out; ``scores["novelty"]`` says how well classes that were left out in turns
        are told.

    Raises
    ------
    DatasetError
        No labels, a single class, a class of one clip, or clips that the head cannot learn from.
    ParameterError
        No such head or parameter, weights that do not fit the clips, or a head that takes none.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> fit_model(make_dataset(), "logreg", params={"C": 0.1})
    Model('logreg', 3 classes, encoder='tiny')
    """
    spec, seed = as_spec(with_recipe(head, dataset.recipe)), require_seed(seed)
    given = check_parameters(spec, params or {}, n_layers=dataset.n_layers)
    weights = None if sample_weight is None else _weights_of_labelled(dataset, sample_weight)
    dataset = dataset.require_learnable(least=2)
    if dataset.label_separator is not None:
        if calibrate or sample_weight is not None:
            what = "calibration takes" if calibrate else "sample_weight is for"
            raise ParameterError(f"{what} one label a clip, and these clips may have several: leave it out")
        recorded = {name: _recorded(value) for name, value in given.items()}
        facts = {"valid": valid, "seed": seed, "training": _training_facts(dataset), "recorded": recorded}
        return fit_sets(dataset, head, params=given, **facts)
    if spec.input_kind == "sources":
        dataset.require_audio()
    if calibrate:
        _calibration_folds(dataset, seed)  # what cannot be calibrated is refused before anything is trained
    fit = _Fit(spec, given, seed)
    estimator = fit.on(dataset, weights, progress=progress)
    scores: dict[str, Any] = {}
    calibration = None
    if calibrate:
        inner = _Fit(spec, {name: value for name, value in fit.params.items() if name not in _KEEPING}, seed)
        method = "auto" if calibrate is True else calibrate
        calibration, scores["calibration"] = _calibrated(inner, dataset, weights, method)
    novelty, told = fit_novelty(dataset, estimator, spec.input_kind, seed)
    scores |= {"novelty": told} if told else {}
    model = Model(
        head=spec.name,
        estimator=estimator,
        input_kind=spec.input_kind,
        recipe=dataset.recipe,
        classes=tuple(str(name) for name in estimator.classes_),
        n_features=_n_features(dataset.inputs_for(spec)),
        parameters={name: _recorded(value) for name, value in fit.params.items() if name not in _MACHINE},
        seed=seed,
        training=_training_facts(dataset),
        calibration=calibration,
        novelty=novelty,
    )
    if valid is not None:
        scores.update(_scored(model, dataset, valid))
        if spec.input_kind == "sources":
            estimator.record_scores(scores["valid"])  # for the model card
    return model.with_scores(scores)


def _weights_of_labelled(dataset: Dataset, sample_weight: Any) -> NDArray[np.float64]:
    """Return the weights of the clips that are learned from."""
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(dataset),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ParameterError(f"sample_weight has shape {weights.shape}: give a number of 0 or more for each clip")
    return weights[[source.label is not None for source in dataset.sources]]


def _recorded(value: Any) -> Any:
    """Return a parameter as a model's record keeps it; an object of the user's own classifier as its text."""
    try:
        return as_plain("", value)
    except ParameterError:
        return repr(value)[:200]


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
            reason = first_line(error)
            if self.params:
                given = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
                raise ParameterError(f"head {self.spec.name!r} cannot learn with {given[:200]}: {reason}") from error
            if not isinstance(error, ValueError):
                raise
            raise DatasetError(f"head {self.spec.name!r} cannot learn from these clips: {reason}") from error


def _calibrated(
    fit: _Fit, dataset: Dataset, weights: NDArray[np.float64] | None, method: str
) -> tuple[Calibration, dict[str, Any]]:
    """Fit a correction on held-out predictions, and judge it on folds that it was not fitted on.

    A clip whose class its fold's training part lacks says nothing about how sure the head is, and is left out.
    """
    classes, codes = np.unique(np.asarray(dataset.y), return_inverse=True)
    folds = _calibration_folds(dataset, fit.seed)
    held_out = np.full((len(dataset), len(classes)), np.nan)
    for fold in folds:
        part = fit.on(dataset.take(fold.train), None if weights is None else weights[fold.train])
        columns = np.searchsorted(classes, part.classes_)
        held_out[np.ix_(fold.test, columns)] = as_distribution(part.predict_proba(_input(fit, dataset, fold.test)))
    known = ~np.isnan(held_out[np.arange(len(codes)), codes])
    corrected = held_out.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbedxWarning)  # what is wrong is said of the correction that is kept
        for fold in folds:
            learned, judged = fold.train[known[fold.train]], fold.test[known[fold.test]]
            if len(learned) and len(judged):
                found = fit_calibration(codes[learned], held_out[learned], method=method)
                corrected[judged] = found.apply(held_out[judged])
    found = fit_calibration(codes[known], held_out[known], method=method)
    before, after = (
        score(np.asarray(dataset.y)[known], np.nan_to_num(proba[known]), classes) for proba in (held_out, corrected)
    )
    if after["log_loss"] > before["log_loss"]:
        warnings.warn(
            f"calibration does not help on held-out clips (log-loss {before['log_loss']:.4f}, with it "
            f"{after['log_loss']:.4f}): the probabilities are left as they are",
            EmbedxWarning,
            stacklevel=3,
        )
        found, after = Calibration(method="temperature"), before
    worth = {f"{name}_{when}": of[name] for name in ("log_loss", "ece") for when, of in _both(before, after)}
    return found, {"method": found.method, "temperature": found.temperature, "n_clips": int(known.sum()), **worth}


def _calibration_folds(dataset: Dataset, seed: int) -> tuple[Fold, ...]:
    """Return folds of two classes or more in training, with clips of learned classes to predict."""
    folds = plan_inner_folds(np.asarray(dataset.y), dataset.groups, seed)
    if len(folds) > 1:
        return folds
    if most_folds(np.asarray(dataset.y), dataset.groups) < 2:
        raise DatasetError("calibration needs clips of two groups or more, to predict on held-out ones")
    raise DatasetError(
        "calibration needs classes in several groups, to predict clips of classes that were learned: "
        "leave it out, or add clips of other groups"
    )


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
    scores = {name: {"n_clips": len(valid), **{key: of[key] for key in SHOWN}} for name, of in found.items()}
    scores["valid"]["confusions"] = _most_confused(np.array(found["valid"]["confusion"]), model.classes)
    return scores


def _most_confused(confusion: NDArray[np.intp], classes: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """Return true class, predicted class and number of clips of the most frequent mistakes."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    return [(classes[i], classes[j], int(wrong[i, j])) for i, j in pairs]


def _training_facts(dataset: Dataset) -> dict[str, Any]:
    names, counts = dataset.classes, dataset.label_matrix(dataset.classes).sum(0)
    pairs = zip(dataset.hashes, dataset.sources, strict=True)
    lines = sorted(f"{bytes(digest).hex()} {source.id} {source.label}" for digest, source in pairs)
    return {
        "n_clips": len(dataset),
        "hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "clips_a_class": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "n_groups": len({source.group for source in dataset.sources if source.group is not None}),
        "median_clip_seconds": round(float(np.median(dataset.seconds)), 6),
    }
