"""What is trained once and used for years: a head with its recipe, saved without pickle."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Model": "embedx.model.model",
    "Predictions": "embedx.model.predictions",
    "describe": "embedx.model.model_json",
    "fit_model": "embedx.model.fitting",
}
"""Loaded when first used: to describe a model needs no numbers, to predict needs nothing that judges."""

__all__ = ["Model", "Predictions", "describe", "fit_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'embedx.model' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
