"""Where a training stands, as a checkpoint remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["State"]


@dataclass(slots=True)
class State:
    """Where a training stands: all that a checkpoint holds beside tensors.

    Parameters
    ----------
    attempt : int
        0, or 1 after a collapse.
    step : int
        Steps done.
    history : list of dict
        One a finished epoch: losses, accuracies, entropy of the predictions, rate, seconds.
    sums : list of float
        Of the running epoch: loss, weight, hits, clips, then the entropy of each step's predictions and of
        its labels.
    best_epoch : int
        Epoch (from 0) of the best weights; -1 before the first.
    best_loss : float or None
        Its held-out loss.
    stale : int
        Epochs since then.
    earlier : list of dict
        History of the attempt that collapsed.
    """

    attempt: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best_loss: float | None = None
    stale: int = 0
    earlier: list[dict[str, Any]] = field(default_factory=list)
