"""The loss, the schedule, and the scores of the held-out part."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from embedx.heads.finetune.scoring import entropy

__all__ = ["held_out_scores", "rate_factor", "soft_cross_entropy", "tally"]

_ENOUGH_HELD_OUT = 20
"""Clips from which on the held-out part can tell whether a network has collapsed."""


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the share of the full rate at a step: a linear rise, then a linear fall to nothing.

    Examples
    --------
    >>> [round(rate_factor(step, 10, 0.2), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    n_warm = round(warmup_fraction * n_steps)
    if step < n_warm:
        return (step + 1) / n_warm
    return (n_steps - step) / max(1, n_steps - n_warm)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Return the summed cross-entropy (B, K) against shares of classes; a row's sum is its weight.

    Examples
    --------
    >>> loss = soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]))
    >>> round(float(loss), 4)
    1.3863
    """
    even = targets.sum(dim=1, keepdim=True) / targets.shape[1]
    aims = (1 - smoothing) * targets + smoothing * even
    return -(aims * log_softmax(logits, dim=1)).sum()


def held_out_scores(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> dict[str, float]:
    """Return the weighted loss and the accuracy of held-out clips, and, of enough of them, the entropies."""
    losses = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    guesses = logits.argmax(axis=1)
    scores = {
        "valid_loss": float(losses) / float(targets.sum()),
        "valid_accuracy": float((guesses == targets.argmax(axis=1)).mean()),
    }
    if len(logits) >= _ENOUGH_HELD_OUT:
        scores["entropy"] = entropy(np.bincount(guesses, minlength=logits.shape[1]))
        scores["label_entropy"] = entropy(targets.sum(axis=0))
    return scores


def tally(loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return what is summed up of a batch: loss, weight, hits, clips, then how often each class was named.

    Examples
    --------
    >>> tally(torch.tensor(0.5), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).tolist()
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    guesses = logits.argmax(dim=1)
    hits = (guesses == targets.argmax(dim=1)).sum()
    counts = torch.bincount(guesses, minlength=logits.shape[1])
    head = torch.stack([loss, targets.sum(), hits, torch.tensor(len(logits), device=logits.device)])
    return torch.cat([head, counts]).float()
