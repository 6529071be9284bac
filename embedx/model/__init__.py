"""What is trained once and used for years: a head with its recipe, saved without pickle."""

from __future__ import annotations

from embedx.model.core import Model, Predictions
from embedx.model.fitting import fit_model
from embedx.model.record import describe

__all__ = ["Model", "Predictions", "describe", "fit_model"]
