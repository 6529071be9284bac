"""Who is compared: controls, heads, tuned heads, ``auto``, and the points of the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from embedx.comparison.auto import fits_of_auto, learn_auto
from embedx.comparison.fold_fitting import Candidate, CurvePoint, Learned, fit_part
from embedx.comparison.result import Kind
from embedx.comparison.subsets import nested_subset
from embedx.dataset import Dataset
from embedx.errors import ParameterError
from embedx.heads.catalog import HeadSpec, as_spec

__all__ = ["FRACTIONS", "curve_candidates", "probe_of", "table_candidates"]

FRACTIONS = (0.125, 0.25, 0.5, 0.75)
"""Shares of each training part that the learning curve learns from; all of it is the row itself."""


def table_candidates(
    stores: Mapping[str, Dataset], heads: Sequence[Any], *, n_trials: int, auto: bool
) -> list[Candidate]:
    """Return the rows of the table: baseline, control, and for each store its heads, tuned heads and ``auto``.

    Raises
    ------
    ParameterError
        A head that is unknown, or there twice.
    """
    chosen = [head for head in heads if not as_spec(head).is_control]
    first = next(iter(stores))
    found = [_candidate("majority", first, "", kind="baseline"), _candidate("logmel", first, "", kind="control")]
    for store, dataset in stores.items():
        prefix = f"{store}:" if len(stores) > 1 else ""
        found += _store_candidates(store, prefix, chosen, n_trials)
        if auto:
            found += _auto(store, prefix, chosen, dataset.n_layers)
    names = [str(candidate.name) for candidate in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ParameterError(f"the head {repeated[0]!r} is there twice: name each head once")
    return found


def _store_candidates(store: str, prefix: str, heads: Sequence[Any], n_trials: int) -> list[Candidate]:
    found = [_candidate(head, store, prefix) for head in heads]
    if n_trials:
        found += [_candidate(head, store, prefix, n_trials=n_trials) for head in heads if as_spec(head).space]
    return found


def _auto(store: str, prefix: str, heads: Sequence[Any], n_layers: int) -> list[Candidate]:
    on_vectors = tuple(head for head in heads if as_spec(head).input_kind == "embeddings")
    if not on_vectors:
        return []
    return [
        Candidate(
            name=f"{prefix}auto",
            title=f"{prefix} auto".strip(),
            kind="auto",
            head="auto",
            store=store,
            learn=partial(learn_auto, heads=on_vectors),
            fits=fits_of_auto(on_vectors, n_layers),
        )
    ]


def _candidate(head: Any, store: str, prefix: str, *, kind: Kind = "head", n_trials: int = 0) -> Candidate:
    spec = as_spec(head)
    title, name = f"{prefix} {spec.title}".strip(), f"{prefix}{spec.name}"
    if not n_trials:
        learn: Any = partial(_learn_plain, head=head)
    else:
        learn = partial(_learn_tuned, head=head, n_trials=n_trials)
        kind, name, title = "tuned", f"{name} tuned", f"{title}, tuned"
    return Candidate(
        name=name,
        title=title,
        kind=kind,
        head=spec.name,
        store=store,
        learn=learn,
        warm=head,
        fits={spec.name: 4 * n_trials + 1},  # five inner folds, of four fifths each, a trial
    )


def _learn_plain(part: Dataset, seed: int, *, head: Any, params: Mapping[str, Any] | None = None) -> Learned:
    return fit_part(part, head, seed=seed, params=params)


def _learn_tuned(part: Dataset, seed: int, *, head: Any, n_trials: int) -> Learned:
    from embedx.tuning import tune

    tuned = tune(part, head, n_trials=n_trials, seed=seed)
    learned = fit_part(part, head, seed=seed, params=tuned.params)
    values = [trial["value"] for trial in tuned.history if trial["value"] is not None]
    best = np.minimum.accumulate(values) if values else np.array([])
    history = tuple(float(value) for value in best)
    return Learned(
        estimator=learned.estimator, input_kind=learned.input_kind, chosen=dict(tuned.params), history=history
    )


def _learn_less(part: Dataset, seed: int, *, head: Any, fraction: float) -> Learned:
    subset = part.take(nested_subset(part, fraction, seed=seed))
    learned = fit_part(subset, head, seed=seed)
    return Learned(estimator=learned.estimator, input_kind=learned.input_kind, chosen={"n_train": len(subset)})


def probe_of(heads: Sequence[Any]) -> HeadSpec | None:
    """Return the head that draws the curves: logistic regression if it is there, else the first on embeddings."""
    specs = [spec for spec in map(as_spec, heads) if spec.input_kind == "embeddings" and not spec.is_control]
    return next((spec for spec in specs if spec.name == "logreg"), specs[0] if specs else None)


def curve_candidates(stores: Mapping[str, Dataset], probe: HeadSpec | None) -> list[Candidate]:
    """Return one candidate for each layer of each store, and one for each size of the learning curve."""
    if probe is None:
        return []
    found = []
    for store, dataset in stores.items():
        layers = dataset.layers if probe.layered and dataset.n_layers > 1 else ()
        for position, layer in enumerate(layers):
            learn: Any = partial(_learn_plain, head=probe, params={"layer": position})
            found.append(_point(CurvePoint("layer", store, layer), probe, store, learn, 1))
        for fraction in FRACTIONS:
            learn = partial(_learn_less, head=probe, fraction=fraction)
            found.append(_point(CurvePoint("size", store, fraction), probe, store, learn, fraction))
    return found


def _point(name: CurvePoint, probe: HeadSpec, store: str, learn: Any, n_fits: float) -> Candidate:
    return Candidate(
        name=name,
        title=str(name),
        kind="head",
        head=probe.name,
        store=store,
        learn=learn,
        warm=probe,
        fits={probe.name: n_fits},
    )
