"""Probabilities that mean what they say: temperature, or isotonic curves when there are clips enough."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_choice
from embedx.errors import EmbedxWarning

__all__ = ["ISOTONIC_FROM", "Calibration", "as_distribution", "fit_calibration"]

ISOTONIC_FROM = 1000
"""Held-out clips from which isotonic curves are fitted (with fewer they overfit: Niculescu-Mizil and Caruana 2005)."""

_TINY = 1e-7
_TEMPERATURES = (0.05, 20.0)


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
        return as_distribution(np.maximum(np.column_stack(columns), self.floor), unknown=np.isnan(proba))


def as_distribution(proba: NDArray[Any], *, unknown: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return probabilities as float64 with rows that sum to one.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Not negative.
    unknown : ndarray of shape (n, n_classes), bool, optional
        What gets no share and stays NaN: classes that a head had not learned.

    Examples
    --------
    >>> as_distribution(np.array([[0.1, 0.9]], dtype=np.float32)).sum(axis=1).tolist()
    [1.0]
    """
    exact = np.array(proba, dtype=np.float64)
    if unknown is not None:
        exact[unknown] = np.nan
    return exact / np.nansum(exact, axis=1, keepdims=True)


def _tempered(proba: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    scores = np.log(np.clip(proba.astype(np.float64), _TINY, 1.0)) / temperature
    exponents = np.exp(scores - np.nanmax(scores, axis=1, keepdims=True))
    return as_distribution(exponents, unknown=np.isnan(proba))


def fit_calibration(codes: NDArray[np.intp], proba: NDArray[np.float64], *, method: str = "auto") -> Calibration:
    """Learn a correction from predictions on clips that the head had not learned from.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Column of the true class.
    proba : ndarray of shape (n, n_classes)
        Held-out predictions; NaN for a class that the head had not learned, which is never the true one.
    method : {'auto', 'temperature', 'isotonic'}
        ``"auto"`` takes isotonic curves from `ISOTONIC_FROM` clips on. Where a class has no held-out prediction, a
        temperature is used and a warning says so: its curve would say that the class never occurs.

    Raises
    ------
    ParameterError
        No such method.
    """
    require_choice("calibration", method, ("auto", "temperature", "isotonic"))
    if method == "isotonic" or (method == "auto" and len(codes) >= ISOTONIC_FROM):
        n_unseen = int((np.bincount(codes, minlength=proba.shape[1]) == 0).sum())
        if not n_unseen:
            return _isotonic(codes, proba)
        warnings.warn(
            f"isotonic calibration needs held-out clips of every class, {n_unseen} of {proba.shape[1]} have none: "
            "one temperature is used for all",
            EmbedxWarning,
            stacklevel=2,
        )
    return Calibration(method="temperature", temperature=_best_temperature(codes, proba))


def _best_temperature(codes: NDArray[np.intp], proba: NDArray[np.float64]) -> float:
    """Minimise the log-loss against targets that are not quite certain (Platt 1999).

    Were they certain, a head that is right on every held-out clip would be made endlessly sure.
    """
    from scipy.optimize import minimize_scalar

    low, high = np.log(_TEMPERATURES)
    doubt = 1 / (len(codes) + 2)

    def loss(log_temperature: float) -> float:
        logs = np.log(np.maximum(_tempered(proba, float(np.exp(log_temperature))), 1e-300))
        own = logs[np.arange(len(codes)), codes]
        return float(-((1 - doubt) * own + doubt * np.nanmean(logs, axis=1)).mean())

    found: Any = minimize_scalar(loss, bounds=(low, high), method="bounded")
    if found.fun >= loss(0.0):
        return 1.0
    if found.x > high - 0.01 or found.x < low + 0.01:
        warnings.warn(
            f"calibration: the temperature ran to its bound ({np.exp(found.x):.3g}), the held-out predictions are "
            f"{'no better than guesses' if found.x > 0 else 'far less sure than they are right'}",
            EmbedxWarning,
            stacklevel=3,
        )
    return float(np.exp(found.x))


def _isotonic(codes: NDArray[np.intp], proba: NDArray[np.float64]) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    curves = []
    for column in range(proba.shape[1]):
        known = ~np.isnan(proba[:, column])
        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        curve.fit(proba[known, column], codes[known] == column)
        curves.append((np.asarray(curve.X_thresholds_, np.float64), np.asarray(curve.y_thresholds_, np.float64)))
    return Calibration(method="isotonic", curves=tuple(curves), floor=0.5 / len(codes))
