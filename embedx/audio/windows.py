"""Clips are cut into windows: which samples, and how much of the clip each one adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.recipe import Recipe

__all__ = ["WindowPlan", "added_seconds", "cut_windows", "plan_chunks", "plan_spans", "plan_windows"]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Lengths in samples that decide where windows lie.

    Parameters
    ----------
    window_samples, hop_samples : int
        Length and distance of windows.
    min_tail_samples : int
        A last window shorter than this is dropped, unless it is the only one.
    """

    window_samples: int
    hop_samples: int
    min_tail_samples: int

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> WindowPlan:
        """Turn a recipe's seconds into samples."""
        seconds = (recipe.window_seconds, recipe.hop_seconds, recipe.min_tail_seconds)
        return cls(*(max(1, round(value * recipe.sample_rate)) for value in seconds))

    def keeps_last(self, start: int, n_samples: int) -> bool:
        """Say whether a window that ends with the clip is kept."""
        return start == 0 or n_samples - start >= min(self.min_tail_samples, self.window_samples)


def plan_windows(n_samples: int, recipe: Recipe) -> tuple[tuple[int, int], ...]:
    """Say which samples of a clip each window holds.

    Windows begin every hop until one reaches the end; the last one is kept if it holds at least
    ``min_tail_seconds`` or is the only one.

    Parameters
    ----------
    n_samples : int
        Length of the clip in samples.
    recipe : Recipe
        Gives window, hop, tail rule and sample rate.

    Returns
    -------
    tuple of (int, int)
        First sample and the one after the last, per window.

    Examples
    --------
    >>> recipe = Recipe(encoder="tiny", revision="bundled", weights_sha256="", layers=(0,), sample_rate=10)
    >>> plan_windows(250, recipe)
    ((0, 100), (100, 200), (200, 250))
    >>> plan_windows(205, recipe)
    ((0, 100), (100, 200))
    """
    plan = WindowPlan.from_recipe(recipe)
    return tuple((start, start + len(w)) for start, w in cut_windows([np.empty(n_samples, np.float32)], plan))


def cut_windows(blocks: Iterable[NDArray[np.float32]], plan: WindowPlan) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Cut a stream of samples into windows, holding no more than one window and one block.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n,), float32
        Consecutive samples.
    plan : WindowPlan
        Where windows lie.

    Yields
    ------
    (int, ndarray of shape (n_samples,), float32)
        First sample of the window in the clip, and its samples.
    """
    held = np.empty(0, np.float32)
    held_from = start = 0  # first sample that is held; first sample of the next window
    reached = 0  # end of the last window that was given
    for block in blocks:
        skip = max(0, start - held_from - len(held))  # a gap between windows, when the hop is longer
        if skip:
            held, held_from = held[:0], held_from + len(held) + min(skip, len(block))
            block = block[skip:]
        held = np.concatenate([held, block]) if len(held) else block
        while held_from + len(held) - start >= plan.window_samples:
            first = start - held_from
            yield start, held[first : first + plan.window_samples].copy()
            reached = start + plan.window_samples
            start += plan.hop_samples
            keep = min(max(0, start - held_from), len(held))
            held, held_from = held[keep:], held_from + keep
    end = held_from + len(held)
    if end > max(start, reached) and plan.keeps_last(start, end):
        yield start, held[start - held_from :].copy()


def plan_chunks(windows: WindowPlan, most_samples: int) -> WindowPlan:
    """Say in which chunks every window lies whole, each chunk as long as allowed.

    Parameters
    ----------
    windows : WindowPlan
        The windows.
    most_samples : int
        The longest chunk.

    Examples
    --------
    >>> plan_chunks(WindowPlan(20, 5, 10), 100)
    WindowPlan(window_samples=100, hop_samples=85, min_tail_samples=1)
    >>> plan_chunks(WindowPlan(100, 25, 10), 100)
    WindowPlan(window_samples=100, hop_samples=25, min_tail_samples=1)
    """
    n = (most_samples - windows.window_samples) // windows.hop_samples + 1
    return WindowPlan((n - 1) * windows.hop_samples + windows.window_samples, n * windows.hop_samples, 1)


def plan_spans(n_samples: int, plan: WindowPlan, *, is_first: bool = True) -> tuple[tuple[int, int], ...]:
    """Say which samples of a chunk, or of a recording, each window holds, as `cut_windows` would cut them.

    Parameters
    ----------
    n_samples : int
        Length of the chunk.
    plan : WindowPlan
        Where windows lie in it.
    is_first : bool
        Whether it is the first of its recording, whose only window is kept however short it is.

    Examples
    --------
    >>> plan_spans(40, WindowPlan(20, 10, 15))
    ((0, 20), (10, 30), (20, 40))
    >>> plan_spans(12, WindowPlan(20, 10, 15)), plan_spans(12, WindowPlan(20, 10, 15), is_first=False)
    (((0, 12),), ())
    """
    n_whole = max(0, (n_samples - plan.window_samples) // plan.hop_samples + 1)
    spans = [(i * plan.hop_samples, i * plan.hop_samples + plan.window_samples) for i in range(n_whole)]
    start, reached = n_whole * plan.hop_samples, spans[-1][1] if spans else 0
    is_kept = plan.keeps_last(start, n_samples) if is_first or start else n_samples >= plan.min_tail_samples
    if n_samples > max(start, reached) and is_kept:
        spans.append((start, n_samples))
    return tuple(spans)


def added_seconds(start_seconds: NDArray[np.float64], end_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh the windows of one clip by the seconds that each adds: overlap is counted once.

    Parameters
    ----------
    start_seconds, end_seconds : ndarray of shape (W,), float64
        Window bounds, ordered by start.

    Returns
    -------
    ndarray of shape (W,), float64
        Seconds of the window that no earlier window held; they sum to the audio that was embedded.

    Examples
    --------
    >>> added_seconds(np.array([0.0, 5.0, 10.0]), np.array([10.0, 15.0, 18.0])).tolist()
    [10.0, 5.0, 3.0]
    """
    if not len(start_seconds):
        return np.zeros(0)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(end_seconds)[:-1]])
    return np.maximum(0.0, end_seconds - np.maximum(start_seconds, before))
