"""Windows are put into batches of like length under a budget of padded seconds."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bucket_by_length"]


def bucket_by_length(n_samples: Sequence[int], *, budget_samples: int) -> tuple[tuple[int, ...], ...]:
    """Group clips so that little is padded and no batch is larger than the budget.

    Parameters
    ----------
    n_samples : sequence of int
        Length of each clip.
    budget_samples : int
        Longest clip times number of clips, at most; a clip longer than this is a batch of its own.

    Returns
    -------
    tuple of tuple of int
        Indices, longest clips first (so that memory runs out at once or never).

    Examples
    --------
    >>> bucket_by_length([10, 30, 20, 10], budget_samples=60)
    ((1, 2), (0, 3))
    """
    order = sorted(range(len(n_samples)), key=lambda i: (-n_samples[i], i))
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * n_samples[batches[-1][0]] <= budget_samples:
            batches[-1].append(i)
        else:
            batches.append([i])
    return tuple(map(tuple, batches))
