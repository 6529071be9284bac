"""More data? Another layer? The learning curve with its power law, and the curve over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.candidates import FRACTIONS
from embedx.comparison.fold_fitting import CurvePoint, FoldFit
from embedx.comparison.scoring import RowScores
from embedx.dataset import Dataset
from embedx.evaluation.splits import Fold
from embedx.evaluation.statistics import MIN_GROUPS, group_totals, resampled_sums
from embedx.heads.catalog import HeadSpec

__all__ = ["PowerLaw", "draw_curves", "fit_power_law"]

_EXPONENTS = np.concatenate([np.linspace(0.05, 1.0, 20), np.linspace(1.1, 2.0, 10)])
N_DRAWS = 500


def fit_power_law(sizes: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit error = a + b n**-c with a, b >= 0 and 0 < c <= 2, by least squares over a grid of c.

    The form is that of Cortes et al. (1993) and Hestness et al. (2017).

    Parameters
    ----------
    sizes : ndarray of shape (m,)
        Clips learned from.
    errors : ndarray of shape (B, m)
        Error rates of B curves at once.

    Returns
    -------
    ndarray of shape (B, 3)
        a, b and c of every curve.

    Examples
    --------
    >>> sizes = np.array([25.0, 50, 100, 200])
    >>> fit_power_law(sizes, (0.1 + 2 * sizes**-0.5)[None]).round(3).tolist()
    [[0.1, 2.0, 0.5]]
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), 3))
    for c in _EXPONENTS:
        a, b = _line(sizes**-c, errors)
        misfit = ((a[:, None] + b[:, None] * sizes**-c - errors) ** 2).sum(1)
        better = misfit < best - 1e-15
        best[better] = misfit[better]
        found[better] = np.stack([a, b, np.full_like(a, c)], axis=1)[better]
    return found


PowerLaw = NDArray[np.float64]


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of y on x with both coefficients not below zero."""
    centred = x - x.mean()
    b = (y @ centred) / (centred @ centred)
    a = y.mean(1) - b * x.mean()
    through_zero = np.maximum((y @ x) / (x @ x), 0.0)
    flat = y.mean(1)
    b = np.where(b < 0, 0.0, np.where(a < 0, through_zero, b))
    return np.where(b == 0, flat, np.maximum(a, 0.0)), b


def _predict(law: PowerLaw, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return law[:, :1] + law[:, 1:2] * sizes[None, :] ** -law[:, 2:3]


def draw_curves(
    probe: HeadSpec | None,
    stores: Mapping[str, Dataset],
    scored: Mapping[str | CurvePoint, RowScores],
    fits: Mapping[str | CurvePoint, Sequence[FoldFit]],
    cuts: Sequence[Fold],
    groups: NDArray[Any] | None,
    *,
    seed: int,
) -> dict[str, Any]:
    """Return ``layers`` and ``learning`` by store, as plain values.

    Parameters
    ----------
    probe : HeadSpec or None
        The head that drew them.
    stores, cuts, groups, seed
        As compared.
    scored, fits : mapping
        By candidate's name.
    """
    if probe is None:
        return {}
    several = len(stores) > 1
    curves: dict[str, Any] = {"head": probe.name, "title": probe.title, "layers": {}, "learning": {}}
    for store, dataset in stores.items():
        whole = scored[f"{store}:{probe.name}" if several else probe.name]
        layers = [(layer, scored.get(CurvePoint("layer", store, layer))) for layer in dataset.layers]
        points = [_point(layer, one) for layer, one in layers if one is not None]
        if points:
            curves["layers"][store] = [*points, _point("mean", whole)]
        sizes = _sizes(store, fits, cuts)
        parts = [scored[CurvePoint("size", store, fraction)] for fraction in FRACTIONS]
        curves["learning"][store] = _learning(sizes, [*parts, whole], groups, seed)
    return curves


def _point(layer: int | str, scored: RowScores) -> dict[str, Any]:
    bounds = scored.intervals.get("accuracy")
    return {
        "layer": layer,
        "accuracy": scored.scores["accuracy"],
        "log_loss": scored.scores["log_loss"],
        "interval": None if bounds is None else list(bounds),
    }


def _sizes(store: str, fits: Mapping[str | CurvePoint, Sequence[FoldFit]], cuts: Sequence[Fold]) -> list[float]:
    part = [
        float(np.mean([fit.chosen["n_train"] for fit in fits[CurvePoint("size", store, fraction)]]))
        for fraction in FRACTIONS
    ]
    return [*part, float(np.mean([len(fold.train) for fold in cuts]))]


def _learning(
    sizes: list[float], scored: Sequence[RowScores], groups: NDArray[Any] | None, seed: int
) -> dict[str, Any]:
    kept = [i for i in range(len(sizes)) if i == len(sizes) - 1 or sizes[i] < sizes[i + 1] * 0.98]
    n = np.array([sizes[i] for i in kept])
    errors = 1 - np.stack([scored[i].correct for i in kept], axis=1)
    tested = ~np.isnan(errors).any(1)
    points = [{"n_train": sizes[i], **_without_layer(_point("", scored[i]))} for i in kept]
    if len(kept) < 3:
        return {"points": points, "reason": "fewer than three sizes: no curve can be fitted"}
    units = np.arange(int(tested.sum())) if groups is None else groups[tested]
    return {"points": points, **_forecast(n, errors[tested], units, seed)}


def _without_layer(point: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != "layer"}


def _forecast(n: NDArray[np.float64], errors: NDArray[np.float64], units: NDArray[Any], seed: int) -> dict[str, Any]:
    """Fit the power law, and again on resampled groups; the draw of the subsets itself is held fixed."""
    law = fit_power_law(n, errors.mean(0)[None])
    grid = np.geomspace(n[0], 4 * n[-1], 40)
    result: dict[str, Any] = {
        "law": dict(zip("abc", map(float, law[0]), strict=True)),
        "grid": grid.tolist(),
        "fit": (1 - _predict(law, grid)[0]).tolist(),
        "forecast": {"n_train": 2 * float(n[-1]), "accuracy": float(1 - _predict(law, 2 * n[-1:])[0, 0])},
    }
    ones = np.ones((len(errors), 1))
    totals = group_totals(np.concatenate([errors, ones], axis=1), units)
    if len(totals) < MIN_GROUPS:
        return {**result, "reason": f"{len(totals)} groups are too few for an interval"}
    sums = resampled_sums(totals, n_draws=N_DRAWS, seed=seed)
    laws = fit_power_law(n, sums[:, :-1] / sums[:, -1:])
    low, high = np.quantile(1 - _predict(laws, grid), [0.025, 0.975], axis=0)
    ahead = np.quantile(1 - _predict(laws, 2 * n[-1:])[:, 0], [0.025, 0.975])
    result["forecast"]["interval"] = ahead.tolist()
    return {**result, "low": low.tolist(), "high": high.tolist()}
