"""Logits of whole clips: the mean of their windows, whatever fits into memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import bucket_by_length
from embedx.audio.windows import added_seconds
from embedx.heads.finetune.clips import ClipLibrary
from embedx.heads.finetune.frames import FeatureCache, Signal
from embedx.heads.finetune.memory import Budget
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.processes import Processes

__all__ = ["entropy", "library_logits"]

_WINDOWS_AHEAD = 4

_Window = tuple[int, float, float, NDArray[np.float32]]  # clip, start and end in seconds, samples


def library_logits(
    network: Network,
    library: ClipLibrary,
    indices: Sequence[int] | NDArray[np.intp],
    *,
    budget: Budget,
    processes: Processes,
    cache: FeatureCache | None = None,
) -> NDArray[np.float32]:
    """Classify clips as prediction does: nothing is varied, every second counts once.

    Parameters
    ----------
    network : Network
        It is left in evaluation mode.
    library : ClipLibrary
        The audio.
    indices : sequence of int
        Clips of the library.
    budget : Budget
        Seconds in a batch.
    processes : Processes
        Each takes a share.
    cache : FeatureCache, optional
        Of frozen convolutions, when the same clips are classified again and again.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
        The mean of the window logits, weighted by the seconds that each window adds.
    """
    network.model.eval()
    mine = range(processes.number, len(indices), processes.count)
    table = torch.zeros(len(indices), network.model.config.num_labels, device=processes.device)
    rows: dict[int, list[tuple[float, float, NDArray[np.float32]]]] = {row: [] for row in mine}
    for part in _parts(_windows(library, indices, mine), budget):
        signals = [w[3] if cache is None else cache.find((int(indices[w[0]]), w[1]), w[3]) for w in part]
        for (row, start, end, _), logits in zip(part, _logits(network, part, signals, budget), strict=True):
            rows[row].append((start, end, logits))
    for row, windows in rows.items():
        starts, ends, logits = (np.array(column) for column in zip(*windows, strict=True))
        added = added_seconds(starts, ends)
        table[row] = torch.from_numpy((added / added.sum()).astype(np.float32) @ logits)
    processes.sum([table])
    return table.cpu().numpy()


def _windows(library: ClipLibrary, indices: Sequence[int] | NDArray[np.intp], rows: range) -> Iterator[_Window]:
    for row in rows:
        for start, end, samples in library.windows(int(indices[row])):
            yield row, start, end, samples


def _parts(windows: Iterator[_Window], budget: Budget) -> Iterator[list[_Window]]:
    """Cut the stream of windows into parts of a few batches, so that lengths can be sorted."""
    part: list[_Window] = []
    for window in windows:
        part.append(window)
        if sum(len(w[3]) for w in part) >= _WINDOWS_AHEAD * budget.samples:
            yield part
            part = []
    if part:
        yield part


def _logits(
    network: Network, part: Sequence[_Window], signals: Sequence[Signal], budget: Budget
) -> list[NDArray[np.float32]]:
    def compute() -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}
        for batch in bucket_by_length([len(w[3]) for w in part], budget_samples=budget.samples):
            with torch.inference_mode(), budget.autocast():
                logits = network.logits([signals[i] for i in batch])
            found.update(zip(batch, logits.cpu().numpy(), strict=True))
        return [found[i] for i in range(len(part))]

    return budget.spend(compute)


def entropy(counts: NDArray[np.float64] | NDArray[np.intp]) -> float:
    """Return the entropy of a distribution given by counts, in nats.

    Examples
    --------
    >>> entropy(np.array([5, 5])), entropy(np.array([10, 0]))
    (0.6931471805599453, 0.0)
    """
    shares = np.asarray(counts, dtype=np.float64)
    shares = shares[shares > 0] / max(shares.sum(), 1)
    return float(abs((shares * np.log(shares)).sum()))
