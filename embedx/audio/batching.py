"""Windows are put into batches of like length under a budget of padded seconds."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bucket_by_length", "equal_lengths"]


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


def equal_lengths(n_samples: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Group clips that need no padding beside each other: those of exactly one length.

    Parameters
    ----------
    n_samples : sequence of int
        Length of each clip.

    Returns
    -------
    tuple of tuple of int
        Indices of clips, one group a length, in the order in which the lengths first appear.

    Examples
    --------
    >>> equal_lengths([10, 30, 10])
    ((0, 2), (1,))
    """
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(n_samples):
        groups.setdefault(length, []).append(index)
    return tuple(tuple(group) for group in groups.values())
