"""Encoders as the benchmarks of others want them: mteb, HEAR and X-ARES. None of those packages is imported here.

Each adapter takes what `embedx.AudioEmbedder` takes (encoder, ``layer``, ``pooling``, ``padding``, ``device``), so a
score belongs to one choice of them.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MtebEncoder", "XaresEncoder", "hear"]

_HOME = {"MtebEncoder": "embedx.adapters.mteb", "XaresEncoder": "embedx.adapters.xares"}


def __getattr__(name: str) -> Any:
    if name == "hear":
        return importlib.import_module("embedx.adapters.hear")
    if name not in _HOME:
        raise AttributeError(f"module 'embedx.adapters' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
