"""The parameters of the small network, once: default, allowed values, and what tuning may try."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from embedx.checks import require_choice, require_number
from embedx.heads.search_space import Choice, Dimension, Integer, Real

__all__ = ["MLPSettings", "taking_settings"]


def _number(
    default: float | None, low: float, high: float = float("inf"), search: Dimension | None = None, **bounds: Any
) -> Any:
    return field(default=default, metadata={"bounds": {"low": low, "high": high, **bounds}, "search": search})


@dataclass(kw_only=True, eq=False, repr=False)
class MLPSettings:
    """What `embedx.heads.mlp.MLPClassifier` takes; its docstring says what each is for."""

    n_layers: int = _number(1, 1, whole=True)
    n_hidden: int = _number(1, 1, 3, Integer(1, 3), whole=True)
    width: int = _number(128, 1, 65_536, search=Choice((64, 128, 256, 512)), whole=True)
    dropout: float = _number(0.3, 0, 1, Real(0.0, 0.6), open_high=True)
    norm: str = field(default="batch", metadata={"search": Choice(("none", "batch", "layer"))})
    learning_rate: float = _number(1e-3, 0, search=Real(1e-4, 1e-2, log=True), open_low=True)
    weight_decay: float = _number(1e-2, 0, search=Real(1e-5, 1.0, log=True))
    batch_size: int | None = _number(None, 2, whole=True, optional=True)
    max_epochs: int = _number(100, 1, whole=True)
    patience: int = _number(10, 1, whole=True)
    validation_fraction: float = _number(0.15, 0, 1, open_high=True)
    class_weight: Any = field(default=None, metadata={"search": Choice((None, "balanced"))})
    device: str = "auto"
    random_state: Any = 0

    def steps(self, n: int) -> tuple[int, float]:
        """Return the clips of a step and its learning rate for ``n`` clips to train on.

        Small steps cost more to start than to compute. Batches k times as large go with a learning rate that is the
        square root of k as large (Malladi et al. 2022, arXiv:2205.10287), so that epochs gain as much.
        """
        if self.batch_size is not None:
            return self.batch_size, self.learning_rate
        size = 2 ** min(max((n // 4).bit_length() - 1, 5), 9)
        return int(size), float(self.learning_rate * (size / 32) ** 0.5)

    def check(self) -> None:
        """Refuse what is out of bounds, with one sentence."""
        for setting in fields(MLPSettings):
            if "bounds" in setting.metadata:
                name = f"MLPClassifier {setting.name}"
                require_number(name, getattr(self, setting.name), **setting.metadata["bounds"])
        require_choice("MLPClassifier norm", self.norm, ("none", "batch", "layer"))

    @staticmethod
    def search_space() -> dict[str, Dimension]:
        """Return what tuning may try."""
        found = {setting.name: setting.metadata.get("search") for setting in fields(MLPSettings)}
        return {name: dimension for name, dimension in found.items() if dimension is not None}


def taking_settings(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Write the settings into the signature of a factory that takes them as ``**settings``."""
    own = [p for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {p.name for p in own}
    more = [
        inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=setting.default)
        for setting in fields(MLPSettings)
        if setting.name not in taken
    ]
    factory.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    return factory
