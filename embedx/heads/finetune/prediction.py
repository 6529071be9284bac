"""Prediction for any number of clips: a few at a time, each decoded once, a bad one keeping its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.heads.finetune.clips import ClipLibrary
from embedx.heads.finetune.processes import Processes
from embedx.heads.finetune.scoring import library_logits
from embedx.manifest import Source

__all__ = ["clip_logits", "judge_clips"]

_CLIPS_AT_A_TIME = 64
_CACHE_BYTES = 2**29


def clip_logits(classifier: Any, sources: Sequence[Source]) -> NDArray[np.float32]:
    """Return the logits of clips, shape (n, n_classes).

    Raises
    ------
    DecodeError, ClipTooShortError
        A clip cannot be used; the error carries it.
    """
    parts = [logits for library, logits in _parts(classifier, sources) if library.require_all() is not None]
    return np.concatenate(parts) if parts else np.zeros((0, len(classifier.classes_)), np.float32)


def judge_clips(
    classifier: Any, sources: Sequence[Source], *, progress: Callable[..., None] | None = None
) -> tuple[NDArray[np.float32], tuple[str | None, ...]]:
    """Return logits, NaN where a clip cannot be used, and why not.

    Parameters
    ----------
    classifier : FineTuneClassifier
        Fitted.
    sources : sequence of Source
        The clips.
    progress : callable, optional
        Called with clips done and clips in all.
    """
    table = np.full((len(sources), len(classifier.classes_)), np.nan, np.float32)
    errors: list[str | None] = []
    for library, logits in _parts(classifier, sources):
        table[len(errors) : len(errors) + len(library)] = logits
        errors.extend(str(library.errors[i]) if i in library.errors else None for i in range(len(library)))
        if progress is not None:
            progress(len(errors), len(sources))
    return table, tuple(errors)


def _parts(classifier: Any, sources: Sequence[Source]) -> Iterator[tuple[ClipLibrary, NDArray[np.float32]]]:
    """Yield clips, read, with their logits; those that cannot be used have NaN."""
    network, recipe, processes = classifier.network_, classifier.recipe_, Processes(classifier.device)
    budget = classifier._means().budget(processes, sample_rate=recipe.sample_rate)
    network.model.to(processes.device)
    try:
        for start in range(0, len(sources), _CLIPS_AT_A_TIME):
            some = sources[start : start + _CLIPS_AT_A_TIME]
            library = ClipLibrary(some, recipe, min_samples=network.min_samples, cache_bytes=_CACHE_BYTES)
            good = [i for i in range(len(library)) if i not in library.errors]
            logits = np.full((len(library), len(classifier.classes_)), np.nan, np.float32)
            logits[good] = library_logits(network, library, good, budget=budget, processes=processes)
            yield library, logits
    finally:
        network.model.to("cpu")
