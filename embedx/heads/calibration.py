"""Probabilities that mean what they say: temperature, or isotonic curves when there are clips enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ParameterError

__all__ = ["ISOTONIC_FROM", "Calibration", "fit_calibration"]

ISOTONIC_FROM = 1000
"""Held-out clips from which isotonic curves are fitted (with fewer they overfit: Niculescu-Mizil and Caruana 2005)."""

_TINY = 1e-7


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """A correction of predicted probabilities.

    Parameters
    ----------
    method : {'temperature', 'isotonic'}
        Which one.
    temperature : float
        What log-probabilities are divided by (Guo et al. 2017, arXiv:1706.04599); above 1 makes a head less sure.
    curves : tuple of (ndarray, ndarray)
        For each class the knots of a non-decreasing curve from predicted to corrected probability.
    floor : float
        Least corrected probability of the curves: no finite number of clips proves that something is impossible.

    Examples
    --------
    >>> Calibration(method="temperature", temperature=2.0).apply(np.array([[0.9, 0.1]])).round(2).tolist()
    [[0.75, 0.25]]
    """

    method: str
    temperature: float = 1.0
    curves: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...] = field(default=(), repr=False)
    floor: float = _TINY

    def apply(self, proba: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return corrected probabilities, shape (n, n_classes); rows sum to one."""
        if self.method == "temperature":
            return _tempered(proba, self.temperature)
        columns = [np.interp(proba[:, i], x, y) for i, (x, y) in enumerate(self.curves)]
        corrected = np.maximum(np.column_stack(columns), self.floor)
        return corrected / corrected.sum(axis=1, keepdims=True)


def _tempered(proba: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    scores = np.log(np.clip(proba.astype(np.float64), _TINY, 1.0)) / temperature
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def fit_calibration(codes: NDArray[np.intp], proba: NDArray[np.float64], *, method: str = "auto") -> Calibration:
    """Learn a correction from predictions on clips that the head had not learned from.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Column of the true class.
    proba : ndarray of shape (n, n_classes)
        Held-out predictions.
    method : {'auto', 'temperature', 'isotonic'}
        ``"auto"`` takes isotonic curves from `ISOTONIC_FROM` clips on.

    Raises
    ------
    ParameterError
        No such method.
    """
    if method not in ("auto", "temperature", "isotonic"):
        raise ParameterError(f"calibration {method!r}: give 'auto', 'temperature' or 'isotonic'")
    if method == "isotonic" or (method == "auto" and len(codes) >= ISOTONIC_FROM):
        return _isotonic(codes, proba)
    return Calibration(method="temperature", temperature=_best_temperature(codes, proba))


def _best_temperature(codes: NDArray[np.intp], proba: NDArray[np.float64]) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        own = _tempered(proba, float(np.exp(log_temperature)))[np.arange(len(codes)), codes]
        return float(-np.log(np.maximum(own, _TINY)).mean())

    found: Any = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def _isotonic(codes: NDArray[np.intp], proba: NDArray[np.float64]) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    curves = []
    for column in range(proba.shape[1]):
        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        curve.fit(proba[:, column], codes == column)
        curves.append((np.asarray(curve.X_thresholds_, np.float64), np.asarray(curve.y_thresholds_, np.float64)))
    return Calibration(method="isotonic", curves=tuple(curves), floor=0.5 / len(codes))
