"""Clips that are there twice: the same bytes, or nearly the same sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.inspection.finding import Finding
from embedx.inspection.near_duplicates import close_pairs, distances_of, usual_distance
from embedx.text import count

__all__ = ["NEAR", "SURE", "find_copies", "find_near_copies", "standard", "views"]

NEAR, SURE = 0.3, 0.15
"""Two clips are nearly the same when their distance is below a share of the usual distance to the third neighbour.

Below `SURE` to the encoder alone, or below `NEAR` both to the encoder and to log-mel statistics without their level:
the encoder hears through re-encoding and loudness, log-mel through a shifted beginning. Picked on six classes of
ESC-10 and a fifth of FSDD; how far copies and other recordings lie on clips that it was not picked on stands in
``benchmarks/results/near_copies.json`` (``python -m benchmarks.inspection.near_copies``). Low bit rates and clips that
lost much of their beginning are missed rather than that other recordings are blamed.
"""


def find_copies(dataset: Dataset) -> Finding:
    """Find clips with the same bytes (and the same segment of them)."""
    by_content: dict[tuple[bytes, float, float | None], list[int]] = {}
    for i, source in enumerate(dataset.sources):
        content = bytes(dataset.hashes[i])
        if any(content):
            by_content.setdefault((content, source.start_seconds, source.stop_seconds), []).append(i)
    pairs = [(members[0], other) for members in by_content.values() for other in members[1:]]
    return _finding("copies", "Exact copies", "the same bytes", pairs, dataset)


def find_near_copies(dataset: Dataset, *, progress: Callable[..., None] | None = None) -> Finding:
    """Find clips that sound nearly the same to the encoder and to log-mel statistics, as re-encoded copies do.

    Parameters
    ----------
    dataset : Dataset
        At least four clips.
    progress : callable, optional
        Called as ``progress(done, total)`` in clips.
    """
    if len(dataset) < 4:
        text = f"Not looked for among {len(dataset)} clips (4 or more are needed)."
        return Finding(check="near_copies", title="Near copies", level="note", text=text)
    heard, mel = views(dataset)
    usual = usual_distance(heard)
    pairs, distances = close_pairs(heard, NEAR * usual, progress=progress)
    same = distances < SURE * usual
    if len(pairs):
        same |= distances_of(mel, pairs) < NEAR * usual_distance(mel)
    found = [(int(a), int(b)) for a, b in pairs[same]]
    different = [(a, b) for a, b in found if (dataset.hashes[a] != dataset.hashes[b]).any()]
    return _finding("near_copies", "Near copies", "nearly the same sound", different, dataset)


def views(dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what is compared, standardised: the mean of the layers (n, D), and log-mel without its level (n, 128)."""
    n_bands = dataset.control.shape[1] // 2
    mel = dataset.control.astype(np.float32)  # a copy
    mel[:, :n_bands] -= mel[:, :n_bands].mean(1, keepdims=True)
    return standard(dataset.average_layers()), standard(mel)


def standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return columns with mean 0 and deviation 1; a constant column becomes 0."""
    spread = values.std(0)
    return ((values - values.mean(0)) / np.where(spread > 1e-9, spread, 1)).astype(np.float32)


def _finding(check: str, title: str, what: str, pairs: list[tuple[int, int]], dataset: Dataset) -> Finding:
    if not pairs:
        return Finding(check=check, title=title, level="good", text=f"No two clips have {what}.")
    groups = dataset.groups
    told = [(_crossing(dataset, groups, a, b), a, b) for a, b in pairs]
    told.sort(key=lambda one: (-len(one[0]), one[1]))
    items = tuple(_item(dataset, crossing, a, b) for crossing, a, b in told)
    text = f"{count(len(pairs), 'pair')} of clips {'has' if len(pairs) == 1 else 'have'} {what}."
    for kind, advice in _ADVICE.items():
        n = sum(kind in crossing for crossing, _, _ in told)
        text += f" In {n} of them the clips {advice}." if n else ""
    if groups is None:
        text += " Without groups a copy may be learned from and its twin tested on: give them one group."
    facts = {"pairs": [[dataset.sources[a].id, dataset.sources[b].id] for _, a, b in told]}
    return Finding(check=check, title=title, level="bad", text=text, items=items, facts=facts)


_ADVICE = {
    "class": "carry two labels: one of each is wrong",
    "group": "cross groups, so a copy may be learned from and its twin tested on: give them one group",
}


def _crossing(dataset: Dataset, groups: NDArray[np.str_] | None, a: int, b: int) -> tuple[str, ...]:
    """Return what two clips differ in that they should share; what is not known of one of them is no difference."""
    first, second = dataset.sources[a], dataset.sources[b]
    differs = {
        "class": _contradict(first.label, second.label),
        "group": groups is not None and bool(groups[a] != groups[b]),
        "split": _contradict(first.split, second.split),
    }
    return tuple(name for name, is_so in differs.items() if is_so)


def _contradict(a: str | None, b: str | None) -> bool:
    return a is not None and b is not None and a != b


def _item(dataset: Dataset, crossing: tuple[str, ...], a: int, b: int) -> str:
    first, second = dataset.sources[a], dataset.sources[b]
    tail = f" (crosses {', '.join(crossing)})" if crossing else ""
    labels = (source.label or "no label" for source in (first, second))
    return f"{first.id} [{next(labels)}] and {second.id} [{next(labels)}]{tail}"
